//! Counters: a counter is a key whose value is a number in decimal text.
//!
//! The number is read from the stream's leader, and written if the key has not changed since. If
//! the key has changed, the number is read again.
//!
//! The increments of this process that wait for the same key are carried out together, in one
//! round. One write adds them all, so they compete only with other processes. Each increment gets
//! the sum as if it had come alone.
//!
//! One of the calls drives the round. The round does not belong to that call. When the call ends,
//! the next call drives the round on from where it is.

mod number;
mod queue;
mod round;
mod swap;
mod turn;

use std::sync::Arc;

use tokio::time::sleep_until;

use super::bucket_state::BucketState;
use super::deadline::Deadline;
use super::error::Error;
use super::text::CallerText;
use queue::Withdrawal;
use round::Round;
pub(super) use swap::compare_and_swap;
pub(super) use turn::Counters;
use turn::RunningRound;

/// Adds `delta` to the key's number, and returns the sum.
pub(super) async fn increment(
    bucket: &Arc<BucketState>,
    counters: &Counters,
    key: &str,
    delta: u64,
    deadline: &Deadline,
) -> Result<u64, Error> {
    let encoded = bucket.encoding().encode(key)?;
    let counter = counters.get(&encoded);
    let mut ticket = counter.join(delta, *deadline);
    let new_round = |queue, deadline, known| -> RunningRound {
        let round = Round {
            bucket: Arc::clone(bucket),
            key: key.to_owned(),
            encoded: encoded.to_string(),
            queue,
            deadline,
        };
        Box::pin(round.run(known))
    };
    let mut may_withdraw = true;
    loop {
        tokio::select! {
            biased;
            answer = ticket.answer() => {
                // The round has ended without an answer, because its future was dropped.
                return answer.unwrap_or_else(|_| Err(unclear(key)));
            }
            () = sleep_until(deadline.send_deadline()), if may_withdraw => match ticket.withdraw() {
                Withdrawal::Done => return Err(bucket.no_answer_error(deadline)),
                Withdrawal::AfterConflicts => return Err(contended(key)),
                // The acknowledgement may still come in time.
                Withdrawal::TooLate => may_withdraw = false,
            },
            () = sleep_until(deadline.call_deadline()) => return Err(unclear(key)),
            () = counter.drive_round(new_round) => {}
        }
    }
}

/// The error if other processes changed the key after each read.
fn contended(key: &str) -> Error {
    Error::Contended {
        key: CallerText::key(key),
    }
}

/// The error if it is not known whether the new number is stored.
fn unclear(key: &str) -> Error {
    Error::UnclearNumber {
        key: CallerText::key(key),
    }
}
