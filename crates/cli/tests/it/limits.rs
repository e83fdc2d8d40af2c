//! The bounds of requests, and what fits within them.

use anyhow::Result;
use futures::StreamExt as _;
use http::{Method, StatusCode};

use crate::support::{example, misbehaving, patiently, resident, serve, serve_patiently, server};

#[tokio::test]
async fn requests_over_the_bound_are_answered_503() -> Result<()> {
    let (nats, _) = server().await?;
    let args = ["--max-requests", "3", "--request-timeout", "10m"];
    let served = serve(&misbehaving()?, &nats, &args).await?;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = served.connect().await?;
        waiting.push(tokio::spawn(async move {
            client.request(Method::GET, "/wait", "").await
        }));
    }
    served.logged_times(3, "begun").await?;
    let mut client = served.connect().await?;
    let refused = client.send(Method::GET, "/ok", "").await?;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(waiting.iter().all(|request| !request.is_finished()));
    Ok(())
}

#[tokio::test]
async fn the_largest_batch_of_a_link_fits() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve_patiently(&misbehaving()?, &nats, &[]).await?;
    for path in ["/set-many/100000", "/get-many/100000"] {
        let text = served.ok(path).await?;
        assert!(text.starts_with("100000 "), "{path}: {text}");
    }
    let text = served.ok("/get-many/100001").await?;
    assert!(text.contains("over the limit of 100000 keys"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_batch_ends_though_its_client_has_gone() -> Result<()> {
    const KEYS: u64 = 30_000;
    let (nats, _) = server().await?;
    let served = serve_patiently(&misbehaving()?, &nats, &[]).await?;
    let mut client = served.connect().await?;
    let mut writes = nats.client().await?.subscribe("$KV.>").await?;
    tokio::select! {
        biased;
        first = writes.next() => assert!(first.is_some(), "the subscription has ended"),
        answer = client.request(Method::GET, "/set-many/30000", "") => panic!("too early: {answer:?}"),
    }
    drop((client, writes));
    served
        .logged("a write ended after its store was dropped")
        .await?;
    let stream = nats.jetstream().await?.get_stream("KV_orders").await?;
    assert_eq!(stream.cached_info().state.messages, KEYS);
    Ok(())
}

#[tokio::test]
async fn a_batch_of_a_client_that_has_gone_keeps_its_slot() -> Result<()> {
    let (nats, _) = server().await?;
    let served = patiently(&misbehaving()?, &nats, &["--max-requests", "1"])?
        .env("RUST_LOG", "debug")
        .start()
        .await?;
    let mut client = served.connect().await?;
    let mut writes = nats.client().await?.subscribe("$KV.>").await?;
    tokio::select! {
        biased;
        first = writes.next() => assert!(first.is_some(), "the subscription has ended"),
        answer = client.request(Method::GET, "/set-many/30000", "") => panic!("too early: {answer:?}"),
    }
    nats.pause().await?;
    drop((client, writes));
    served.logged("the client has gone away").await?;
    let (status, text) = served.get("/ok").await?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    nats.resume()?;
    served
        .logged("a write ended after its store was dropped")
        .await?;
    assert_eq!(served.ok("/ok").await?, "well-behaved");
    Ok(())
}

#[tokio::test]
async fn memory_stays_flat() -> Result<()> {
    let (nats, _) = server().await?;
    let served = serve(&example()?, &nats, &[]).await?;
    served.request(Method::PUT, "/", r#"{"a": "text"}"#).await?;
    let round = || async {
        let clients = (0..8).map(|_| async {
            let mut client = served.connect().await?;
            for _ in 0..250 {
                client.request(Method::GET, "/?key=a", "").await?;
            }
            anyhow::Ok(())
        });
        futures::future::try_join_all(clients).await
    };
    round().await?;
    let before = resident(served.pid())?;
    for _ in 0..9 {
        round().await?;
    }
    let after = resident(served.pid())?;
    // Half a kilobyte that each of 18,000 requests left behind would show.
    assert!(after < before + 18_000 * 512, "{before} to {after}");
    Ok(())
}
