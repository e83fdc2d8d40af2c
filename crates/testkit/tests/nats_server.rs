//! The servers do what tests rely on: keep their port and their data, freeze, count connections,
//! and end with their owner.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::ConnectOptions;
use async_nats::jetstream::{self, kv};
use testkit::{NATS_VERSIONS, NEWEST, NatsServer};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn keeps_port_and_data_over_a_restart() -> Result<()> {
    for version in NATS_VERSIONS {
        let mut server = NatsServer::run(*version).await?;
        ensure!(server.monitor("/varz").await?["version"] == *version);
        let url = server.url();
        let store = server
            .jetstream()
            .await?
            .create_key_value(kv::Config {
                bucket: "b".to_owned(),
                ..kv::Config::default()
            })
            .await?;
        store.put("k", "v".into()).await?;

        server.stop().await?;
        server.start().await?;
        ensure!(server.url() == url);
        let store = server.jetstream().await?.get_key_value("b").await?;
        ensure!(store.get("k").await?.context("no value")? == "v");
    }
    Ok(())
}

#[tokio::test]
async fn freezes_and_goes_on() -> Result<()> {
    let server = NatsServer::run(NEWEST).await?;
    let client = server.client().await?;
    server.pause().await?;
    client.publish("a", "".into()).await?;
    let frozen = timeout(Duration::from_millis(300), server.monitor("/varz")).await;
    ensure!(frozen.is_err());
    server.resume()?;
    client.flush().await?;
    server.monitor("/varz").await?;
    Ok(())
}

#[tokio::test]
async fn counts_connections_by_name() -> Result<()> {
    let server = NatsServer::run(NEWEST).await?;
    let options = || ConnectOptions::new().name("one of two");
    let _first = options().connect(server.url()).await?;
    let second = options().connect(server.url()).await?;
    let _other = server.client().await?;
    ensure!(server.connections_named("one of two").await? == 2);
    ensure!(server.connections().await?.len() == 3);
    drop(second);
    for _ in 0..100 {
        if server.connections_named("one of two").await? == 1 {
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("the connection stays")
}

#[tokio::test]
async fn takes_configuration() -> Result<()> {
    let server = NatsServer::builder(NEWEST)
        .config("authorization { token: secret }")
        .jetstream_config("domain: hub")
        .start()
        .await?;
    ensure!(server.client().await.is_err());
    let options = ConnectOptions::new().token("secret".to_owned());
    let client = server.client_with(options).await?;
    let account = jetstream::with_domain(client, "hub")
        .query_account()
        .await?;
    ensure!(account.domain.as_deref() == Some("hub"));
    Ok(())
}

#[tokio::test]
async fn says_why_it_does_not_start() -> Result<()> {
    let error = NatsServer::builder(NEWEST)
        .config("no_such_option: 1")
        .start()
        .await
        .err()
        .context("it started")?;
    ensure!(format!("{error:#}").contains("no_such_option"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn leaves_nothing_behind() -> Result<()> {
    let server = NatsServer::run(NEWEST).await?;
    let (dir, port) = (server.dir().to_owned(), server.port());
    server.pause().await?;
    drop(server);
    ensure!(!dir.exists());
    ensure!(
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
    );
    Ok(())
}
