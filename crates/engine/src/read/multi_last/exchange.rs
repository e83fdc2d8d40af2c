//! One `multi_last` request and its answer. That is one message for each key, and one at the end.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::Message;
use async_nats::header::{NATS_SEQUENCE, NATS_SUBJECT};
use bytes::Bytes;

use crate::message::is_marker;

/// How many messages of the answer come after this one. Only a server that knows `multi_last` says
/// so.
const NUM_PENDING: &str = "Nats-Num-Pending";

/// The status of the last message of an answer.
const END_OF_BATCH: u16 = 204;

/// One request for keys, and what has come of it so far.
pub(super) struct Exchange {
    /// The subjects without an answer, and the indexes of their keys.
    unanswered: HashMap<String, usize>,
    pub(super) answered: Vec<AnsweredKey>,
    /// The keys to ask for again, because the server ended the answer at `max_bytes`.
    pub(super) cut_off: Vec<usize>,
    pub(super) end: ExchangeEnd,
    /// How long the answer took from its first message to its last.
    pub(super) service_time: Option<Duration>,
}

/// A key that the server has answered.
pub(super) struct AnsweredKey {
    /// Its index in the batch.
    pub(super) index: usize,
    /// Its value, if it has one.
    pub(super) value: Option<Bytes>,
    /// The sequence of its last message. 0: the server told none.
    pub(super) sequence: u64,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExchangeEnd {
    /// The request was not sent.
    NotSent,
    /// The server has answered to the end.
    Complete,
    /// The rest of the answer did not come in time.
    Unanswered,
    /// The server denied the request.
    Denied,
    /// The connection was lost before the end of the answer.
    ConnectionLost,
}

impl Exchange {
    /// Of a request that is not sent yet.
    pub(super) fn new(subjects: HashMap<String, usize>) -> Self {
        Self {
            unanswered: subjects,
            answered: Vec::new(),
            cut_off: Vec::new(),
            end: ExchangeEnd::NotSent,
            service_time: None,
        }
    }

    pub(super) fn unanswered_count(&self) -> usize {
        self.unanswered.len()
    }

    /// The subjects to ask for.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &str> {
        self.unanswered.keys().map(String::as_str)
    }

    pub(super) fn ended(self, end: ExchangeEnd) -> Self {
        Self { end, ..self }
    }

    /// Adds a message of the answer. `Break`: it was the last one.
    pub(super) fn add(&mut self, part: AnswerPart) -> ControlFlow<()> {
        match part {
            AnswerPart::LastMessage {
                subject,
                value,
                sequence,
            } => {
                if let Some(index) = self.unanswered.remove(&subject) {
                    self.answered.push(AnsweredKey {
                        index,
                        value,
                        sequence,
                    });
                }
                return ControlFlow::Continue(());
            }
            // Without any key answered, to ask again would go on for ever.
            AnswerPart::CutOff if self.answered.is_empty() => {}
            AnswerPart::CutOff => {
                self.cut_off = self.unanswered.drain().map(|(_, index)| index).collect();
            }
            AnswerPart::End => {}
        }
        self.end = ExchangeEnd::Complete;
        ControlFlow::Break(())
    }
}

/// One message of an answer.
pub(super) enum AnswerPart {
    /// The last message of a subject, its value unless it is a marker, and its sequence. 0: the
    /// server told none.
    LastMessage {
        subject: String,
        value: Option<Bytes>,
        sequence: u64,
    },
    /// The end at `max_bytes`: another request has to ask for the rest.
    CutOff,
    /// The end, or the answer of a server that does not know the request.
    End,
}

impl From<Message> for AnswerPart {
    fn from(message: Message) -> Self {
        // The server's headers come last. The stored message may have headers of the same names.
        let header = |name: &str| message.headers.as_ref()?.get_last(name);
        let Some(pending) = header(NUM_PENDING) else {
            return Self::End;
        };
        if let Some(subject) = header(NATS_SUBJECT.as_ref()) {
            let sequence = header(NATS_SEQUENCE.as_ref());
            return Self::LastMessage {
                sequence: sequence.map_or(0, |it| it.as_str().parse().unwrap_or(0)),
                subject: subject.as_str().to_owned(),
                value: (!is_marker(message.headers.as_ref())).then_some(message.payload),
            };
        }
        let is_end = message
            .status
            .is_some_and(|status| status.as_u16() == END_OF_BATCH);
        if is_end && pending.as_str() != "0" {
            Self::CutOff
        } else {
            Self::End
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> Exchange {
        let subjects = ["$KV.b.a", "$KV.b.b"].map(str::to_owned);
        Exchange::new(subjects.into_iter().zip(0..).collect())
    }

    fn last_message(subject: &str) -> AnswerPart {
        AnswerPart::LastMessage {
            subject: subject.to_owned(),
            value: Some(Bytes::from_static(b"1")),
            sequence: 1,
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_at_its_end_and_the_rest_is_asked_for_again() {
        let mut exchange = exchange();
        assert!(exchange.add(last_message("$KV.b.a")).is_continue());
        // The inbox is free for the next request.
        assert!(exchange.add(AnswerPart::CutOff).is_break());
        assert_eq!(exchange.end, ExchangeEnd::Complete);
        assert_eq!(exchange.cut_off, [1]);
        assert_eq!(exchange.answered.len(), 1);
    }

    #[test]
    fn an_answer_without_any_key_is_not_asked_for_again() {
        let mut exchange = exchange();
        assert!(exchange.add(AnswerPart::CutOff).is_break());
        assert!(exchange.cut_off.is_empty());
    }

    #[test]
    fn a_subject_that_was_not_asked_for_is_ignored() {
        let mut exchange = exchange();
        assert!(exchange.add(last_message("$KV.b.c")).is_continue());
        assert!(exchange.add(AnswerPart::End).is_break());
        assert!(exchange.answered.is_empty() && exchange.cut_off.is_empty());
    }
}
