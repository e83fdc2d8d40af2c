use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// What becomes of the connections that lead through a [`Gate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Open,
    /// Connections are closed, and so is each new one.
    Closed,
    /// Connections stay open and nothing is passed on, as when the cable is out; what was sent
    /// meanwhile goes on when the gate opens again.
    Silent,
}

/// A TCP port that stands before another one on this machine, and can be shut.
///
/// Dropping it closes the port and all that leads through it.
#[derive(Debug)]
pub(crate) struct Gate {
    port: u16,
    target: Arc<AtomicU16>,
    passage: watch::Sender<Passage>,
}

impl Gate {
    /// Listens on a port of its own; see [`lead_to`](Self::lead_to).
    pub(crate) async fn open() -> Result<Self> {
        // While it listens nobody else is given the port, so the system may pick it.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let target = Arc::new(AtomicU16::new(0));
        let (passage, passages) = watch::channel(Passage::Open);
        tokio::spawn(serve(listener, Arc::clone(&target), passages));
        Ok(Self {
            port,
            target,
            passage,
        })
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sets the port that connections made from now on lead to.
    pub(crate) fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }
}

async fn serve(
    listener: TcpListener,
    target: Arc<AtomicU16>,
    mut passage: watch::Receiver<Passage>,
) {
    loop {
        // The system still accepts connections meanwhile, and nothing answers on them.
        if passage
            .wait_for(|&now| now != Passage::Silent)
            .await
            .is_err()
        {
            return;
        }
        let accepted = tokio::select! {
            changed = passage.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            accepted = listener.accept() => accepted,
        };
        let Ok((from, _)) = accepted else {
            // Too many open files, for instance: not to be asked again at once.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        if *passage.borrow() != Passage::Closed {
            let port = target.load(Ordering::Relaxed);
            tokio::spawn(pass(from, port, passage.clone()));
        }
    }
}

/// Carries one connection until either side ends it, the gate is closed, or it goes.
async fn pass(from: TcpStream, port: u16, mut passage: watch::Receiver<Passage>) {
    let Ok(to) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    // The messages are small, and somebody waits for each. (An error shows at the next use.)
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let (from, back) = from.into_split();
    let (answers, to) = to.into_split();
    tokio::select! {
        _ = copy(from, to, passage.clone()) => {}
        _ = copy(answers, back, passage.clone()) => {}
        _ = passage.wait_for(|&now| now == Passage::Closed) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut passage: watch::Receiver<Passage>,
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        // It may have become silent since.
        passage.wait_for(|&now| now == Passage::Open).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
    }
}
