//! A TCP proxy that makes a server as far away as a network does.
//!
//! It keeps the order, and does not limit how much passes. It runs in threads of its own, because
//! timers of an async runtime are no finer than a millisecond.

use std::io::{ErrorKind, Read as _, Result, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// The chunks on their way in one direction, at most. With chunks of 64 KiB that is 256 MiB, far
/// more than any bench has on its way.
const MAX_CHUNKS: usize = 4096;

/// Passes connections on to a server on this machine, each byte after a delay. It ends when it is
/// dropped: no further connection is taken, and those that there are end with their client or
/// server.
#[derive(Debug)]
pub struct DelayProxy {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl DelayProxy {
    /// A proxy to this port of the machine. Every byte comes `delay` later, in each direction.
    ///
    /// # Errors
    /// If no port can be listened on.
    pub fn start(port: u16, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let ended = Arc::<AtomicBool>::default();
        let until = Arc::clone(&ended);
        thread::spawn(move || {
            for client in listener.incoming() {
                if until.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                if let Ok(server) = TcpStream::connect(("127.0.0.1", port)) {
                    // What cannot be passed on ends the connection, as a broken network does.
                    let _ = pass(&client, &server, delay);
                }
            }
        });
        Ok(Self { address, ended })
    }

    /// The server's URL by way of the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

impl Drop for DelayProxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // The thread waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn pass(client: &TcpStream, server: &TcpStream, delay: Duration) -> Result<()> {
    for (from, to) in [(client, server), (server, client)] {
        from.set_nodelay(true)?;
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (chunks, due) = sync_channel(MAX_CHUNKS);
        thread::spawn(move || read(from, &chunks, delay));
        thread::spawn(move || write(&to, &due));
    }
    Ok(())
}

/// A part of what was sent, and when it is to arrive.
type Chunk = (Instant, Vec<u8>);

fn read(mut from: TcpStream, chunks: &SyncSender<Chunk>, delay: Duration) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                let chunk = (Instant::now() + delay, buffer[..length].to_vec());
                if chunks.send(chunk).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// When the other side has ended, so does this one.
fn write(mut to: &TcpStream, chunks: &Receiver<Chunk>) {
    for (due, chunk) in chunks {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
