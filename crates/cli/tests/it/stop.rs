//! Signals end it, after what is under way.

use anyhow::Result;
use futures::StreamExt as _;
use http::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{LONG, example, is_closed, misbehaving, serve, serve_patiently, server};

#[tokio::test]
async fn requests_under_way_are_answered() -> Result<()> {
    for signal in ["TERM", "INT"] {
        let (nats, _) = server().await?;
        let served = serve(&example()?, &nats, &[]).await?;
        let (first, mut begun) = mpsc::channel(1);
        let mut clients = Vec::new();
        for _ in 0..16 {
            let mut client = served.connect().await?;
            let first = first.clone();
            clients.push(tokio::spawn(async move {
                let mut answered = 0;
                loop {
                    match client.request(Method::PUT, "/", r#"{"a": "b"}"#).await {
                        Ok((status, _)) => assert_eq!(status, StatusCode::OK),
                        // Between two requests the connection may be closed.
                        Err(error) => break (answered, error),
                    }
                    answered += 1;
                    let _ = first.try_send(());
                }
            }));
        }
        timeout(LONG, begun.recv()).await?;
        served.signal(signal).await?;
        for client in clients {
            let (answered, error) = timeout(LONG, client).await??;
            assert!(
                answered == 0 || is_closed(&error),
                "after {answered}: {error:?}"
            );
        }
        let ended = served.ended().await?;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert!(ended.log.contains("stopped"), "{}", ended.log);
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_under_way_is_answered() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve_patiently(&misbehaving()?, &nats, &[]).await?;
    let mut client = served.connect().await?;
    let mut writes = nats.client().await?.subscribe("$KV.>").await?;
    let batch =
        tokio::spawn(async move { client.request(Method::GET, "/set-many/10000", "").await });
    timeout(LONG, writes.next()).await?;
    served.signal("TERM").await?;
    let (status, text) = timeout(LONG, batch).await???;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "10000 set"));
    assert_eq!(served.ended().await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_off() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve(&misbehaving()?, &nats, &["--request-timeout", "1s"]).await?;
    let mut client = served.connect().await?;
    let idle = served.connect().await?;
    let waiting = client.request(Method::GET, "/wait", "");
    let stop = async {
        served.logged("begun").await?;
        served.signal("TERM").await
    };
    let (answer, stopped) = tokio::join!(waiting, stop);
    stopped?;
    assert_eq!(answer?.0, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(served.ended().await?.code, Some(0));
    drop(idle);
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve(&misbehaving()?, &nats, &["--request-timeout", "1h"]).await?;
    let mut client = served.connect().await?;
    let waiting = tokio::spawn(async move { client.request(Method::GET, "/wait", "").await });
    served.logged("begun").await?;
    served.signal("TERM").await?;
    served.logged("stopping: ").await?;
    assert!(!waiting.is_finished());
    served.signal("TERM").await?;
    served.logged("stopping at once").await?;
    let ended = served.ended().await?;
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    Ok(())
}
