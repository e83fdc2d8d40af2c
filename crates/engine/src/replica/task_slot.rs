//! The place of the one task that looks after a copy.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long after a task has ended by itself another one is started.
const PAUSE: Duration = Duration::from_secs(60);

/// The task, if there is one.
#[derive(Debug, Default)]
pub(super) struct TaskSlot(Mutex<Slot>);

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Running {
        cancel: CancellationToken,
        task: JoinHandle<()>,
    },
    /// The task has ended without having been told to: it panicked.
    Ended(Instant),
}

impl TaskSlot {
    /// Starts the task, if there is none. `ended` is called if the task of before is found to have
    /// ended by itself.
    pub(super) fn start(
        &self,
        spawn: impl FnOnce(CancellationToken) -> JoinHandle<()>,
        ended: impl FnOnce(),
    ) {
        let mut slot = self.lock();
        match &*slot {
            Slot::Running { task, .. } if !task.is_finished() => {}
            Slot::Running { .. } => {
                *slot = Slot::Ended(Instant::now());
                ended();
            }
            Slot::Ended(at) if at.elapsed() < PAUSE => {}
            Slot::Ended(_) | Slot::Empty => {
                let cancel = CancellationToken::new();
                let task = spawn(cancel.clone());
                *slot = Slot::Running { cancel, task };
            }
        }
    }

    /// Ends the task, if there is one.
    pub(super) fn stop(&self) {
        if let Slot::Running { cancel, .. } = std::mem::take(&mut *self.lock()) {
            cancel.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_noticed_and_started_again_after_a_pause() {
        let slot = TaskSlot::default();
        let (started, ended) = (AtomicU32::new(0), AtomicU32::new(0));
        let start = || {
            let spawn = |cancel: CancellationToken| {
                let count = started.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    assert!(count > 0, "the first one panics");
                    cancel.cancelled().await;
                })
            };
            slot.start(spawn, || {
                ended.fetch_add(1, Ordering::Relaxed);
            });
        };
        let counts = || {
            (
                started.load(Ordering::Relaxed),
                ended.load(Ordering::Relaxed),
            )
        };
        start();
        start();
        assert_eq!(counts(), (1, 0));
        // The task has its turn.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        for _ in 0..3 {
            start();
        }
        assert_eq!(counts(), (1, 1), "not again and again");
        tokio::time::advance(PAUSE).await;
        start();
        tokio::task::yield_now().await;
        start();
        assert_eq!(counts(), (2, 1));
        slot.stop();
        start();
        assert_eq!(counts(), (3, 1));
    }
}
