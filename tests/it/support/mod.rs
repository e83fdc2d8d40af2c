//! What the integration tests share.

#![allow(dead_code, unreachable_pub, unused_macros)]

pub mod hostile;
pub mod interface;
pub mod jwt;
pub mod load;
pub mod machine;
pub mod proxy;
pub mod raw;
pub mod tls;
pub mod waiting;
pub mod wire;

use testkit::{Stack, StackBuilder};

/// The provider's binary, built by cargo for these tests.
pub const PROVIDER: &str = env!("CARGO_BIN_EXE_eventual-batch-nats-provider");

/// What the provider names its connection to the lattice over which calls come.
pub const CALLS_CONNECTION: &str = concat!(env!("CARGO_PKG_NAME"), "-calls");

/// A stack with a nats-server of this version, to be set up further.
pub fn stack(version: &str) -> StackBuilder {
    testkit::init_tracing();
    Stack::builder(version, PROVIDER)
}

/// Like [`Stack::linked`], with a timeout that is long enough for a busy machine.
pub async fn linked_with_long_timeout(
    stack: &Stack,
    component: &str,
    bucket: &str,
) -> anyhow::Result<testkit::LatticeCaller> {
    let link = stack.link(component, bucket).config("timeout", "60s");
    put_with_long_timeout(stack, &link).await
}

/// Puts the link. Returns its caller, which waits as long as a link's `timeout` of 60 s.
pub async fn put_with_long_timeout(
    stack: &Stack,
    link: &testkit::LinkDefinition,
) -> anyhow::Result<testkit::LatticeCaller> {
    stack.provider.put_link(link).await?;
    let caller = stack.caller(link.source_id()).with_link(link.link_name());
    Ok(caller.with_timeout(std::time::Duration::from_secs(60)))
}

/// Runs each `async fn(version: &str) -> anyhow::Result<()>` on this server: beside others, or
/// `alone` on the machine.
macro_rules! on_version {
    ($module:ident, $version:expr, [$($test:ident),* $(,)?]) => {
        on_version!($module, $version, shared, [$($test),*]);
    };
    ($module:ident, $version:expr, $machine:ident, [$($test:ident),* $(,)?]) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() -> anyhow::Result<()> {
                    let _machine = crate::support::machine::$machine().await;
                    super::$test($version).await
                }
            )*
        }
    };
}

/// Runs each `async fn(version: &str) -> anyhow::Result<()>` on the oldest and the newest server.
macro_rules! on_oldest_and_newest {
    ($($test:ident),* $(,)?) => {
        on_version!(oldest, testkit::OLDEST, [$($test),*]);
        on_version!(newest, testkit::NEWEST, [$($test),*]);
    };
}

/// Runs each on every server version.
macro_rules! on_all_versions {
    ($($test:ident),* $(,)?) => {
        on_version!(oldest, testkit::NATS_VERSIONS[0], [$($test),*]);
        on_version!(second, testkit::NATS_VERSIONS[1], [$($test),*]);
        on_version!(third, testkit::NATS_VERSIONS[2], [$($test),*]);
        on_version!(newest, testkit::NATS_VERSIONS[3], [$($test),*]);
    };
}
