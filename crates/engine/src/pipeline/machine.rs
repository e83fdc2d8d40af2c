//! What decides to send an item, to send it again, to give it up, or to count it as done.
//!
//! The machine is plain data. It does no I/O and has no clock: its driver tells it what has happened
//! ([`Event`]) and when, and does what it asks for ([`Action`]). [`super::run`] is the driver of real
//! batches; the simulation drives the machine through random histories.
//!
//! The life of an item:
//!
//! ```text
//!              ┌────────── permits granted, room in the window, connected ──────────┐
//!              │                                                                    ▼
//!         ┌─────────┐   no responders, stream gone, transient error           ┌───────────┐
//!  ──────▶│ queued  │◀──────────────── (after a pause) ───────────────────────│ in flight │
//!         └─────────┘                                                         └───────────┘
//!           │     ▲     not answered in time, or connection lost, or its        │ │ │
//!           │     ├──── group not all good: only while a second copy does ──────┘ │ │
//!           │     │     no harm (duplicate window), else failed                   │ │
//!           │     │                                                               │ │
//!           │     │ changed    ┌────────────┐      error of an old                │ │
//!           │     └────────────│ in doubt   │◀──── stream info ───────────────────┘ │
//!           │                  └────────────┘                                       │
//!           │ time to settle over,   │ not changed                                  │
//!           │ stream gone, denied    ▼                                              │
//!           │                  ┌────────────┐   refused, denied, or time over       │
//!           └─────────────────▶│   failed   │◀──────────────────────────────────────┤
//!                              └────────────┘                                       │
//!                              ┌────────────┐   acknowledged: by itself, or all     │
//!                              │    done    │◀───────────── of its group ───────────┘
//!                              └────────────┘
//! ```
//!
//! Items are sent in groups that share a reply subject where it does not matter which answer is to
//! which request, as long as all are good. If not all the answers of a group are good, or not all
//! come, its items are sent again one by one.
//!
//! Each request in flight holds a permit of the link. The machine asks for a burst of permits at a
//! time. It does not change the number while it waits, because it would lose its place in the queue;
//! what it then has no use for, it gives back. While it wants none, it does not wait.

mod answers;
mod attempts;
mod in_flight;
mod interface;
mod outcomes;
mod queue;
mod refresh;
mod sending;
#[cfg(test)]
mod tests;
mod time;
mod timing;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use self::in_flight::InFlight;
use self::queue::SendQueue;
use self::refresh::{InDoubt, Refresh};
use self::sending::Sending;
use crate::deadline::TimeLimits;

pub(crate) use self::interface::{Action, Event, Items, Refreshed, Reply, Sizes, Unsent, Why};
pub(crate) use self::time::Time;

/// The state of one batch. `I` is what is known of the stream, `E` an error.
#[derive(Debug)]
pub(crate) struct Machine<I, E> {
    sizes: Sizes,
    limits: TimeLimits,
    /// When the machine stops sending. After that it only waits for answers.
    settle: Time,
    /// When it stops waiting.
    end: Time,
    /// How much of the call's time was over when the driver began.
    elapsed_before: Duration,
    now: Time,
    info: Arc<I>,

    epoch: u64,
    connected: bool,
    inbox: InboxState,
    /// When to try to open one again.
    open_at: Time,
    small_until: Time,

    queue: SendQueue,
    in_flight: InFlight<I>,
    /// The token of the group that was sent last.
    last_token: usize,
    sending: Option<Sending>,

    /// Permits that no request holds yet.
    in_hand: usize,
    /// Of these, how many are for the burst that is being sent.
    burst: usize,
    /// When the burst was planned.
    burst_at: Time,
    /// How many permits are asked for.
    asked: usize,
    /// Permits to be given back.
    to_release: usize,

    backoff: Duration,
    /// When the stream info was last fetched because nobody answered: one fetch serves all the items
    /// that found no responder.
    refreshed: Option<Time>,
    refresh: Refresh,
    in_doubt: VecDeque<InDoubt<I, E>>,

    /// That the server refuses this login such requests.
    denied: Option<E>,
    /// Whether no answer is still to come but those to what is in flight.
    all_answered: bool,
    finished: bool,
    actions: VecDeque<Action<I, E>>,
}

/// Whether answers can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InboxState {
    Open,
    /// Its client has ended.
    Ended,
    /// Another one is being opened.
    Opening,
}

impl<I, E: Clone> Machine<I, E> {
    /// A batch of so many items. `elapsed` of the call's time is over already.
    pub(crate) fn new(
        len: usize,
        info: Arc<I>,
        sizes: Sizes,
        limits: TimeLimits,
        elapsed: Duration,
    ) -> Self {
        Self {
            settle: Time::from_start(limits.settle.saturating_sub(elapsed)),
            end: Time::from_start(limits.end.saturating_sub(elapsed)),
            elapsed_before: elapsed,
            limits,
            now: Time::START,
            info,
            epoch: 0,
            connected: false,
            inbox: InboxState::Open,
            open_at: Time::START,
            small_until: Time::START,
            queue: SendQueue::new(len),
            in_flight: InFlight::default(),
            last_token: 0,
            sending: None,
            in_hand: 0,
            burst: 0,
            burst_at: Time::START,
            asked: 0,
            to_release: 0,
            backoff: sizes.backoff.0,
            sizes,
            refreshed: None,
            refresh: Refresh::default(),
            in_doubt: VecDeque::new(),
            denied: None,
            all_answered: true,
            finished: false,
            actions: VecDeque::new(),
        }
    }

    /// Takes note of what has happened.
    pub(crate) fn handle(&mut self, now: Time, event: Event<I, E>, items: &impl Items<Info = I>) {
        self.now = self.now.max(now);
        match event {
            Event::Connection { epoch, up } => self.connection(epoch, up, items),
            Event::ClientEnded => self.end_client(),
            Event::InboxOpened(opened) => {
                self.inbox = if opened {
                    InboxState::Open
                } else {
                    InboxState::Ended
                };
                self.open_at = self.now.after(self.sizes.backoff.0);
            }
            Event::SmallBatchesUntil(until) => self.small_until = until,
            Event::Granted(permits) if self.finished => self.to_release += permits,
            Event::Granted(permits) => {
                self.asked = 0;
                self.in_hand += permits;
            }
            Event::Sent { count, stopped } => self.sent(count, stopped, items),
            Event::Answer { token, reply } => self.answer(token, reply, items),
            Event::ItemsDenied { token, denied } => self.items_denied(token, denied, items),
            Event::InboxDenied(error) => self.inbox_denied(error),
            Event::Refreshed(refreshed) => self.refreshed(refreshed, items),
            Event::Tick => self.check_time(items),
        }
    }

    /// What is to be done next; `None`: nothing until something happens.
    pub(crate) fn next_action(
        &mut self,
        now: Time,
        items: &impl Items<Info = I>,
    ) -> Option<Action<I, E>> {
        self.now = self.now.max(now);
        if self.sending.is_some() {
            return None;
        }
        let waits_for_info = self.refresh.running.is_some() || self.needs_refresh();
        if self.actions.is_empty() && !self.finished && (!waits_for_info || self.is_over()) {
            self.plan(items);
        }
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if self.to_release > 0 {
            return Some(Action::Release(std::mem::take(&mut self.to_release)));
        }
        if self.finished {
            return None;
        }
        if self.is_over() {
            self.finished = true;
            let all_answered = self.all_answered;
            return Some(Action::Finish { all_answered });
        }
        if self.refresh.running.is_some() {
            return None;
        }
        self.next_refresh()
            .or_else(|| self.next_inbox())
            .or_else(|| self.next_send(items))
    }

    /// The items of a group in flight, and what was known of the stream when they were sent.
    pub(crate) fn group(&self, token: usize) -> Option<(Range<usize>, &Arc<I>)> {
        let group = self.in_flight.get(token)?;
        Some((group.items.clone(), &group.info))
    }

    /// The tokens of the groups in flight.
    pub(crate) fn tokens(&self) -> Vec<usize> {
        self.in_flight.tokens()
    }

    pub(crate) fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// What is known of the stream now.
    pub(crate) fn info(&self) -> &Arc<I> {
        &self.info
    }

    /// How many requests are in flight, and how many bytes of values.
    #[cfg(test)]
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.in_flight.items(), self.in_flight.weight())
    }

    fn is_over(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty() && self.in_doubt.is_empty()
    }

    fn next_inbox(&mut self) -> Option<Action<I, E>> {
        let opens = self.inbox == InboxState::Ended
            && self.connected
            && self.now >= self.open_at
            && self.now < self.settle;
        opens.then(|| {
            self.inbox = InboxState::Opening;
            Action::OpenInbox
        })
    }

    fn end_client(&mut self) {
        if self.inbox == InboxState::Open {
            self.inbox = InboxState::Ended;
        }
        self.all_answered = false;
        self.burst = 0;
    }
}
