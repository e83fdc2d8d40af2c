//! The provider at work: a NATS server, the provider's process, a caller linked to a bucket, and
//! the four operations on real data.
//!
//! `cargo xtask demo` builds and runs it; `--keep` leaves everything running until Enter is pressed.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use testkit::async_nats::jetstream::kv;
use testkit::{NEWEST, PROVIDER_ENV, Stack};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const COMPONENT: &str = "demo-component";
const BUCKET: &str = "orders";

#[tokio::main]
async fn main() -> Result<()> {
    testkit::init_tracing();
    let keep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--keep") => true,
        Some(other) => anyhow::bail!("unknown argument {other:?}; the only one is --keep"),
    };
    let provider = std::env::var_os(PROVIDER_ENV)
        .with_context(|| format!("{PROVIDER_ENV} is not set; run this as `cargo xtask demo`"))?;

    let stack = Stack::start(NEWEST, provider).await?;
    said(&format!(
        "nats-server {NEWEST} runs at {}, the provider as process {}",
        stack.nats.url(),
        stack.provider.pid()
    ));
    stack.create_bucket(BUCKET, kv::Config::default()).await?;
    let caller = stack.linked(COMPONENT, BUCKET).await?;
    said(&format!(
        "component `{COMPONENT}` is linked to the key-value bucket `{BUCKET}`"
    ));

    let keys: Vec<String> = (1..=1000).map(|n| format!("order.{n}")).collect();
    let orders: Vec<(String, String)> = keys
        .iter()
        .zip(1..)
        .map(|(key, n)| {
            (
                key.clone(),
                format!(r#"{{"order":{n},"pieces":{}}}"#, n % 7),
            )
        })
        .collect();

    let begun = Instant::now();
    caller.set_many("default", &orders).await??;
    done("set-many", "1000 keys, all acknowledged", begun);

    let picture = b"\x89PNG\r\n\x1a\n\xff\xfe";
    caller
        .set_many("default", &[("picture", picture)])
        .await??;
    let asked = ["order.7", "order.nobody", "picture", "order.7"];
    let begun = Instant::now();
    let values = caller.get_many("default", &asked).await??;
    done("get-many", "4 keys, in the order asked:", begun);
    for (key, value) in asked.iter().zip(&values) {
        println!("      {key:<14} {}", shown(value.as_deref()));
    }
    ensure!(
        values[2].as_deref() == Some(picture),
        "the bytes changed on the way"
    );

    let begun = Instant::now();
    let values = caller.get_many("default", &keys).await??;
    let found = values.iter().flatten().count();
    done("get-many", &format!("1000 keys, {found} found"), begun);

    let begun = Instant::now();
    caller.delete_many("default", &keys[..990]).await??;
    done("delete-many", "990 keys", begun);

    let begun = Instant::now();
    let mut left = caller.keys("default").await??;
    left.sort_unstable();
    done(
        "keys",
        &format!("{} left: {}", left.len(), left.join(" ")),
        begun,
    );

    let store = stack.nats.jetstream().await?.get_key_value(BUCKET).await?;
    let directly = store.keys().await?.count().await;
    said(&format!(
        "NATS itself, asked without the provider, lists {directly} keys"
    ));
    ensure!(directly == left.len(), "the provider and NATS disagree");

    println!("\nAnd what a caller gets that asks for what it may not have:");
    for (what, answer) in [
        ("another bucket", caller.get_many("payroll", &["x"]).await?),
        ("a wildcard key", caller.get_many("default", &[">"]).await?),
        (
            "no link",
            stack.caller("stranger").get_many("default", &["x"]).await?,
        ),
    ] {
        match answer {
            Err(error) => println!("  {what}: {error:?}"),
            Ok(_) => anyhow::bail!("{what} was answered"),
        }
    }

    if keep {
        println!(
            "\nStill running: NATS with bucket `{BUCKET}` at {}. Press Enter to stop.",
            stack.nats.url()
        );
        BufReader::new(tokio::io::stdin())
            .read_line(&mut String::new())
            .await?;
    }
    let mut stack = stack;
    let status = stack.provider.shutdown().await?;
    println!(
        "\nThe provider was told to stop and ended ({status}). The server and its files are gone."
    );
    Ok(())
}

fn said(what: &str) {
    println!("  {what}");
}

fn done(operation: &str, what: &str, begun: Instant) {
    let elapsed = begun.elapsed().as_secs_f64() * 1000.0;
    println!("  {operation:<12} {what}  ({elapsed:.1} ms)");
}

fn shown(value: Option<&[u8]>) -> String {
    match value.map(|bytes| (str::from_utf8(bytes), bytes.len())) {
        None => "none".to_owned(),
        Some((Ok(text), _)) => text.to_owned(),
        Some((Err(_), length)) => format!("{length} bytes that are no text"),
    }
}
