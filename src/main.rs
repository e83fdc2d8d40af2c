//! The provider's process: started by a wasmCloud host, which feeds it `HostData` on stdin.

use anyhow::Context as _;
use eventual_batch_nats_provider::provider::EventualBatchProvider;
use tokio::signal::unix::{SignalKind, signal};
use wasmcloud_provider_sdk::{initialize_observability, load_host_data, run_provider};

const NAME: &str = env!("CARGO_PKG_NAME");

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The SDK's own text of this error holds all of the host data, secrets included.
    let Ok(host) = load_host_data() else {
        anyhow::bail!(
            "no usable host data on stdin: expected one line of base64 with the JSON that a \
             wasmCloud host sends to a provider that it starts"
        );
    };
    initialize_observability!(NAME, None::<std::path::PathBuf>);
    // Two TLS back ends may be compiled in by way of dependencies; rustls then wants to be told.
    let _ = async_nats::rustls::crypto::ring::default_provider().install_default();

    let provider = EventualBatchProvider::new(host)?;
    let stopped_by_host = run_provider(provider.clone(), NAME)
        .await
        .context("failed to start the provider")?;
    provider.serve().await?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = stopped_by_host => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    provider.stop().await;
    Ok(())
}
