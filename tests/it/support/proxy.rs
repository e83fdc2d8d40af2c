//! A TCP proxy that drops a server's answer on request, or sends another answer before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a connection stays open after the proxy stops passing answers on. The server meanwhile
/// carries out what it has received.
const MUTE: Duration = Duration::from_millis(200);

/// Passes connections on to a server on this machine.
pub struct Proxy {
    pub url: String,
    state: Arc<ProxyState>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct ProxyState {
    /// How many answers the proxy will drop.
    losses: AtomicUsize,
    /// How many answers will come after the false answer of a node that is not the leader.
    refusals: AtomicUsize,
}

impl Proxy {
    pub async fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("nats://{}", listener.local_addr()?);
        let state = Arc::<ProxyState>::default();
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                tokio::spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            url,
            state,
            accepting,
        })
    }

    /// Loses the answers to the next `count` writes that expect a revision or commit an atomic batch:
    /// each reaches the server, and the connection ends before anything more comes back.
    pub fn lose(&self, count: usize) {
        self.state.losses.store(count, Ordering::SeqCst);
    }

    /// For the next `count` writes that expect a revision: sends the answer of a node that is no
    /// longer the leader, and then the leader's own answer. The leader carries the writes out.
    pub fn refuse(&self, count: usize) {
        self.state.refusals.store(count, Ordering::SeqCst);
    }

    /// How many answers will still be dropped, or come second.
    pub fn left(&self) -> usize {
        let ProxyState { losses, refusals } = &*self.state;
        losses.load(Ordering::SeqCst) + refusals.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: TcpStream, server: TcpStream, state: Arc<ProxyState>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mute = Arc::<AtomicBool>::default();
    let to_client = Mutex::new(to_client);
    let up = up(from_client, to_server, &to_client, &state, &mute);
    let down = down(from_server, &to_client, &mute);
    // Both ends are closed when either is.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    back: &Mutex<OwnedWriteHalf>,
    state: &ProxyState,
    mute: &AtomicBool,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut subscriptions = String::new();
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let sent = &buffer[..read];
        let text = String::from_utf8_lossy(sent);
        let lines = text.lines().filter(|line| line.starts_with("SUB "));
        subscriptions.extend(lines.flat_map(|line| [line, "\n"]));
        let expects = text.contains("Nats-Expected-Last-Subject-Sequence");
        let commits = text.contains("Nats-Batch-Commit");
        let loses = (expects || commits) && take_one(&state.losses);
        mute.fetch_or(loses, Ordering::SeqCst);
        if expects && take_one(&state.refusals) {
            let refusal = refusal(&text, &subscriptions).unwrap_or_default();
            if back.lock().await.write_all(&refusal).await.is_err() {
                return;
            }
        }
        if to.write_all(sent).await.is_err() {
            return;
        }
    }
}

fn take_one(left: &AtomicUsize) -> bool {
    let one_less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
        .is_ok()
}

/// The answer of a node that does not lead to the write in `sent`, as the subscription gets it.
fn refusal(sent: &str, subscriptions: &str) -> Option<Vec<u8>> {
    let write = sent.lines().find(|line| line.starts_with("HPUB $KV."))?;
    let reply = write.split(' ').nth(2)?;
    let of_reply = |line: &&str| line.split(' ').nth(1) == Some(reply);
    let sid = subscriptions.lines().rfind(of_reply)?.split(' ').nth(2)?;
    let error = r#"{"code":400,"err_code":10071,"description":"wrong last sequence: 1"}"#;
    let answer = format!(r#"{{"error":{error},"stream":"KV_orders","seq":0}}"#);
    let head = format!("MSG {reply} {sid} {}\r\n", answer.len());
    Some(format!("{head}{answer}\r\n").into_bytes())
}

async fn down(mut from: OwnedReadHalf, to: &Mutex<OwnedWriteHalf>, mute: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if mute.load(Ordering::SeqCst) {
            let all = async { while let Ok(1..) = from.read(&mut buffer).await {} };
            let _ = timeout(MUTE, all).await;
            return;
        }
        if to.lock().await.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
