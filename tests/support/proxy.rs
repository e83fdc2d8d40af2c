//! A way to a server that loses an answer when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a connection lives on that has become mute: the server carries out what it was sent.
const MUTE: Duration = Duration::from_millis(200);

/// Passes connections on to a server on this machine.
pub struct Proxy {
    pub url: String,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// How many answers are to be lost.
    losses: AtomicUsize,
}

impl Proxy {
    pub async fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("nats://{}", listener.local_addr()?);
        let state = Arc::<State>::default();
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

    /// Loses the answers to the next `count` writes that expect a revision: each reaches the server,
    /// and the connection ends before anything more comes back.
    pub fn lose(&self, count: usize) {
        self.state.losses.store(count, Ordering::SeqCst);
    }

    /// How many answers are still to be lost.
    pub fn left(&self) -> usize {
        self.state.losses.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mute = Arc::<AtomicBool>::default();
    let up = up(from_client, to_server, &state, &mute);
    let down = down(from_server, to_client, &mute);
    // Both ends are closed when either is.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, mute: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let sent = &buffer[..read];
        let expects = String::from_utf8_lossy(sent).contains("Nats-Expected-Last-Subject-Sequence");
        let loses = expects
            && state
                .losses
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        mute.fetch_or(loses, Ordering::SeqCst);
        if to.write_all(sent).await.is_err() {
            return;
        }
    }
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mute: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if mute.load(Ordering::SeqCst) {
            let all = async { while let Ok(1..) = from.read(&mut buffer).await {} };
            let _ = timeout(MUTE, all).await;
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
