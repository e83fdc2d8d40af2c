//! Drives the machine of one batch as the real loop does, and checks each of its actions.

mod requests;

use std::sync::Arc;
use std::time::Duration;

use super::setup::{Info, SimulatedBatch};
use super::world::{Error, World};
use crate::pipeline::machine::{Action, AnswerOutcome, Event, FailReason, Machine, Time};

/// The error of an item that the server denies.
const DENIED: Error = "denied";

#[derive(Debug)]
pub(super) struct Driver {
    batch: usize,
    items: SimulatedBatch,
    machine: Machine<Info, Error>,
    /// The client that has the inbox.
    client: u32,
    /// How many permits the machine holds.
    permits: usize,
    /// Whether the machine was told that there is a connection.
    told_up: bool,
    /// Until when it was told to expect small batches.
    small_batches_expected_until: Time,
    pub(super) finished: bool,
}

impl Driver {
    pub(super) fn new(batch: usize, world: &World) -> Self {
        let items = world.setup.batches[batch].clone();
        let info = Arc::new(Info {
            version: world.version,
            duplicate_window: world.setup.duplicate_window,
        });
        Self {
            batch,
            machine: Machine::new(
                items.value_bytes.len(),
                info,
                world.setup.config.clone(),
                items.limits,
                items.elapsed,
            ),
            client: world.client,
            items,
            permits: 0,
            told_up: false,
            small_batches_expected_until: Time::START,
            finished: false,
        }
    }

    /// The machine's time, which counts from the start of its batch.
    fn time(&self, world: &World) -> Time {
        Time::from_start(world.now.since(self.items.starts))
    }

    fn time_of(&self, since_call: Duration) -> Time {
        self.items
            .starts
            .after(since_call.saturating_sub(self.items.elapsed))
    }

    /// When the machine has to be told the time again.
    pub(super) fn next_wakeup(&mut self) -> Time {
        let wakeup = self.machine.next_wakeup();
        self.items.starts.after(wakeup.since_start())
    }

    fn tell(&mut self, world: &mut World, event: Event<Info, Error>) {
        let is_news = match &event {
            Event::Tick | Event::SmallBatchesExpectedUntil(_) => false,
            Event::Connection { is_up, .. } => *is_up != self.told_up,
            _ => true,
        };
        if is_news {
            world.note(|| format!("batch {}: {event:?}", self.batch));
        }
        self.machine.handle(self.time(world), event, &self.items);
    }

    /// One turn of the loop.
    pub(super) fn turn(&mut self, world: &mut World) {
        let batch = self.batch;
        if let Some(count) = world.permits.collect(batch) {
            self.permits += count;
            self.tell(world, Event::PermitsGranted(count));
        }
        while let Some((token, item, outcome)) = world.records[batch].inbox.pop_front() {
            let is_good = matches!(outcome, AnswerOutcome::Done { .. });
            if is_good && self.machine.group(token).is_some() {
                world.records[batch].acknowledged[item] = true;
            }
            self.tell(world, Event::Answer { token, outcome });
        }
        if self.client != world.client {
            self.tell(world, Event::ClientEnded);
        }
        let (epoch, is_up) = (world.epoch, world.is_up);
        self.tell(world, Event::Connection { epoch, is_up });
        self.told_up = is_up;
        self.tell_permission_errors(world);
        let small_batches_expected_until =
            Time::from_start(world.small_batches_expected_until.since(self.items.starts));
        self.small_batches_expected_until = world.small_batches_expected_until;
        self.tell(
            world,
            Event::SmallBatchesExpectedUntil(small_batches_expected_until),
        );
        let turn_started = world.now;
        self.tell(world, Event::Tick);
        self.act(world);
        if turn_started >= self.time_of(self.items.limits.finish_within) {
            world.check(self.finished, "a batch ends by its deadline");
        }
        if !self.finished && !self.told_up {
            let waits = world.permits.waits(batch);
            world.check(
                !waits && self.permits == self.machine.load().0,
                "nobody keeps permits without a use for them",
            );
        }
    }

    fn tell_permission_errors(&mut self, world: &mut World) {
        let record = &mut world.records[self.batch];
        let denied_items = std::mem::take(&mut record.denied_items);
        if std::mem::take(&mut record.inbox_denied) {
            self.tell(world, Event::InboxDenied("no inbox"));
        }
        if denied_items.is_empty() {
            return;
        }
        for token in self.machine.tokens() {
            let Some((items, _)) = self.machine.group(token) else {
                continue;
            };
            let denied = items.filter(|item| denied_items.contains(item));
            let denied: Vec<_> = denied.map(|item| (item, DENIED)).collect();
            if !denied.is_empty() {
                self.tell(world, Event::ItemsDenied { token, denied });
            }
        }
    }

    fn act(&mut self, world: &mut World) {
        let batch = self.batch;
        let mut actions = 0;
        while let Some(action) = self.machine.next_action(self.time(world), &self.items) {
            world.note(|| format!("batch {batch}: {action:?}"));
            actions += 1;
            world.check(!self.finished, "a batch that is over asks for nothing");
            world.check(actions < 1_000, "a turn comes to an end");
            if world.violation.is_some() {
                return;
            }
            match action {
                Action::Send {
                    token,
                    items,
                    send_before,
                    may_duplicate: _,
                    why_again: _,
                } => {
                    let send_before = self.items.starts.after(send_before.since_start());
                    self.send(world, token, items, send_before);
                }
                Action::AcquirePermits(count) => {
                    let waits = world.permits.waits(batch);
                    world.check(!waits, "a batch waits for permits once at a time");
                    world.check(count <= world.setup.permits, "nobody asks for too much");
                    if world.permits.take_or_wait(batch, count) {
                        self.permits += count;
                        self.tell(world, Event::PermitsGranted(count));
                    }
                }
                Action::CancelAcquire => world.permits.leave(batch),
                Action::ReleasePermits(count) => {
                    world.check(count <= self.permits, "no permit is given back twice");
                    self.permits = self.permits.saturating_sub(count);
                    world.permits.release(count);
                }
                Action::RefreshInfo {
                    stale,
                    with_timeout,
                } => self.refresh(world, &stale, with_timeout),
                Action::OpenInbox => {
                    let opened = world.is_up && !world.trouble();
                    if opened {
                        self.client = world.client;
                    }
                    self.tell(world, Event::InboxOpened(opened));
                }
                Action::ConnectionLost => {}
                Action::Done(items) => world.end(batch, items, true),
                Action::Failed {
                    items,
                    maybe_stored,
                    reason,
                } => {
                    // An unanswered copy may count as denied although it was allowed. The error of
                    // the item does not say that.
                    let is_denied = matches!(reason, FailReason::Error(DENIED));
                    if !maybe_stored && !is_denied {
                        world.end_not_stored(batch, items.clone());
                    }
                    world.end(batch, items, false);
                }
                Action::Finish { .. } => self.finish(world),
            }
        }
    }

    fn finish(&mut self, world: &mut World) {
        self.finished = true;
        let ended = world.records[self.batch].ended.iter().all(Option::is_some);
        world.check(ended, "each item ends");
        world.check(self.permits == 0, "all permits are given back");
        let waits = world.permits.waits(self.batch);
        world.check(!waits, "nobody waits for permits after the end");
    }
}
