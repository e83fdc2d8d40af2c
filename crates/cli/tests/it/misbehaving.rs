//! A component that misbehaves has the trouble itself.

use anyhow::Result;
use futures::StreamExt as _;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{LONG, is_closed, misbehaving, serve, server};

#[tokio::test]
async fn endless_loops_leave_others_their_share() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve(&misbehaving()?, &nats, &["--request-timeout", "40s"]).await?;
    // More than any machine has processors.
    let mut loops = Vec::new();
    for _ in 0..40 {
        let mut client = served.connect().await?;
        loops.push(tokio::spawn(async move {
            client.request(Method::GET, "/loop", "").await
        }));
    }
    for _ in 0..5 {
        assert_eq!(served.ok("/ok").await?, "well-behaved");
    }
    assert!(
        loops.iter().all(|endless| !endless.is_finished()),
        "they were slower than the loops"
    );
    for endless in loops {
        let (status, text) = endless.await??;
        assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{text}");
        assert!(text.contains("within the time"), "{text}");
    }
    served.logged("its time was over (--request-timeout)").await
}

#[tokio::test]
async fn what_takes_without_end_gets_an_error_or_a_trap() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve(&misbehaving()?, &nats, &["--memory", "32MiB"]).await?;
    for (path, status, answer, log) in [
        (
            "/memory",
            500,
            "The component failed",
            "refused memory over the limit of 33554432 bytes",
        ),
        (
            "/values",
            500,
            "The component failed",
            "`max_resources` = 120000 is reached",
        ),
        ("/bytes", 200, "`max_bytes` = 33554432", ""),
        (
            "/requests",
            500,
            "The component failed",
            "more than 64 outgoing requests",
        ),
        (
            "/bodies",
            500,
            "The component failed",
            "more than 64 bodies of answers",
        ),
        ("/headers", 200, "after 20", ""),
        ("/send", 200, "HttpRequestDenied", ""),
        ("/panic", 500, "The component failed", "as asked"),
        (
            "/silent",
            500,
            "The component failed",
            "returned without an answer",
        ),
    ] {
        let (got, text) = served.get(path).await?;
        assert_eq!(got.as_u16(), status, "{path}: {text}");
        assert!(text.contains(answer), "{path}: {text}");
        served.logged(log).await?;
        assert_eq!(served.ok("/ok").await?, "well-behaved");
    }
    Ok(())
}

#[tokio::test]
async fn the_memory_of_requests_is_given_back() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve(&misbehaving()?, &nats, &["--memory", "64MiB"]).await?;
    for path in ["/memory", "/bytes", "/values"] {
        served.get(path).await?;
    }
    let before = crate::support::resident(served.pid())?;
    for _ in 0..20 {
        served.get("/memory").await?;
        served.get("/bytes").await?;
    }
    let after = crate::support::resident(served.pid())?;
    let grown = after.saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{before} to {after}");
    Ok(())
}

#[tokio::test]
async fn half_an_answer_does_not_look_whole() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve(&misbehaving()?, &nats, &[]).await?;
    for path in ["/half", "/half-of-two"] {
        let error = served.get(path).await.unwrap_err();
        assert!(is_closed(&error), "{path}: {error:?}");
    }
    for _ in 0..20 {
        assert_eq!(served.ok("/late").await?, "all of it");
    }
    served.logged_times(20, "after the answer").await
}

#[tokio::test]
async fn a_component_may_go_on_after_its_answer() -> Result<()> {
    let (nats, orders) = server().await?;
    let served = serve(&misbehaving()?, &nats, &[]).await?;
    let mut changes = orders.watch("after").await?;
    assert_eq!(served.ok("/after").await?, "first");
    let change = timeout(LONG, changes.next()).await?;
    assert_eq!(change.unwrap()?.value, "stored");
    Ok(())
}

#[tokio::test]
async fn it_goes_on_though_the_connection_breaks_after_its_answer() -> Result<()> {
    let (nats, orders) = server().await?;
    let args = ["--request-timeout", "10m"];
    let served = serve(&misbehaving()?, &nats, &args).await?;
    let mut changes = orders.watch("after").await?;
    let mut stream = TcpStream::connect(&served.address).await?;
    let request = format!("GET /after-go HTTP/1.1\r\nhost: {}\r\n\r\n", served.address);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n0\r\n\r\n") {
        let read = timeout(LONG, stream.read_buf(&mut answer)).await??;
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
    // The server ends a connection on which this comes with an error.
    stream.write_all(b"this is no request\r\n\r\n").await?;
    let _ = timeout(LONG, stream.read_to_end(&mut answer)).await?;
    orders.put("go", "now".into()).await?;
    let change = timeout(LONG, changes.next()).await?;
    assert_eq!(change.unwrap()?.value, "stored");
    Ok(())
}

#[tokio::test]
async fn what_it_says_in_an_error_is_not_in_the_log() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve(&misbehaving()?, &nats, &[]).await?;
    let (status, text) = served.get("/error").await?;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{text}");
    served.logged("InternalError").await?;
    assert!(!served.log().contains("of its own"));
    Ok(())
}

#[tokio::test]
async fn what_it_prints_is_in_the_log() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve(&misbehaving()?, &nats, &[]).await?;
    served.ok("/print").await?;
    for text in [
        "to the output\u{fffd}[31m",
        "to the error",
        "without a line end",
    ] {
        served.logged(text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_instance_ends_when_its_client_goes() -> Result<()> {
    let (nats, _) = server().await?;
    let args = ["--max-requests", "1", "--request-timeout", "10m"];
    let served = serve(&misbehaving()?, &nats, &args).await?;
    for (round, path) in ["/loop", "/wait", "/half-loop", "/endless", "/endless"]
        .into_iter()
        .enumerate()
    {
        let mut client = served.connect().await?;
        let frames = match path {
            "/half-loop" => 1,
            "/endless" => 100,
            _ => 0,
        };
        if frames > 0 {
            let response = client.send(Method::GET, path, "").await?;
            let mut body = response.into_body();
            for _ in 0..frames {
                timeout(LONG, body.frame()).await?.unwrap()?;
            }
        } else {
            let begun = served.logged_times(round + 1, "begun");
            tokio::select! {
                answer = client.send(Method::GET, path, "") => panic!("{path}: {answer:?}"),
                begun = begun => begun?,
            }
        }
        drop(client);
        // There is one slot, so this answers when the other request has ended.
        let ok = async {
            while served.get("/ok").await?.0 == StatusCode::SERVICE_UNAVAILABLE {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        timeout(LONG, ok).await??;
    }
    Ok(())
}
