//! What a history is about: how many batches of which items, and what goes wrong meanwhile.

use std::time::Duration;

use super::tape::Tape;
use crate::deadline::TimeLimits;
use crate::pipeline::machine::{Items, Sizes, Time};

/// What is known of the stream.
#[derive(Debug)]
pub(super) struct Info {
    /// How often the largest message that it takes has been changed.
    pub(super) version: u32,
    pub(super) duplicate_window: Duration,
}

/// The items of a batch.
#[derive(Clone, Debug)]
pub(super) struct SimulatedBatch {
    pub(super) weights: Vec<usize>,
    /// Whether the server knows a second copy of each again.
    pub(super) ids: Vec<bool>,
    pub(super) call_len: usize,
    /// A read can be sent again at any time, and never goes in a group.
    pub(super) reads: bool,
    pub(super) groups: bool,
    pub(super) limits: TimeLimits,
    /// How much of its time was over when it began.
    pub(super) elapsed: Duration,
    pub(super) begins: Time,
}

impl Items for SimulatedBatch {
    type Info = Info;

    fn len(&self) -> usize {
        self.weights.len()
    }

    fn call_len(&self) -> usize {
        self.call_len
    }

    fn weight(&self, item: usize) -> usize {
        self.weights[item]
    }

    fn groups(&self, item: usize, _info: &Info) -> bool {
        self.groups && self.ids[item]
    }

    fn repeat_within(&self, item: usize, info: &Info) -> Duration {
        if self.reads {
            Duration::MAX
        } else if self.ids[item] {
            info.duplicate_window / 2
        } else {
            Duration::ZERO
        }
    }
}

/// What can go wrong in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SimulatedFault {
    SmallBatch,
    LinkLost,
    ClientEnds,
    StreamGone,
    NoLeader,
    MaxMessageChanges,
    ItemsDenied,
    InboxDenied,
}

#[derive(Debug)]
pub(super) struct HistorySetup {
    pub(super) sizes: Sizes,
    pub(super) permits: usize,
    pub(super) duplicate_window: Duration,
    pub(super) batches: Vec<SimulatedBatch>,
    pub(super) faults: Vec<(Time, SimulatedFault, Duration)>,
    /// One answer in so many is late, lost, doubled or bad; 0: none.
    pub(super) trouble: u32,
    /// How long a request takes to the server, at most: less than half of the duplicate window. So
    /// long does the rule hold that an item is sent again within the other half.
    pub(super) delay: u32,
}

pub(super) fn millis(count: u32) -> Duration {
    Duration::from_millis(count.into())
}

impl HistorySetup {
    pub(super) fn draw(tape: &mut Tape) -> Self {
        let permits = 8 - tape.below(8) as usize;
        let duplicate_window = millis(tape.of(&[120_000, 120_000, 30_000, 2_000, 400]));
        let window = tape.of(&[8, 6, 4, 3]);
        let sizes = Sizes {
            window,
            window_bytes: 12,
            burst: tape.of(&[4, 3, 2, 1]).min(permits).min(window),
            group: tape.of(&[4, 3, 2]),
            large: 6,
            window_beside_small: 2,
            window_of_late: 3,
            backoff: (millis(20), millis(400)),
            window_once_denied: 2,
            patience_once_denied: millis(400),
        };
        let count = tape.of(&[1, 1, 2, 3]);
        let batches = (0..count)
            .map(|_| Self::draw_batch(tape, duplicate_window))
            .collect();
        let faults = (0..tape.of(&[0, 0, 1, 2, 4])).map(|_| {
            let kind = tape.of(&[
                SimulatedFault::SmallBatch,
                SimulatedFault::LinkLost,
                SimulatedFault::ClientEnds,
                SimulatedFault::StreamGone,
                SimulatedFault::NoLeader,
                SimulatedFault::MaxMessageChanges,
                SimulatedFault::ItemsDenied,
                SimulatedFault::InboxDenied,
            ]);
            let at = Time::from_start(millis(tape.below(100) * tape.of(&[1, 10, 60])));
            (
                at,
                kind,
                millis(1 + tape.below(100) * tape.of(&[1, 10, 50])),
            )
        });
        Self {
            faults: faults.collect(),
            sizes,
            permits,
            duplicate_window,
            batches,
            trouble: tape.of(&[0, 20, 8, 3]),
            delay: 150.min(u32::try_from(duplicate_window.as_millis() / 2).unwrap_or(150) - 1),
        }
    }

    fn draw_batch(tape: &mut Tape, duplicate_window: Duration) -> SimulatedBatch {
        let len = 1 + tape.below(8) as usize;
        let heavy = tape.one_in(6);
        let weights = (0..len).map(|_| tape.of(&[1, 2, 4, 13]) * usize::from(heavy) + 1);
        let weights = weights.collect();
        let some_without_id = tape.one_in(4);
        let ids = (0..len).map(|_| !(some_without_id && tape.one_in(2)));
        let ids = ids.collect();
        let reads = tape.one_in(4);
        SimulatedBatch {
            weights,
            ids,
            call_len: if tape.one_in(4) { len + 6 } else { len },
            reads,
            groups: !reads && duplicate_window >= millis(30_000),
            limits: TimeLimits::new(millis(tape.of(&[5_000, 1_000, 10_000, 300]))),
            elapsed: millis(tape.of(&[0, 0, 50, 400])),
            begins: Time::from_start(millis(tape.of(&[0, 0, 1, 70]))),
        }
    }

    /// Whether nothing goes wrong, so that all items have to be done.
    pub(super) fn is_calm(&self) -> bool {
        let harmless =
            |(_, fault, _): &(Time, SimulatedFault, Duration)| *fault == SimulatedFault::SmallBatch;
        self.trouble == 0 && self.faults.iter().all(harmless)
    }
}
