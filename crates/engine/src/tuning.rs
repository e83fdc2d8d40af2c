//! The engine's sizes and times that no caller sets.

use std::time::Duration;

use super::backoff::Backoff;
use super::yield_rule::YieldRule;

/// The most requests of one batch in flight, if its concurrency limit allows as many. With a limit
/// of 256, ten thousand writes take a fifth longer than with 512 or more. A thousand writes do not.
pub(super) const WINDOW: usize = 1024;

/// The most requests that are sent at a time. If each request is sent as soon as there is room for
/// it, a batch of 1000 takes a sixth longer, because the server wakes up for each.
pub(super) const BURST: usize = 64;

/// The most requests that share a reply subject. With 256, a batch of 1000 writes takes a twentieth
/// less time than with 64. If one request of a group fails, all of them are sent again.
pub(super) const GROUP: usize = 256;

/// A batch of at most this many keys is small. Large batches yield to it.
pub(super) const SMALL_BATCH: usize = 64;

/// A batch of at least this many keys is large.
pub(super) const LARGE_BATCH: usize = 2048;

/// How large batches yield to small ones. With 8 requests in flight, the slowest small batch in a
/// hundred takes two to three times as long as without the large batch (with 32, three to four
/// times). The large batch takes three times as long.
pub(super) const YIELD_RULE: YieldRule = YieldRule {
    large_batch: LARGE_BATCH,
    window_beside_small: 8,
    window_when_late: 32,
};

/// How long after a small batch another one is expected.
pub(super) const SMALL_EXPECTED_FOR: Duration = Duration::from_millis(20);

/// After how many items a loop over a batch lets other calls run: after some 0.1 ms.
pub(super) const ITEMS_BETWEEN_YIELDS: usize = 512;

/// A burst takes at most the permits of the concurrency limit divided by this.
pub(super) const BURST_PERMITS_DIVISOR: usize = 4;

/// The most requests of a batch in flight after the server has denied one of them. The NATS client
/// queues 128 errors of the server and drops further ones.
pub(super) const WINDOW_ONCE_DENIED: usize = 64;

/// After the server has denied one of the requests of a batch, the batch waits so long for an
/// answer before it resends a request. It is long enough for a server that is not overloaded.
pub(super) const ANSWER_TIMEOUT_ONCE_DENIED: Duration = Duration::from_millis(400);

/// Writes are sent in groups only to a bucket with at least this duplicate window.
pub(super) const GROUP_DUPLICATE_WINDOW: Duration = Duration::from_secs(30);

/// The most bytes of values in flight in one run of the pipeline, in which one value is always
/// allowed, and in one answer to a `multi_last` request.
///
/// A server disconnects a client that has more than `max_pending` (64 MiB by default) to read.
pub(super) const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// The assumed size in bytes of a value, until the batch has read one.
pub(super) const FIRST_VALUE_ESTIMATE: usize = 256 * 1024;

/// The most subjects in one `multi_last` request. The server takes up to 1024 (ADR-31), but serves
/// no other request for the bucket meanwhile. Two requests of 128 in flight are as fast as two of
/// 512, and a fifth faster than two of 64.
pub(super) const MULTI_LAST_SUBJECTS: usize = 128;

/// If a request may have only fewer subjects than this, each key is read by itself.
pub(super) const MULTI_LAST_MIN_SUBJECTS: usize = 8;

/// One `multi_last` request may hold at most the permits of the concurrency limit divided by this.
/// So the server finds the next request when it has answered the first.
pub(super) const MULTI_LAST_PERMITS_DIVISOR: usize = 2;

/// The most bytes that all `multi_last` answers of one connection may have together. A server
/// disconnects a client that has more than `max_pending` (64 MiB by default) to read.
pub(super) const MULTI_LAST_BYTES: usize = 32 * 1024 * 1024;

/// The pause before resending a request that nobody received, or that the cluster could not carry
/// out.
pub(super) const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(400),
};

/// How long a batch waits for the stream info if nobody answers its requests.
pub(super) const STREAM_INFO_TIMEOUT: Duration = Duration::from_millis(250);

/// The bound of the random pause before a counter reads a key again that another writer has
/// changed. It doubles with each conflict, from the first to the second.
pub(super) const CONFLICT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_millis(32));

/// The most keys of an atomic batch. It is the server's own limit (ADR-50).
pub(super) const ATOMIC_KEYS: usize = 1000;

/// The most atomic batches of a bucket under way. A server takes 50 at once for a stream, from all
/// clients together (ADR-50). More would be no faster, because it stores one after the other.
pub(super) const ATOMIC_BATCHES: usize = 16;

/// For how long the stream info of a bucket with times to live is good enough for writes.
pub(super) const TTL_RULES_KNOWN_FOR: Duration = Duration::from_secs(30);

/// How many keys of an atomic batch are read to find out whether it is stored.
pub(super) const ATOMIC_LOOKS: usize = 8;

/// The most messages that are read for one page of keys.
pub(super) const PAGE_MESSAGES: usize = 8192;

/// For how many keys of a page the last messages are read at a time. After that, the page may end
/// early if the time is short.
pub(super) const PAGE_CHECK_KEYS: usize = 32;

/// A page ends early after this many bytes of values.
pub(super) const PAGE_CHECK_BYTES: usize = 32 * 1024 * 1024;

/// The most keys that a listing requests at a time. They are many, because nothing comes between
/// two requests. They are far fewer than the NATS client can queue (65,536 by default). With half
/// as many, a listing takes a twentieth longer.
pub(super) const LIST_REQUEST_KEYS: usize = 32_768;

/// The most missed keys of a listing that are read together.
pub(super) const LIST_MISSED_KEYS: usize = 16_384;

/// How many requests of a listing may end early, each because a key was written meanwhile. After
/// that the missing keys are found in the stream's subject list.
pub(super) const LIST_SHORT_ANSWERS: usize = 32;

/// How long the first message of a later request may take, before the answer counts as empty.
pub(super) const LIST_EMPTY_TIMEOUT: Duration = Duration::from_millis(100);

/// After this time without a request, the server deletes the consumer of a listing.
pub(super) const LIST_INACTIVE_THRESHOLD: Duration = Duration::from_secs(10);

/// After this many interruptions, a listing uses the stream's subject list instead of a consumer.
pub(super) const LIST_INTERRUPTIONS: usize = 2;

/// The most failed keys that an error of a batch names.
pub(super) const NAMED_KEYS: usize = 3;
