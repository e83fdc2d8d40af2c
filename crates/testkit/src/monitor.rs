//! Reads a nats-server's monitoring port.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::NatsServer;

const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// One client connection, as the server sees it.
#[derive(Clone, Debug)]
pub struct ClientConnection {
    /// The server's number for it.
    pub cid: u64,
    /// The name that the client gave, or nothing.
    pub name: String,
    /// How many subscriptions it has now.
    pub subscriptions: u64,
    /// How many messages the server has got over it.
    pub in_msgs: u64,
    /// How many bytes the server has not yet sent over it.
    pub pending_bytes: u64,
    /// The client's port.
    pub port: u64,
}

impl ClientConnection {
    fn new(connection: &Json) -> Result<Self> {
        let number = |name| {
            let number = connection[name].as_u64();
            number.with_context(|| format!("a connection has no {name}"))
        };
        Ok(Self {
            cid: number("cid")?,
            name: connection["name"].as_str().unwrap_or_default().to_owned(),
            subscriptions: number("subscriptions")?,
            in_msgs: number("in_msgs")?,
            pending_bytes: number("pending_bytes")?,
            port: number("port")?,
        })
    }
}

impl NatsServer {
    /// The open client connections.
    ///
    /// # Errors
    /// If the monitoring port does not answer in 5 s.
    pub async fn connections(&self) -> Result<Vec<ClientConnection>> {
        let answer = self.monitor("/connz?limit=100000").await?;
        let list = answer["connections"]
            .as_array()
            .context("connz has no connections")?;
        list.iter().map(ClientConnection::new).collect()
    }

    /// How many open client connections have this name.
    ///
    /// # Errors
    /// See [`connections`](Self::connections).
    pub async fn connections_named(&self, name: &str) -> Result<usize> {
        let all = self.connections().await?;
        Ok(all.iter().filter(|c| c.name == name).count())
    }

    /// The one open client connection of this name.
    ///
    /// # Errors
    /// If there is none, or more than one; and see [`connections`](Self::connections).
    pub async fn connection_named(&self, name: &str) -> Result<ClientConnection> {
        let mut named = self.connections().await?;
        named.retain(|connection| connection.name == name);
        match (named.pop(), named.len()) {
            (Some(connection), 0) => Ok(connection),
            (Some(_), others) => bail!("{name} has {} connections", others + 1),
            (None, _) => bail!("{name} is not connected"),
        }
    }

    /// Whether the clients of this name have read all that the server has for them now.
    ///
    /// # Errors
    /// See [`connections`](Self::connections); or if the system does not list its sockets.
    pub async fn have_read_everything(&self, name: &str) -> Result<bool> {
        let mut named = self.connections().await?;
        named.retain(|connection| connection.name == name);
        let sockets = fs::read_to_string("/proc/net/tcp").context("cannot list the sockets")?;
        let read =
            |client: &ClientConnection| client.pending_bytes == 0 && is_idle(&sockets, client.port);
        Ok(named.iter().all(read))
    }

    /// The JSON that the monitoring port answers for `path`, such as `/varz` or `/jsz?streams=1`.
    ///
    /// # Errors
    /// If it does not answer in 5 s, or not with status 200 and JSON.
    pub async fn monitor(&self, path: &str) -> Result<Json> {
        let body = timeout(HTTP_TIMEOUT, http_get(self.monitor_port, path))
            .await
            .with_context(|| format!("no answer in 5 s to {path}"))??;
        serde_json::from_slice(&body).with_context(|| format!("{path} is not JSON"))
    }
}

/// Whether no bytes wait in the sockets at either end of the connection with this port, in a table
/// as Linux has it.
fn is_idle(sockets: &str, port: u64) -> bool {
    let port = format!(":{port:04X}");
    let mut ends = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // Number, own address, other address, state, queues.
        .filter(|line| line.len() > 4 && (line[1].ends_with(&port) || line[2].ends_with(&port)));
    ends.all(|line| line[4] == "00000000:00000000")
}

/// The body of a 200 answer. HTTP/1.0, so that it comes unchunked and the server closes.
async fn http_get(port: u16, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("the answer has no end of headers")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.split(' ').nth(1) == Some("200"),
        "{path}: {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_idle_if_no_bytes_wait_at_either_end() {
        let sockets = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0100007F:C002 0100007F:1F90 01 00000000:00000400 00:00000000 00000000     0        0 3";
        assert!(is_idle(sockets, 0xC001));
        assert!(!is_idle(sockets, 0xC002));
    }
}
