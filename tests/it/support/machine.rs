//! Which tests run at the same time. All tests are one process, which runs as many tests at once
//! as the machine has processors.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::const_new(());

/// For a test that runs beside others. Held until the test ends.
pub async fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// For a test that uses all of a small machine, so that others would exceed their time limits. Held
/// until the test ends.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}
