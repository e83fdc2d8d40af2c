//! The times of a watch.

use std::time::Duration;

/// How often a pull that waits gives a sign.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);

/// After this time without a sign, the pull counts as lost, and no call is started.
pub(super) const SILENCE: Duration = Duration::from_secs(3);

/// How long a pull stays open. If its instance hangs, another one gets its turn after that.
pub(super) const PULL_EXPIRES: Duration = Duration::from_secs(30);

/// The pause after a pull that the server refused: another instance has one open.
pub(super) const PULL_PAUSE: Duration = Duration::from_secs(1);

/// How many pulls without a sign there are between two looks at the consumer.
pub(super) const SILENT_PULLS: u32 = 8;

/// How often the machine is told the time, at least.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// The shortest time between two turns for the sake of the time.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// A pause of this length between two turns means that the process stood still. The age of what has
/// come is then unknown.
pub(super) const STANDSTILL: Duration = Duration::from_millis(1500);

/// How much longer than the others an instance waits until the calls of another one count as ended.
const MARGIN: Duration = Duration::from_millis(500);

/// How much longer the consumer waits than two calls take.
const ACK_MARGIN: Duration = Duration::from_secs(10);

/// The shortest and the longest pause before the consumer is looked for again.
pub(super) const ATTACH_PAUSE: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_secs(15));

/// The shortest and the longest pause after a call that failed.
pub(super) const RETRY_PAUSE: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_secs(60));

/// The shortest and the longest pause after a call that reached nobody.
pub(super) const UNREACHABLE_PAUSE: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_secs(10));

/// How long the answer of a question to the consumer is waited for.
pub(super) const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between an answer and the next question.
pub(super) const QUESTION_PAUSE: Duration = Duration::from_millis(200);

/// How often the consumer is asked whether it waits for something that is not here.
pub(super) const LOOK_PAUSE: Duration = Duration::from_secs(10);

/// How long after a requested redelivery a change may come. What has not come then is gone from the
/// stream. Later changes of its key wait for it that long.
pub(super) const REDELIVERY_TIME: Duration = Duration::from_secs(2);

/// How long after this instance was given a message another one may still be in a call.
///
/// The other one starts calls until it has heard nothing for [`SILENCE`], and it may be late by
/// [`STANDSTILL`] to notice what it heard last.
pub(super) fn settle_time(call_timeout: Duration) -> Duration {
    SILENCE + STANDSTILL + call_timeout + MARGIN
}

/// After how long the consumer delivers a change again that is not acknowledged.
pub(super) fn ack_wait(call_timeout: Duration) -> Duration {
    2 * call_timeout + ACK_MARGIN
}

/// How long a call may take at the instance that has the consumer wait so long.
pub(super) fn call_timeout_of(ack_wait: Duration) -> Duration {
    ack_wait.saturating_sub(ACK_MARGIN) / 2
}

/// A pause that doubles with each failure, between two bounds.
pub(super) fn backoff(bounds: (Duration, Duration), failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.min(16));
    bounds.0.saturating_mul(factor).min(bounds.1)
}
