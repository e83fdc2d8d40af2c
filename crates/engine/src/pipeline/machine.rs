//! The state machine of one run of the pipeline. It decides which items to send, to send again, to
//! fail, or to count as done.
//!
//! The machine is plain data, without I/O and without a clock. Its driver tells it what has
//! happened ([`Event`]) and the time. The machine answers with what the driver has to do
//! ([`Action`]). [`super::run`] drives real runs; the simulation drives the machine through
//! random histories.
//!
//! The life of an item:
//!
//! ```text
//!             ┌─────────── permits granted, room in the window, connected ──────────┐
//!             │                                                                     ▼
//!        ┌────────┐  no responders, stream not found, "try again"             ┌───────────┐
//!  ─────▶│ queued │◀────────────── (after a pause) ───────────────────────────│ in flight │
//!        └────────┘                                                           └───────────┘
//!          │    ▲   no answer in time, connection lost, group not complete      │ │ │
//!          │    ├── (only within the resend window, else failed) ───────────────┘ │ │
//!          │    │                                                                 │ │
//!          │    │ info changed ┌──────────────────┐   refused for its size, maybe │ │
//!          │    └──────────────│ awaiting refresh │◀─ for a stale stream info ────┘ │
//!          │                   └──────────────────┘                                 │
//!          │ send deadline over,    │                                               │
//!          │ stream not found,      │ info not changed                              │
//!          │ denied                 ▼                                               │
//!          │                   ┌──────────────────┐   refused, denied,              │
//!          └──────────────────▶│      failed      │◀─ call deadline over ─────────┤
//!                              └──────────────────┘                                 │
//!                              ┌──────────────────┐   done by itself,               │
//!                              │       done       │◀─ or with all of its group ─────┘
//!                              └──────────────────┘
//! ```
//!
//! A group is the requests that share a reply subject: one request, or several. An answer does not
//! tell which request of the group it is to. That does not matter as long as all answers are good.
//! If an answer is missing or not good, the items of the group are sent again one by one.
//!
//! Refused means that JetStream answered with an error. Denied means that the server reported a
//! permission violation on the connection; it never answers that request.
//!
//! Each request in flight holds a permit of the bucket's concurrency limit. The machine asks for
//! the permits of a whole burst (the items that are sent together) at once. While it waits, it does
//! not change that number: asking for another one would go to the end of the semaphore's queue. Permits that it then does not need, it
//! releases. The states of a permit: requested, unused (granted), held (by a request), released.
//! Some of the unused permits are reserved for the planned burst.

mod answers;
mod attempts;
mod config;
mod connection;
mod in_flight;
mod interface;
mod queue;
mod refresh;
mod resend_or_fail;
mod sending;
#[cfg(test)]
mod tests;
mod time;
mod timing;
mod tokens;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use self::in_flight::InFlight;
use self::queue::SendQueue;
use self::refresh::{AwaitingRefresh, Refresh};
use self::sending::Sending;
use crate::deadline::TimeLimits;

pub(crate) use self::config::PipelineConfig;
pub(crate) use self::interface::{
    Action, AnswerOutcome, Event, FailReason, Items, RefreshOutcome, SendFailure,
};
pub(crate) use self::time::Time;
pub(crate) use self::tokens::token_count;

/// The state of one run. `I` is the stream info, `E` an error.
#[derive(Debug)]
pub(crate) struct Machine<I, E> {
    config: PipelineConfig,
    time_limits: TimeLimits,
    /// From then on the machine sends no item, and only waits for answers. It may still have the
    /// stream info fetched.
    send_deadline: Time,
    /// From then on it waits for no answer.
    call_deadline: Time,
    /// How much of the call's time was over when the driver started.
    elapsed_before: Duration,
    now: Time,
    info: Arc<I>,

    /// How often the connection was made.
    epoch: u64,
    is_connected: bool,
    inbox: InboxState,
    /// When to try again to open an inbox.
    open_inbox_at: Time,
    small_batches_expected_until: Time,

    queue: SendQueue,
    in_flight: InFlight<I>,
    /// The token of the group that was sent last.
    last_token: usize,
    sending: Option<Sending>,

    /// The granted permits that no request holds.
    unused_permits: usize,
    /// The unsent items of the planned burst. For each of them one unused permit is kept. 0: no burst
    /// is planned; none is before its permits are granted.
    reserved_permits: usize,
    /// When the burst was planned. Items that became due later are not part of it.
    burst_planned_at: Time,
    /// How many permits the driver is waiting for.
    requested_permits: usize,
    permits_to_release: usize,

    /// The pause before resending an item that nobody received.
    backoff: Duration,
    /// When the stream info was last fetched because nobody answered.
    last_refresh: Option<Time>,
    refresh: Refresh,
    awaiting_refresh: VecDeque<AwaitingRefresh<I, E>>,

    /// The first permission error of one of the requests.
    denied: Option<E>,
    /// Whether every request was answered, except those in flight.
    all_answered: bool,
    finished: bool,
    actions: VecDeque<Action<I, E>>,
}

/// What a look at the state has come to.
#[derive(Debug)]
enum Decision<I, E> {
    Action(Action<I, E>),
    /// There is nothing to do until the next event.
    Nothing,
    /// The state has changed, so look again.
    Again,
}

/// Whether answers can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InboxState {
    Open,
    /// The NATS client of the inbox has ended.
    Ended,
    /// The driver is opening another inbox.
    Opening,
}

impl<I, E: Clone> Machine<I, E> {
    /// The machine of a run of `len` items. `elapsed` of the call's time is over already.
    pub(crate) fn new(
        len: usize,
        info: Arc<I>,
        config: PipelineConfig,
        time_limits: TimeLimits,
        elapsed: Duration,
    ) -> Self {
        let since_call_start = |time: Duration| Time::from_start(time.saturating_sub(elapsed));
        Self {
            send_deadline: since_call_start(time_limits.send_within),
            call_deadline: since_call_start(time_limits.finish_within),
            elapsed_before: elapsed,
            time_limits,
            now: Time::START,
            info,
            epoch: 0,
            is_connected: false,
            inbox: InboxState::Open,
            open_inbox_at: Time::START,
            small_batches_expected_until: Time::START,
            queue: SendQueue::new(len),
            in_flight: InFlight::default(),
            last_token: 0,
            sending: None,
            unused_permits: 0,
            reserved_permits: 0,
            burst_planned_at: Time::START,
            requested_permits: 0,
            permits_to_release: 0,
            backoff: config.backoff.first,
            config,
            last_refresh: None,
            refresh: Refresh::default(),
            awaiting_refresh: VecDeque::new(),
            denied: None,
            all_answered: true,
            finished: false,
            actions: VecDeque::new(),
        }
    }

    /// Takes an event.
    pub(crate) fn handle(&mut self, now: Time, event: Event<I, E>, items: &impl Items<Info = I>) {
        self.now = self.now.max(now);
        match event {
            Event::Connection { epoch, is_up } => self.on_connection(epoch, is_up, items),
            Event::ClientEnded => self.on_client_ended(),
            Event::InboxOpened(opened) => {
                self.inbox = if opened {
                    InboxState::Open
                } else {
                    InboxState::Ended
                };
                self.open_inbox_at = self.now.after(self.config.backoff.first);
            }
            Event::SmallBatchesExpectedUntil(until) => self.small_batches_expected_until = until,
            Event::PermitsGranted(permits) if self.finished => self.permits_to_release += permits,
            Event::PermitsGranted(permits) => {
                self.requested_permits = 0;
                self.unused_permits += permits;
            }
            Event::Sent { count, failure } => self.on_sent(count, failure, items),
            Event::Answer { token, outcome } => self.on_answer(token, outcome, items),
            Event::ItemsDenied { token, denied } => self.on_items_denied(token, denied, items),
            Event::InboxDenied(error) => self.on_inbox_denied(error),
            Event::Refreshed(outcome) => self.on_refreshed(outcome, items),
            Event::Tick => self.check_time(items),
        }
    }

    /// What the driver has to do next. `None`: nothing until the next event.
    pub(crate) fn next_action(
        &mut self,
        now: Time,
        items: &impl Items<Info = I>,
    ) -> Option<Action<I, E>> {
        self.now = self.now.max(now);
        loop {
            match self.decide(items) {
                Decision::Action(action) => return Some(action),
                Decision::Nothing => return None,
                Decision::Again => {}
            }
        }
    }

    fn decide(&mut self, items: &impl Items<Info = I>) -> Decision<I, E> {
        if self.sending.is_some() {
            return Decision::Nothing;
        }
        // No burst is planned while actions are pending, or while the stream info is being fetched.
        // At the end of the run `plan_burst` is called all the same: then it only gives permits
        // back.
        let waits_for_info = self.refresh.running.is_some() || self.needs_refresh();
        if self.actions.is_empty() && !self.finished && (!waits_for_info || self.is_over()) {
            self.plan_burst(items);
        }
        if let Some(action) = self.actions.pop_front() {
            return Decision::Action(action);
        }
        if self.permits_to_release > 0 {
            let permits = std::mem::take(&mut self.permits_to_release);
            return Decision::Action(Action::ReleasePermits(permits));
        }
        if self.finished {
            return Decision::Nothing;
        }
        if self.is_over() {
            self.finished = true;
            let all_answered = self.all_answered;
            return Decision::Action(Action::Finish { all_answered });
        }
        if self.refresh.running.is_some() {
            return Decision::Nothing;
        }
        match self.next_refresh().or_else(|| self.next_inbox()) {
            Some(action) => Decision::Action(action),
            None => self.next_send(items),
        }
    }

    /// The items of a group in flight, and the stream info that their requests were made from.
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

    /// The stream info to make requests from.
    pub(crate) fn info(&self) -> &Arc<I> {
        &self.info
    }

    /// How many requests are in flight, and how many bytes of values.
    #[cfg(test)]
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.in_flight.requests(), self.in_flight.value_bytes())
    }

    /// Whether every item is done or has failed.
    fn is_over(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty() && self.awaiting_refresh.is_empty()
    }

    fn next_inbox(&mut self) -> Option<Action<I, E>> {
        let opens = self.inbox == InboxState::Ended
            && self.is_connected
            && self.now >= self.open_inbox_at
            && self.now < self.send_deadline;
        opens.then(|| {
            self.inbox = InboxState::Opening;
            Action::OpenInbox
        })
    }
}
