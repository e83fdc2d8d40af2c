//! The setup of a history: its batches, their items, and the faults.

use std::time::Duration;

use super::tape::Tape;
use crate::deadline::TimeLimits;
use crate::pipeline::machine::{Items, PipelineConfig, Time};
use crate::yield_rule::YieldRule;

/// What is known of the stream.
#[derive(Debug)]
pub(super) struct Info {
    /// How often the stream's largest message was changed.
    pub(super) version: u32,
    pub(super) duplicate_window: Duration,
}

/// The items of a batch.
#[derive(Clone, Debug)]
pub(super) struct SimulatedBatch {
    pub(super) value_bytes: Vec<usize>,
    /// Whether the server recognizes a second copy of each item.
    pub(super) ids: Vec<bool>,
    pub(super) total_items: usize,
    /// A read can be sent again at any time, and never goes in a group.
    pub(super) reads: bool,
    pub(super) may_group: bool,
    pub(super) limits: TimeLimits,
    /// How much of the call's time was over when the batch started.
    pub(super) elapsed: Duration,
    pub(super) starts: Time,
}

impl Items for SimulatedBatch {
    type Info = Info;

    fn len(&self) -> usize {
        self.value_bytes.len()
    }

    fn total_items(&self) -> usize {
        self.total_items
    }

    fn value_bytes(&self, item: usize) -> usize {
        self.value_bytes[item]
    }

    fn may_group(&self, item: usize, _info: &Info) -> bool {
        self.may_group && self.ids[item]
    }

    fn resend_window(&self, item: usize, info: &Info) -> Duration {
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
    pub(super) config: PipelineConfig,
    pub(super) permits: usize,
    pub(super) duplicate_window: Duration,
    pub(super) batches: Vec<SimulatedBatch>,
    pub(super) faults: Vec<(Time, SimulatedFault, Duration)>,
    /// One answer in this many is late, lost, doubled or bad. 0: none is.
    pub(super) trouble: u32,
    /// The longest time in milliseconds that a request takes to the server. It is less than half of
    /// the duplicate window: the resend window is the other half.
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
        let config = PipelineConfig {
            window,
            window_bytes: 12,
            burst: tape.of(&[4, 3, 2, 1]).min(permits).min(window),
            group: tape.of(&[4, 3, 2]),
            yield_rule: YieldRule {
                large_batch: 6,
                window_beside_small: 2,
                window_when_late: 3,
            },
            backoff: crate::tuning::BACKOFF,
            window_once_denied: 2,
            answer_timeout_once_denied: millis(400),
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
            config,
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
        let value_bytes = (0..len).map(|_| tape.of(&[1, 2, 4, 13]) * usize::from(heavy) + 1);
        let value_bytes = value_bytes.collect();
        let some_without_id = tape.one_in(4);
        let ids = (0..len).map(|_| !(some_without_id && tape.one_in(2)));
        let ids = ids.collect();
        let reads = tape.one_in(4);
        SimulatedBatch {
            value_bytes,
            ids,
            total_items: if tape.one_in(4) { len + 6 } else { len },
            reads,
            may_group: !reads && duplicate_window >= millis(30_000),
            limits: TimeLimits::new(millis(tape.of(&[5_000, 1_000, 10_000, 300]))),
            elapsed: millis(tape.of(&[0, 0, 50, 400])),
            starts: Time::from_start(millis(tape.of(&[0, 0, 1, 70]))),
        }
    }

    /// Whether nothing goes wrong, so that all items have to be done.
    pub(super) fn is_calm(&self) -> bool {
        let harmless =
            |(_, fault, _): &(Time, SimulatedFault, Duration)| *fault == SimulatedFault::SmallBatch;
        self.trouble == 0 && self.faults.iter().all(harmless)
    }
}
