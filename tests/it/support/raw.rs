//! A NATS client that sends any bytes, including those that no client library would send.

use anyhow::{Context as _, Result, ensure};
use testkit::NatsServer;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Publishes a message with this reply subject, whatever its bytes are, and waits until the server
/// has taken it.
pub async fn publish_with_reply(nats: &NatsServer, subject: &str, reply: &[u8]) -> Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", nats.port())).await?);
    let said = [
        b"CONNECT {\"verbose\":false}\r\nPUB ",
        subject.as_bytes(),
        b" ",
        reply,
        b" 5\r\nhello\r\nPING\r\n",
    ];
    stream.write_all(&said.concat()).await?;
    loop {
        let mut line = String::new();
        let size = stream.read_line(&mut line).await?;
        ensure!(size > 0, "the server has closed the connection");
        ensure!(!line.starts_with("-ERR"), "{line}");
        if line.starts_with("PONG") {
            return Ok(());
        }
    }
}

/// Publishes a message, and returns the stream's acknowledgement, or nothing if the server did not
/// take the message for one of a stream.
pub async fn publish(
    nats: &NatsServer,
    subject: &[u8],
    headers: &[u8],
    payload: &[u8],
) -> Result<Option<String>> {
    const CONNECT: &[u8] =
        b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB inbox 1\r\n";
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", nats.port())).await?);
    let total = headers.len() + payload.len();
    let sizes = format!(" inbox {} {total}\r\n", headers.len());
    let said = [
        CONNECT,
        b"HPUB ",
        subject,
        sizes.as_bytes(),
        headers,
        payload,
        b"\r\n",
    ];
    stream.write_all(&said.concat()).await?;
    loop {
        let mut line = Vec::new();
        let size = stream.read_until(b'\n', &mut line).await?;
        ensure!(size > 0, "the server has closed the connection");
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with("HMSG") {
            // No responders.
            return Ok(None);
        }
        if line.starts_with("-ERR") {
            return Ok(None);
        }
        if line.starts_with("MSG") {
            let mut answer = String::new();
            stream.read_line(&mut answer).await.context("no answer")?;
            return Ok(Some(answer));
        }
    }
}
