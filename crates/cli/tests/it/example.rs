//! The HTTP example, served as it is.

use anyhow::Result;
use http::{Method, StatusCode};

use crate::support::{ServeBuilder, bucket, example, serve, server};

#[tokio::test]
async fn the_example_reads_and_writes_the_bucket() -> Result<()> {
    let (nats, orders) = server().await?;
    let served = serve(&example()?, &nats, &[]).await?;
    let body = r#"{"a": "text", "b": {"base64": "/w=="}}"#;
    let (status, text) = served.request(Method::PUT, "/", body).await?;
    assert_eq!((status, text.trim()), (StatusCode::OK, r#"{"stored":2}"#));
    let text = served.ok("/?key=b&key=a&key=c").await?;
    let expected = r#"[{"key":"b","value":{"base64":"/w=="}},{"key":"a","value":"text"},{"key":"c","value":null}]"#;
    assert_eq!(text.trim(), expected);

    // Other clients see the same bucket.
    assert_eq!(orders.get("a").await?.as_deref(), Some(&b"text"[..]));
    orders.put("c", "by another client".into()).await?;
    let text = served.ok("/?key=c").await?;
    assert_eq!(text.trim(), r#"[{"key":"c","value":"by another client"}]"#);

    let (status, _) = served.request(Method::DELETE, "/?key=a&key=b", "").await?;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(served.ok("/keys").await?.trim(), r#"["c"]"#);
    assert_eq!(orders.get("a").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_link_may_use_the_bucket_that_another_one_creates() -> Result<()> {
    let (nats, _) = server().await?;
    let bucket = format!("bucket = \"new\"\ncluster_uri = \"{}\"", nats.url());
    let links = format!(
        "[links.another]\n{bucket}\n[links.default]\n{bucket}\nenable_bucket_auto_create = true"
    );
    let served = ServeBuilder::new(&example()?)?
        .links(&links)?
        .start()
        .await?;
    assert_eq!(served.ok("/keys").await?.trim(), "[]");
    Ok(())
}

#[tokio::test]
async fn a_bucket_is_created_if_that_is_asked_for() -> Result<()> {
    let (nats, _) = server().await?;
    let served = ServeBuilder::new(&example()?)?
        .args(&["--bucket", "new", "--nats", &nats.url(), "--create"])
        .start()
        .await?;
    assert_eq!(served.ok("/keys").await?.trim(), "[]");
    nats.jetstream().await?.get_key_value("new").await?;
    Ok(())
}

#[tokio::test]
async fn each_link_has_its_bucket() -> Result<()> {
    let (nats, orders) = server().await?;
    let archive = bucket(&nats, "orders-archive").await?;
    let url = nats.url();
    let served = ServeBuilder::new(&example()?)?
        .links(&format!(
            "[links.default]\nbucket = \"orders\"\ncluster_uri = \"{url}\"\n\
             [links.archive]\nbucket = \"orders-archive\"\ncluster_uri = \"{url}\"\n"
        ))?
        .start()
        .await?;
    served.request(Method::PUT, "/", r#"{"a": "new"}"#).await?;
    let archived = served.request(Method::PUT, "/?bucket=archive", r#"{"a": "old"}"#);
    assert_eq!(archived.await?.0, StatusCode::OK);
    assert_eq!(orders.get("a").await?.as_deref(), Some(&b"new"[..]));
    assert_eq!(archive.get("a").await?.as_deref(), Some(&b"old"[..]));
    // A bucket that exists, and that no link grants.
    bucket(&nats, "private").await?;
    let (_, text) = served.get("/keys?bucket=private").await?;
    assert!(text.contains("grants no bucket named"), "{text}");
    Ok(())
}
