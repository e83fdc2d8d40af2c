//! Nothing that was answered `ok` is lost, and nothing hangs, while the nodes of a cluster fail. More
//! rounds, at random: `cargo xtask chaos`.

use anyhow::Result;
use chaos::counts::Times;
use chaos::fault::Fault;
use chaos::rounds;

const SEED: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_each_kind_loses_nothing() -> Result<()> {
    testkit::init_tracing();
    let _machine = crate::support::machine::shared().await;
    let rng = fastrand::Rng::with_seed(SEED);
    let provider = crate::support::PROVIDER.as_ref();
    let times = Times::ON_A_BUSY_MACHINE;
    let faults = Fault::EACH;
    let report = rounds::run(testkit::NEWEST, provider, rng, faults, 3.0..6.0, times).await?;
    assert!(report.counts.ok > 500, "{}", report.counts);
    assert_eq!(report.broken, Vec::<String>::new());
    Ok(())
}
