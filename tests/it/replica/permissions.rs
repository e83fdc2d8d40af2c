//! What a login needs so that a bucket can have a copy.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use testkit::NatsServer;

use super::MODES;
use super::setup::{Replicated, stream};
use crate::support::waiting::eventually;

on_oldest_and_newest! {
    a_missing_permission_ends_the_copy_and_is_named,
}

/// What a copy needs besides what the leader's reads need.
const NEEDS: [&str; 3] = ["CONSUMER.CREATE", "CONSUMER.INFO", "CONSUMER.MSG.NEXT"];

/// A login without each of them, named after it.
fn logins() -> Result<String> {
    let mut config = "authorization { users: [ { user: admin, password: secret }\n".to_owned();
    for missing in NEEDS {
        let mut publish = vec![
            r#""$JS.API.STREAM.INFO.KV_b""#.to_owned(),
            r#""$JS.API.STREAM.MSG.GET.KV_b""#.to_owned(),
            r#""$JS.API.CONSUMER.DELETE.KV_b.*""#.to_owned(),
        ];
        let others = NEEDS.iter().filter(|need| **need != missing);
        publish.extend(others.map(|need| format!(r#""$JS.API.{need}.KV_b.*""#)));
        let publish = publish.join(", ");
        writeln!(
            config,
            "{{ user: {missing}, password: secret, permissions: {{ \
             publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [\"_INBOX.>\"] }} }} }}"
        )?;
    }
    config.push_str("] }");
    Ok(config)
}

async fn a_missing_permission_ends_the_copy_and_is_named(version: &str) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::builder(version)
        .config(logins()?)
        .start()
        .await?;
    for missing in NEEDS {
        let (mode, bound) = MODES[0];
        let replicated = Replicated::start_as(&server, missing, stream("b"), mode, bound).await?;
        replicated.put("a", "1").await?;
        if missing == "CONSUMER.INFO" {
            // It is needed only if something seems wrong with the consumer.
            let hits = replicated.stats().hits;
            eventually("the copy answers", async || {
                replicated.read().await?;
                Ok((replicated.stats().hits > hits).then_some(()))
            })
            .await?;
            replicated.delete_consumers().await?;
        }
        let off = eventually("the copy is given up", async || {
            let read = replicated.read().await?;
            ensure!(read["a"] == "1", "{read:?}");
            Ok(replicated.stats().off)
        })
        .await?;
        ensure!(off.contains(missing), "{missing} is not named: {off}");
        eventually("no consumer is left", async || {
            Ok(replicated.consumers().await?.is_empty().then_some(()))
        })
        .await?;
        replicated.delete_stream().await?;
    }
    Ok(())
}
