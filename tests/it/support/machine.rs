//! Who runs beside whom. All tests are one process, which runs as many at a time as there are
//! processors.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::const_new(());

/// For a test that runs beside others. Held until the test ends.
pub async fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// For a test that takes all of a small machine, and would make others late. Held until the test
/// ends.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}
