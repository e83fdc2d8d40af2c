//! The engine's sizes, in one place. Those that a user may want to set are link configuration.

use std::time::Duration;

/// Requests of one batch in flight at once, at most, if `max_concurrency` allows as many. With a limit of
/// 256, ten thousand writes take a fifth longer than with 512 or more; a thousand do not.
pub(super) const WINDOW: usize = 1024;

/// Requests that are sent at a time, at most. Where each is sent as soon as there is room for it, a
/// batch of 1000 takes a sixth longer: the server is woken for each.
pub(super) const BURST: usize = 64;

/// Requests that share a reply subject, at most, where their answers need not be told apart. With 256
/// a batch of 1000 writes takes a twentieth less than with 64; if one of them fails, all of them
/// are sent again.
pub(super) const GROUP: usize = 256;

/// A batch of at most so many keys is small; a large one gives way to it.
pub(super) const SMALL_BATCH: usize = 64;

/// A batch of at least so many keys is large.
pub(super) const LARGE_BATCH: usize = 2048;

/// Requests of a large batch in flight at once while small batches come over its link as well. Of
/// these, one in a hundred then takes two to three times as long as alone (with 32, three to four
/// times), and the large batch takes three times as long.
pub(super) const WINDOW_BESIDE_SMALL: usize = 8;

/// The same while the large batch is late.
pub(super) const WINDOW_WHEN_LATE: usize = 32;

/// For how long after the last small batch a large one expects another.
pub(super) const SMALL_RECENTLY: Duration = Duration::from_millis(20);

/// Items of a batch that are gone through at a time: some 0.1 ms.
pub(super) const ITEMS_AT_A_TIME: usize = 512;

/// In how many bursts at least a batch takes all permits of its link.
pub(super) const BURSTS: usize = 4;

/// Requests of a batch in flight at once after the server has refused one of them for want of a
/// permission. Half of what the client keeps of a server's complaints at a time: it drops the rest.
pub(super) const WINDOW_ONCE_DENIED: usize = 64;

/// How long an answer is waited for then, before the request is sent again: long enough for a server
/// that is not overloaded.
pub(super) const ANSWER_TIMEOUT_ONCE_DENIED: Duration = Duration::from_millis(400);

/// How long a bucket has to know a write again if writes are to be sent in groups.
pub(super) const GROUP_DUPLICATE_WINDOW: Duration = Duration::from_secs(30);

/// Bytes of values in flight in one batch, at most (always at least one value).
///
/// A server disconnects a client that has more than `max_pending` (64 MiB by default) to read.
pub(super) const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// What a value is taken to weigh until one has been seen.
pub(super) const UNSEEN_VALUE_BYTES: usize = 256 * 1024;

/// Subjects in one `multi_last` request. The server takes up to 1024 (ADR-31), and serves nobody
/// else from this bucket meanwhile. Two requests of 128 under way are as fast as two of 512, and a
/// fifth faster than two of 64.
pub(super) const MULTI_LAST_SUBJECTS: usize = 128;

/// Fewer subjects than this in a request are read one by one.
pub(super) const MULTI_LAST_MIN: usize = 8;

/// `multi_last` requests of one batch under way: two, so that the server finds the next one when it
/// has answered the first.
pub(super) const MULTI_LAST_ROUNDS: usize = 2;

/// How long to wait before a request that found no responder, or an unavailable cluster, is sent
/// again: doubled from the first to the second.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(400));

/// How long one look at a bucket's stream may hold up a batch.
pub(super) const STREAM_INFO_TIMEOUT: Duration = Duration::from_millis(250);

/// How long an increment waits, at random and at most, before it reads a key again that another
/// writer changed under it: doubled from the first to the second.
pub(super) const CONTENTION: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_millis(32));

/// Messages looked at for one page of `list-keys`, each of which may be a key's last.
pub(super) const KEYS_PAGE: usize = 8192;

/// Of how many keys of a page the last messages are read, with their values, before it is looked
/// whether there is time for more.
pub(super) const KEYS_CHECKED: usize = 32;

/// How many bytes of values are read for a page, at most.
pub(super) const KEYS_CHECKED_BYTES: usize = 32 * 1024 * 1024;

/// Keys asked for at once while listing a bucket: many, as nothing comes between two pages, and far
/// fewer than the client drops messages for (65,536 by default). Half as many take a twentieth longer.
pub(super) const LIST_PAGE: usize = 32_768;

/// Keys that a listing has missed and that are read together, at most.
pub(super) const LIST_MISSED: usize = 16_384;

/// How many pages of a listing may be cut short, each by a key that was written meanwhile, before
/// what is missing is looked for another way.
pub(super) const LIST_CUT_SHORT: usize = 32;

/// How long the first message of a page may take before the page counts as empty.
pub(super) const LIST_EMPTY: Duration = Duration::from_millis(100);

/// After how long without a request the server drops the consumer of a listing that was cut off.
pub(super) const LIST_INACTIVE: Duration = Duration::from_secs(10);

/// After how many interruptions a listing is done another way.
pub(super) const LIST_INTERRUPTIONS: usize = 2;

/// How many of a batch's failed keys an error names.
pub(super) const NAMED_KEYS: usize = 3;
