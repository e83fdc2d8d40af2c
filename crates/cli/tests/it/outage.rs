//! NATS goes away, and comes back.

use std::time::Duration;

use anyhow::Result;
use http::{Method, StatusCode};
use tokio::time::{sleep, timeout};

use crate::support::{LONG, ServeProcess, example, serve, server};

const QUICK: [&str; 2] = ["--request-timeout", "2s"];

async fn works_again(served: &ServeProcess) -> Result<()> {
    let set = async {
        loop {
            let (status, _) = served.request(Method::PUT, "/", r#"{"a": "b"}"#).await?;
            if status == StatusCode::OK {
                return anyhow::Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, set).await?
}

#[tokio::test]
async fn it_serves_while_nats_is_down_and_works_when_it_is_up() -> Result<()> {
    let (mut nats, orders) = server().await?;
    nats.stop().await?;
    let served = serve(&example()?, &nats, &QUICK).await?;
    served.logged("calls are answered `unavailable`").await?;
    let (status, text) = served.get("/keys").await?;
    assert_ne!(status, StatusCode::OK);
    assert!(text.contains("did not answer in time"), "{text}");
    nats.start().await?;
    works_again(&served).await?;
    assert!(orders.get("a").await?.is_some());

    nats.stop().await?;
    let (status, text) = served.get("/keys").await?;
    assert_ne!(status, StatusCode::OK);
    assert!(text.contains("did not answer in time"), "{text}");
    nats.start().await?;
    works_again(&served).await
}
