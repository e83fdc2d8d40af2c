//! Sending requests to the simulated server, and fetching its stream info.

use std::ops::Range;
use std::sync::Arc;

use super::super::setup::{Info, SimulatedFault, millis};
use super::super::world::World;
use super::Driver;
use crate::pipeline::machine::{Event, RefreshOutcome, SendFailure, Time};

impl Driver {
    pub(super) fn send(
        &mut self,
        world: &mut World,
        token: usize,
        items: Range<usize>,
        send_before: Time,
    ) {
        let config = &world.setup.config;
        let (in_flight, bytes) = self.machine.load();
        let more: usize = items.clone().map(|item| self.items.value_bytes[item]).sum();
        let rule = config.yield_rule;
        let large = self.items.total_items >= rule.large_batch
            && world.now < self.small_batches_expected_until;
        let window = if large {
            rule.window_when_late
        } else {
            config.window
        };
        let fits = in_flight + items.len() <= window;
        let is_only_value = in_flight == 0 && items.len() == 1;
        let bytes_fit = bytes + more <= config.window_bytes || is_only_value;
        world.check(fits, "no more is in flight than the window");
        world.check(bytes_fit, "no more bytes are in flight than the window");
        world.check(
            in_flight + items.len() <= self.permits,
            "each request in flight holds a permit",
        );
        let send_deadline = self.time_of(self.items.limits.send_within);
        world.check(
            world.now < send_deadline,
            "nothing is sent after the send deadline",
        );
        world.check(self.told_up, "nothing is sent without a connection");
        for (count, item) in items.clone().enumerate() {
            let is_new = world.records[self.batch].ended[item].is_none();
            world.check(is_new, "an item that has ended is not sent again");
            let mut failure = None;
            if self.client != world.client {
                failure = Some(SendFailure::ClientEnded);
            } else if world.trouble() && world.tape.one_in(4) {
                // The client's queue is full for a while.
                let free = world.now.after(millis(world.tape.below(3_000)));
                world.advance(free.min(send_before));
                if free >= send_before {
                    failure = Some(SendFailure::QueueFull);
                }
            } else if world.trouble() && world.tape.one_in(8) {
                failure = Some(SendFailure::Rejected("not by the client"));
            }
            if failure.is_some() {
                self.tell(world, Event::Sent { count, failure });
                return;
            }
            let version = self.machine.info().version;
            world.publish(self.batch, token, item, version);
        }
        let count = items.len();
        let failure = None;
        self.tell(world, Event::Sent { count, failure });
    }

    pub(super) fn refresh(&mut self, world: &mut World, stale: &Arc<Info>, with_timeout: bool) {
        let takes = millis(world.tape.below(if with_timeout { 3 } else { 30 }));
        let silent = !world.is_up || world.trouble();
        let takes = if silent && with_timeout {
            millis(250)
        } else {
            takes
        };
        let end = self.time_of(self.items.limits.finish_within).max(world.now);
        world.advance(world.now.after(takes).min(end));
        let outcome = if silent && with_timeout {
            RefreshOutcome::TimedOut
        } else if silent {
            RefreshOutcome::Failed("no answer")
        } else if world.suffers(SimulatedFault::StreamGone) {
            RefreshOutcome::Failed("the stream is gone")
        } else {
            let is_same = world.version == stale.version;
            let version = world.version;
            let duplicate_window = stale.duplicate_window;
            RefreshOutcome::Info {
                info: if is_same {
                    Arc::clone(stale)
                } else {
                    Arc::new(Info {
                        version,
                        duplicate_window,
                    })
                },
                write_rules_changed: !is_same,
            }
        };
        self.tell(world, Event::Refreshed(outcome));
    }
}
