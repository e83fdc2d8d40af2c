//! Callers that answer the acceptance of a call in unusual ways.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::NEWEST;
use testkit::async_nats::jetstream::kv;

use crate::support::wire::{FUNCTIONS, WireCaller, length, text};

/// The provider repeats an acceptance, with another address. A caller may end its parameters at each
/// address, and send them to the first only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_at_the_other_address_does_not_end_the_parameters() -> Result<()> {
    const KEYS: usize = 20_000;
    const PART: usize = 64 * 1024;
    let stack = crate::support::stack(NEWEST).separate_lattice();
    let stack = stack.start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let link = stack.link("shop", "orders").config("timeout", "60s");
    stack.provider.put_link(&link).await?;
    let mut wire = WireCaller::new(&stack, "shop").await?;
    let (instance, function) = FUNCTIONS[3];
    let mut params = [text("default"), length(KEYS)].concat();
    for key in 0..KEYS {
        params.extend(text(&format!("key.{key}")));
        params.push(0);
        params.extend(text(&"x".repeat(300)));
    }
    // The parts go to the first address before the end goes to the second, or after it.
    for end_first in [false, true, false, true, false] {
        let opened = wire.open(instance, function, params[..9].to_vec()).await?;
        let first = wire.accepted(&opened).await?.context("not accepted")?;
        let second = loop {
            let address = wire.accepted(&opened).await?.context("not repeated")?;
            if address != first {
                break address;
            }
        };
        if end_first {
            wire.send_part(&second, Vec::new()).await?;
        }
        let (begun, rest) = params[9..].split_at(PART);
        wire.send_part(&first, begun.to_vec()).await?;
        if !end_first {
            wire.send_part(&second, Vec::new()).await?;
        }
        for part in rest.chunks(PART) {
            wire.send_part(&first, part.to_vec()).await?;
        }
        wire.send_part(&first, Vec::new()).await?;
        let said = wire.results(&opened, Duration::from_secs(60)).await?;
        ensure!(said == "\0", "end first: {end_first}: {said:?}");
    }
    Ok(())
}
