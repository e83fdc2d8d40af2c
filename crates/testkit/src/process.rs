use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::time::Duration;
use std::{fs, io, thread};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

const PAUSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A child process that does not outlive its owner.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts `program`; `set_up` adds arguments and the standard streams. Standard input is empty
    /// unless `set_up` says otherwise.
    pub(crate) fn spawn(program: &Path, set_up: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = tied_command(program.as_os_str());
        command.stdin(Stdio::null());
        set_up(&mut command);
        let (reply, answer) = sync_channel(1);
        SPAWNER
            .send((command, reply))
            .ok()
            .context("the thread that starts processes is gone")?;
        let child = answer
            .recv()
            .context("the thread that starts processes is gone")?
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self(child))
    }

    pub(crate) fn child_mut(&mut self) -> &mut Child {
        &mut self.0
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.0), signal)
            .with_context(|| format!("cannot signal process {}", self.pid()))
    }

    /// SIGSTOP, then waits until every thread has stopped: the signal is sent at once, but a thread
    /// that runs on another processor goes on until it is interrupted.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + PAUSE_TIMEOUT;
        while !self.is_paused()? {
            ensure!(
                Instant::now() < deadline,
                "process {} does not stop",
                self.pid()
            );
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn is_paused(&self) -> Result<bool> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid()))
            .context("cannot list the threads of a process")?;
        for task in tasks {
            // A thread that has just ended has none, which counts as not stopped: look again.
            let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
            // The state comes after the program's name, which is in parentheses.
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
            if !state.starts_with('T') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The exit status, once there is one.
    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.0.try_wait().context("cannot wait for a process")
    }

    /// Waits for the process to end by itself; `None` if it has not within `timeout`.
    pub(crate) async fn wait(&mut self, timeout: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGKILL, which also ends a process that is stopped, then waits for its end.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        self.0.kill().context("cannot kill a process")?;
        self.0.wait().context("cannot wait for a process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There is nobody to tell about an error, and the process has most likely ended already.
        let _ = self.kill();
    }
}

type Job = (Command, SyncSender<io::Result<Child>>);

/// Starts every process, from one thread that lasts as long as this process does: Linux sends the
/// signal that [`tied_command`] asks for when the thread that started the child ends, and threads
/// of tests and of tokio's pools end long before the process.
static SPAWNER: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (jobs, work) = channel::<Job>();
    thread::spawn(move || {
        for (mut command, reply) in work {
            // The asker waits for the answer, so it is there to take it.
            let _ = reply.send(command.spawn());
        }
    });
    jobs
});

/// Whether util-linux's `setpriv` is here.
static SETPRIV: LazyLock<bool> = LazyLock::new(|| {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
});

/// `Drop` ends a child when a test panics, but not when this process is killed. Where `setpriv` is
/// installed, the kernel does it then. (It replaces itself with the program: same process id.)
fn tied_command(program: &OsStr) -> Command {
    if *SETPRIV {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        // A Ctrl-C at the terminal is for its owner, who may still need it to clean up.
        command.process_group(0);
        command
    } else {
        Command::new(program)
    }
}
