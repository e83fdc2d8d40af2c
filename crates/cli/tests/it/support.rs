//! The program, and a client of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use tempfile::TempDir;
use testkit::NatsServer;
use testkit::async_nats::jetstream::kv;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use wasmtime_wasi_http::io::TokioIo;

/// Longer than anything should take, on a machine that does much else.
pub(crate) const LONG: Duration = Duration::from_mins(2);

/// A running `eventual-batch serve`, which is killed when this is dropped.
pub(crate) struct ServeProcess {
    child: Child,
    pub(crate) address: String,
    dir: TempDir,
}

/// How `eventual-batch serve` is started.
pub(crate) struct ServeBuilder {
    command: Command,
    dir: TempDir,
}

/// How a program ended, and what it said.
pub(crate) struct ServeExit {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

/// The HTTP example.
pub(crate) fn example() -> Result<PathBuf> {
    testkit::component("examples/http-batch", "http_batch")
}

/// The component that does what no component should do.
pub(crate) fn misbehaving() -> Result<PathBuf> {
    testkit::component("e2e/components", "misbehaving")
}

/// A server with the bucket `orders`.
pub(crate) async fn server() -> Result<(NatsServer, kv::Store)> {
    let nats = NatsServer::run(testkit::NEWEST).await?;
    let orders = bucket(&nats, "orders").await?;
    Ok((nats, orders))
}

pub(crate) async fn bucket(nats: &NatsServer, name: &str) -> Result<kv::Store> {
    nats.create_bucket(name, kv::Config::default()).await
}

/// A component with the bucket `orders` of this server.
pub(crate) async fn serve(
    component: &Path,
    nats: &NatsServer,
    args: &[&str],
) -> Result<ServeProcess> {
    let url = nats.url();
    ServeBuilder::new(component)?
        .args(&["--bucket", "orders", "--nats", &url])
        .args(args)
        .start()
        .await
}

/// The same with a link whose calls have the time that they need on a machine that does much else.
pub(crate) async fn serve_patiently(
    component: &Path,
    nats: &NatsServer,
    args: &[&str],
) -> Result<ServeProcess> {
    patiently(component, nats, args)?.start().await
}

pub(crate) fn patiently(
    component: &Path,
    nats: &NatsServer,
    args: &[&str],
) -> Result<ServeBuilder> {
    let links = format!(
        "[links.default]\nbucket = \"orders\"\ncluster_uri = \"{}\"\ntimeout = \"2m\"",
        nats.url()
    );
    ServeBuilder::new(component)?
        .args(&["--request-timeout", "4m"])
        .args(args)
        .links(&links)
}

impl ServeBuilder {
    pub(crate) fn new(component: &Path) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eventual-batch"));
        command.arg("serve").arg(component);
        command.args(["--http", "127.0.0.1:0"]);
        Ok(Self {
            command,
            dir: tempfile::tempdir()?,
        })
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// With a limit of open files, as the arguments of `ulimit` say it. To be called before `env`.
    pub(crate) fn ulimit(mut self, limit: &str) -> Self {
        let inner = self.command.as_std();
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("ulimit {limit} && exec \"$@\""))
            .arg("sh")
            .arg(inner.get_program())
            .args(inner.get_args());
        self.command = command;
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// A file of links with this text.
    pub(crate) fn links(mut self, text: &str) -> Result<Self> {
        let path = self.dir.path().join("links.toml");
        fs::write(&path, text)?;
        self.command.arg("--links").arg(path);
        Ok(self)
    }

    fn spawn(mut self) -> Result<(Child, TempDir)> {
        let log = fs::File::create(self.dir.path().join("log"))?;
        let child = self
            .command
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok((child, self.dir))
    }

    /// Starts it and waits until it says where it listens.
    pub(crate) async fn start(self) -> Result<ServeProcess> {
        let (mut child, dir) = self.spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = timeout(LONG, lines.next_line()).await??;
        let log = || read_log(&dir);
        let first = first.with_context(|| format!("it did not start: {}", log()))?;
        let address = first
            .strip_prefix("listening on http://")
            .with_context(|| format!("not an address: {first}"))?
            .to_owned();
        Ok(ServeProcess {
            child,
            address,
            dir,
        })
    }

    /// Starts it and waits for its end.
    pub(crate) async fn end(self) -> Result<ServeExit> {
        let (child, dir) = self.spawn()?;
        let output = timeout(LONG, child.wait_with_output()).await??;
        ensure!(output.stdout.is_empty(), "it wrote to its standard output");
        Ok(ServeExit {
            code: output.status.code(),
            log: read_log(&dir),
        })
    }

    /// What it says when it refuses to start.
    pub(crate) async fn refused(self) -> Result<String> {
        let ended = self.end().await?;
        ensure!(ended.code == Some(2), "{:?}: {}", ended.code, ended.log);
        Ok(ended.log)
    }
}

fn read_log(dir: &TempDir) -> String {
    fs::read_to_string(dir.path().join("log")).unwrap_or_default()
}

impl ServeProcess {
    pub(crate) fn log(&self) -> String {
        read_log(&self.dir)
    }

    /// Waits until the log has this text.
    pub(crate) async fn logged(&self, text: &str) -> Result<()> {
        self.logged_times(1, text).await
    }

    /// Waits until the log has this text so many times.
    pub(crate) async fn logged_times(&self, times: usize, text: &str) -> Result<()> {
        let wait = async {
            while self.log().matches(text).count() < times {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let logged = timeout(LONG, wait).await;
        logged.with_context(|| format!("not in the log: {text:?}\n{}", self.log()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends it a signal by its name.
    pub(crate) async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        ensure!(status.await?.success(), "cannot send SIG{name}");
        Ok(())
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Result<ServeExit> {
        let status = timeout(LONG, self.child.wait()).await;
        let log = read_log(&self.dir);
        let status = status.with_context(|| format!("it does not end: {log}"))??;
        Ok(ServeExit {
            code: status.code(),
            log,
        })
    }

    pub(crate) async fn connect(&self) -> Result<Client> {
        let stream = TcpStream::connect(&self.address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        Ok(Client {
            sender,
            connection,
            host: self.address.clone(),
        })
    }

    /// One request over a connection of its own.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<(StatusCode, String)> {
        self.connect().await?.request(method, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        self.request(Method::GET, path, "").await
    }

    /// A request that succeeds.
    pub(crate) async fn ok(&self, path: &str) -> Result<String> {
        let (status, text) = self.get(path).await?;
        ensure!(status == StatusCode::OK, "{path}: {status} {text}");
        Ok(text)
    }
}

/// One connection to the program. Dropping it closes the connection.
pub(crate) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: tokio::task::JoinHandle<hyper::Result<()>>,
    host: String,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Client {
    /// Sends a request, and returns the head of its answer.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<hyper::Response<hyper::body::Incoming>> {
        self.send_with(method, path, &[], body).await
    }

    /// The same with these headers.
    pub(crate) async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<hyper::Response<hyper::body::Incoming>> {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned()))?;
        Ok(timeout(LONG, self.sender.send_request(request)).await??)
    }

    pub(crate) async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<(StatusCode, String)> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let body = timeout(LONG, response.into_body().collect()).await??;
        let text = String::from_utf8(body.to_bytes().into())?;
        Ok((status, text))
    }
}

/// How much memory a process has in use, in bytes.
pub(crate) fn resident(pid: u32) -> Result<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: usize = number.context("no VmRSS")?.trim().parse()?;
    Ok(kilobytes * 1024)
}

/// Whether an error is that the other side ended the connection.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<hyper::Error>().is_some_and(|error| {
            error.is_incomplete_message()
                || error.is_canceled()
                || error.is_body_write_aborted()
                || error.is_closed()
        }) || cause.downcast_ref::<io::Error>().is_some_and(|error| {
            // A body of which the end is missing.
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
            )
        })
    })
}
