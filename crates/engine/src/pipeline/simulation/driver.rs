//! Drives the machine of one batch as the real loop does, and checks what it asks for.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::setup::{Info, SimulatedBatch, SimulatedFault, millis};
use super::world::{Error, World};
use crate::pipeline::machine::{Action, Event, Machine, Refreshed, Time, Unsent};

#[derive(Debug)]
pub(super) struct Driver {
    batch: usize,
    items: SimulatedBatch,
    machine: Machine<Info, Error>,
    /// The client that the inbox is of.
    client: u32,
    held: usize,
    /// Whether the machine was told that there is a connection.
    told_up: bool,
    /// Until when it was told to expect small batches.
    small_until: Time,
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
                items.weights.len(),
                info,
                world.setup.sizes.clone(),
                items.limits,
                items.elapsed,
            ),
            client: world.client,
            items,
            held: 0,
            told_up: false,
            small_until: Time::START,
            finished: false,
        }
    }

    /// The machine's time counts from the beginning of its batch.
    fn time(&self, world: &World) -> Time {
        Time::from_start(world.now.since(self.items.begins))
    }

    fn ends(&self, of: Duration) -> Time {
        self.items
            .begins
            .after(of.saturating_sub(self.items.elapsed))
    }

    /// When the machine is to be told the time again.
    pub(super) fn wake(&mut self) -> Time {
        self.items.begins.after(self.machine.wake().since_start())
    }

    fn tell(&mut self, world: &mut World, event: Event<Info, Error>) {
        let is_news = match &event {
            Event::Tick | Event::SmallBatchesUntil(_) => false,
            Event::Connection { up, .. } => *up != self.told_up,
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
            self.held += count;
            self.tell(world, Event::Granted(count));
        }
        while let Some((token, item, reply)) = world.sides[batch].inbox.pop_front() {
            let is_good = matches!(reply, crate::pipeline::machine::Reply::Done { .. });
            if is_good && self.machine.group(token).is_some() {
                world.sides[batch].acknowledged[item] = true;
            }
            self.tell(world, Event::Answer { token, reply });
        }
        if self.client != world.client {
            self.tell(world, Event::ClientEnded);
        }
        let (epoch, up) = (world.epoch, world.up);
        self.tell(world, Event::Connection { epoch, up });
        self.told_up = up;
        self.tell_complaints(world);
        let small_until = Time::from_start(world.small_until.since(self.items.begins));
        self.small_until = world.small_until;
        self.tell(world, Event::SmallBatchesUntil(small_until));
        let begun = world.now;
        self.tell(world, Event::Tick);
        self.act(world);
        if begun >= self.ends(self.items.limits.end) {
            world.check(self.finished, "a batch ends by its deadline");
        }
        if !self.finished && !self.told_up {
            let waits = world.permits.waits(batch);
            world.check(
                !waits && self.held == self.machine.load().0,
                "nobody keeps permits in vain",
            );
        }
    }

    fn tell_complaints(&mut self, world: &mut World) {
        let side = &mut world.sides[self.batch];
        let complaints = std::mem::take(&mut side.complaints);
        if std::mem::take(&mut side.inbox_denied) {
            self.tell(world, Event::InboxDenied("no inbox"));
        }
        if complaints.is_empty() {
            return;
        }
        for token in self.machine.tokens() {
            let Some((items, _)) = self.machine.group(token) else {
                continue;
            };
            let denied = items.filter(|item| complaints.contains(item));
            let denied: Vec<_> = denied.map(|item| (item, "denied")).collect();
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
                    by,
                    repeat: _,
                } => {
                    let by = self.items.begins.after(by.since_start());
                    self.send(world, token, items, by);
                }
                Action::Ask(count) => {
                    let waits = world.permits.waits(batch);
                    world.check(!waits, "a batch waits for permits once at a time");
                    world.check(count <= world.setup.permits, "nobody asks for too much");
                    if world.permits.take_or_wait(batch, count) {
                        self.held += count;
                        self.tell(world, Event::Granted(count));
                    }
                }
                Action::StopAsking => world.permits.leave(batch),
                Action::Release(count) => {
                    world.check(count <= self.held, "no permit is given back twice");
                    self.held = self.held.saturating_sub(count);
                    world.permits.release(count);
                }
                Action::Refresh { stale, brief } => self.refresh(world, &stale, brief),
                Action::OpenInbox => {
                    let opened = world.up && !world.trouble();
                    if opened {
                        self.client = world.client;
                    }
                    self.tell(world, Event::InboxOpened(opened));
                }
                Action::ConnectionLost => {}
                Action::Done(items) => world.end(batch, items, true),
                Action::Failed { items, .. } => world.end(batch, items, false),
                Action::Finish { .. } => self.finish(world),
            }
        }
    }

    fn finish(&mut self, world: &mut World) {
        self.finished = true;
        let ended = world.sides[self.batch].ended.iter().all(Option::is_some);
        world.check(ended, "each item ends");
        world.check(self.held == 0, "all permits are given back");
        let waits = world.permits.waits(self.batch);
        world.check(!waits, "nobody waits for permits after the end");
    }

    fn send(&mut self, world: &mut World, token: usize, items: Range<usize>, by: Time) {
        let sizes = &world.setup.sizes;
        let (in_flight, weight) = self.machine.load();
        let more: usize = items.clone().map(|item| self.items.weights[item]).sum();
        let large = self.items.call_len >= sizes.large && world.now < self.small_until;
        let window = if large {
            sizes.window_of_late
        } else {
            sizes.window
        };
        let fits = in_flight + items.len() <= window;
        let is_light = weight + more <= sizes.window_bytes || (in_flight == 0 && items.len() == 1);
        world.check(fits, "no more is in flight than the window");
        world.check(is_light, "no more bytes are in flight than the window");
        world.check(
            in_flight + items.len() <= self.held,
            "each request in flight holds a permit",
        );
        let settle = self.ends(self.items.limits.settle);
        world.check(
            world.now < settle,
            "nothing is sent after the time to settle",
        );
        world.check(self.told_up, "nothing is sent without a connection");
        for (count, item) in items.clone().enumerate() {
            let is_new = world.sides[self.batch].ended[item].is_none();
            world.check(is_new, "what has ended is not sent again");
            let mut stopped = None;
            if self.client != world.client {
                stopped = Some(Unsent::ClientEnded);
            } else if world.trouble() && world.tape.one_in(4) {
                // The client's queue is full for a while.
                let free = world.now.after(millis(world.tape.below(3_000)));
                world.advance(free.min(by));
                if free >= by {
                    stopped = Some(Unsent::QueueFull);
                }
            } else if world.trouble() && world.tape.one_in(8) {
                stopped = Some(Unsent::Refused("not by the client"));
            }
            if let Some(stopped) = stopped {
                let stopped = Some(stopped);
                self.tell(world, Event::Sent { count, stopped });
                return;
            }
            let version = self.machine.info().version;
            world.publish(self.batch, token, item, version);
        }
        let count = items.len();
        let stopped = None;
        self.tell(world, Event::Sent { count, stopped });
    }

    fn refresh(&mut self, world: &mut World, stale: &Arc<Info>, brief: bool) {
        let takes = millis(world.tape.below(if brief { 3 } else { 30 }));
        let silent = !world.up || world.trouble();
        let takes = if silent && brief { millis(250) } else { takes };
        let end = self.ends(self.items.limits.end).max(world.now);
        world.advance(world.now.after(takes).min(end));
        let refreshed = if silent && brief {
            Refreshed::Silent
        } else if silent {
            Refreshed::Failed("no answer")
        } else if world.suffers(SimulatedFault::StreamGone) {
            Refreshed::Failed("the stream is gone")
        } else {
            let is_same = world.version == stale.version;
            let version = world.version;
            let duplicate_window = stale.duplicate_window;
            Refreshed::Info {
                info: if is_same {
                    Arc::clone(stale)
                } else {
                    Arc::new(Info {
                        version,
                        duplicate_window,
                    })
                },
                max_message_changed: !is_same,
            }
        };
        self.tell(world, Event::Refreshed(refreshed));
    }
}
