//! What it says when it cannot serve.

use std::fs;

use anyhow::Result;
use testkit::NatsServer;

use crate::support::{ServeBuilder, example, server};

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_named() -> Result<()> {
    let (nats, _) = server().await?;
    let said = ServeBuilder::new(&example()?)?
        .args(&["--bucket", "missing", "--nats", &nats.url()])
        .refused()
        .await?;
    assert!(
        said.contains("bucket `missing` does not exist; create it"),
        "{said}"
    );
    let links = format!(
        "[links.default]\nbucket = \"orders\"\ncluster_uri = \"{0}\"\nbuckets = \"other=missing\"",
        nats.url()
    );
    let said = ServeBuilder::new(&example()?)?
        .links(&links)?
        .refused()
        .await?;
    assert!(
        said.contains("links.toml: link `default`: bucket `missing`"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn refused_credentials_are_said_and_not_shown() -> Result<()> {
    let nats = NatsServer::builder(testkit::NEWEST)
        .config("authorization { user: shop, password: right }")
        .start()
        .await?;
    let links = format!(
        "[links.default]\nbucket = \"orders\"\ncluster_uri = \"{}\"\nusername = \"shop\"\n\
         [links.default.secrets]\npassword = {{ env = \"SHOP_PASSWORD\" }}",
        nats.url()
    );
    let start = || anyhow::Ok(ServeBuilder::new(&example()?)?.env("SHOP_PASSWORD", "wr0ng"));
    let said = start()?.links(&links)?.refused().await?;
    assert!(said.contains("refused access"), "{said}");
    assert!(said.contains("check `username` and `password`"), "{said}");
    assert!(!said.contains("wr0ng"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_component_that_cannot_be_served_is_refused_with_the_reason() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).map(|()| path)
    };
    let whole = fs::read(example()?)?;
    let half = whole.get(..whole.len() / 2).unwrap_or_default();
    let composed = testkit::component("e2e/components", "bench")?;
    for (path, expected) in [
        (
            dir.path().join("missing.wasm"),
            "missing.wasm: cannot be read: No such file",
        ),
        (
            file("text.wasm", b"(component)")?,
            "not WebAssembly in its binary form",
        ),
        (
            file("core.wasm", b"\0asm\x01\0\0\0")?,
            "core module and no component",
        ),
        (
            file("half.wasm", half)?,
            "half.wasm: this component cannot be compiled",
        ),
        (
            testkit::component("e2e/components", "native")?,
            "exports no `wasi:http/incoming-handler@0.2`",
        ),
        (
            testkit::component("e2e/components", "counter")?,
            "imports `wasmcloud:bus/lattice@2.0.0`, which nothing here provides",
        ),
    ] {
        let said = ServeBuilder::new(&path)?
            .args(&["--bucket", "orders"])
            .refused()
            .await?;
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    drop(composed);
    Ok(())
}

#[tokio::test]
async fn a_component_that_is_larger_than_its_memory_is_refused() -> Result<()> {
    let args = ["--bucket", "orders", "--memory", "1MiB"];
    let said = ServeBuilder::new(&example()?)?
        .args(&args)
        .refused()
        .await?;
    assert!(said.contains("--memory allows 1048576"), "{said}");
    Ok(())
}

#[tokio::test]
async fn an_address_in_use_is_named() -> Result<()> {
    let (nats, _) = server().await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_eventual-batch"));
    command.arg("serve").arg(example()?);
    command.args([
        "--bucket",
        "orders",
        "--nats",
        &nats.url(),
        "--http",
        &address,
    ]);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&format!("--http {address}: cannot listen there")),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn the_command_line_asks_for_buckets_once() -> Result<()> {
    for (args, expected) in [
        (&[][..], "--links <FILE.toml>|--bucket <NAME>"),
        (
            &["--bucket", "a", "--links", "b"][..],
            "cannot be used with",
        ),
        (&["--links", "b", "--create"][..], "cannot be used with"),
        (
            &["--bucket", "a", "--memory", "128MB"][..],
            "expected a size such as `128MiB`",
        ),
        (
            &["--bucket", "a", "--request-timeout", "30"][..],
            "expected a time such as",
        ),
        (
            &["--bucket", "a", "--max-requests", "0"][..],
            "0 is not in 1..=",
        ),
    ] {
        let said = ServeBuilder::new(&example()?)?.args(args).refused().await?;
        assert!(said.contains(expected), "{said}");
    }
    Ok(())
}
