//! Counting: a key whose value is a number in decimal text.
//!
//! A key is read by its leader, and written if it has not changed since; else it is read again. The
//! increments of this process that wait for the same key are carried out together, in one round: one
//! write adds them all up, so they contend only with other processes. Each increment gets the sum as if
//! it had come alone.
//!
//! One of the calls drives the round. The round belongs to the key and not to that call: when the call's
//! time is over, the next call drives the round on from where it is.

mod number;
mod round;
mod swap;
mod waiting;

use std::sync::Arc;

use tokio::time::sleep_until;

use super::deadline::Deadline;
use super::error::Error;
use super::handle::BucketHandle;
use super::text::CallerText;
use round::Round;
pub(super) use swap::compare_and_swap;
pub(super) use waiting::Counters;
use waiting::{RunningRound, Withdrawal};

/// Adds `delta` to the key's number, and returns the sum.
pub(super) async fn increment(
    bucket: &Arc<BucketHandle>,
    counters: &Counters,
    key: &str,
    delta: u64,
    deadline: &Deadline,
) -> Result<u64, Error> {
    let encoded = bucket.encoding().encode(key)?;
    let counter = counters.get(&encoded);
    let mut ticket = counter.join(delta, *deadline);
    let new_round = |queue, deadline, last| -> RunningRound {
        let round = Round {
            bucket: Arc::clone(bucket),
            key: key.to_owned(),
            encoded: encoded.to_string(),
            queue,
            deadline,
        };
        Box::pin(round.run(last))
    };
    let mut may_withdraw = true;
    loop {
        tokio::select! {
            biased;
            answer = ticket.answer() => {
                // A round that ends without an answer was cut off.
                return answer.unwrap_or_else(|_| Err(unclear(key)));
            }
            () = sleep_until(deadline.send_deadline()), if may_withdraw => match ticket.withdraw() {
                Withdrawal::Done => return Err(bucket.no_answer_error(deadline)),
                Withdrawal::AfterConflicts => return Err(contended(key)),
                // The acknowledgement may still come in time.
                Withdrawal::TooLate => may_withdraw = false,
            },
            () = sleep_until(deadline.answer_deadline()) => return Err(unclear(key)),
            () = counter.drive(new_round) => {}
        }
    }
}

/// The error if other processes were quicker, time and again.
fn contended(key: &str) -> Error {
    Error::Contended {
        key: CallerText::key(key),
    }
}

/// The error of a call of which nobody can say whether it was carried out.
fn unclear(key: &str) -> Error {
    Error::UnclearNumber {
        key: CallerText::key(key),
    }
}
