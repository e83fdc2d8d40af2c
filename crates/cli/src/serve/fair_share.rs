//! Instances that compute for long take turns, so that everything else goes on beside them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

/// An instance that computed for as long as this without a pause waits for a turn to go on.
const LONG: Duration = Duration::from_millis(1);

/// How many instances that compute for long have their turn at once.
#[derive(Clone, Debug)]
pub(super) struct ComputeTurns(Arc<Semaphore>);

impl ComputeTurns {
    /// One for each thread of the runtime. However many instances compute, whoever else has work for a
    /// thread waits for one slice of one of them.
    pub(super) fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads)))
    }

    /// Runs `instance` so that it takes turns. A turn ends when the instance yields or waits.
    pub(super) fn share<F: Future>(&self, instance: F) -> FairShare<F> {
        FairShare {
            instance: Box::pin(instance),
            turns: PollSemaphore::new(Arc::clone(&self.0)),
            was_long: false,
        }
    }
}

/// An instance that takes turns.
pub(super) struct FairShare<F> {
    instance: Pin<Box<F>>,
    turns: PollSemaphore,
    was_long: bool,
}

impl<F: Future> Future for FairShare<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let turn = if self.was_long {
            ready!(self.turns.poll_acquire(context))
        } else {
            None
        };
        let begun = Instant::now();
        let polled = self.instance.as_mut().poll(context);
        self.was_long = begun.elapsed() >= LONG;
        drop(turn);
        polled
    }
}
