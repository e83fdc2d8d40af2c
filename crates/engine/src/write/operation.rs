//! A batch of writes as the pipeline sees it: requests, answers, and errors.

use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::Message;
use async_nats::header::{
    HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_MESSAGE_TTL,
};
use async_nats::jetstream::ErrorCode;

use super::batch::{CompareAndSet, WriteBatch};
use crate::error::{Error, Kind, ValueLimit};
use crate::message::{
    Acknowledgement, KV_OPERATION, delete_operation, is_checked_before_id, is_conflict,
    is_transient, ttl_text,
};
use crate::pipeline::{AnswerOutcome, Items, Operation, RequestMessage};
use crate::stream_info::StreamInfo;
use crate::text::{CallerText, LogText};
use crate::tuning;

impl Items for WriteBatch {
    type Info = StreamInfo;

    fn len(&self) -> usize {
        self.writes.len()
    }

    fn value_bytes(&self, item: usize) -> usize {
        self.writes[item].size()
    }

    /// If one write of a group fails, all of them are sent again. So the bucket's duplicate window
    /// has to be longer than the group takes.
    fn may_group(&self, item: usize, info: &StreamInfo) -> bool {
        self.has_id(item, info) && info.duplicate_window >= tuning::GROUP_DUPLICATE_WINDOW
    }

    /// A write is sent again only while the server would recognize it. Otherwise it could be stored
    /// twice, and over another client's newer value.
    fn resend_window(&self, item: usize, info: &StreamInfo) -> Duration {
        if self.has_id(item, info) {
            info.duplicate_window / 2
        } else {
            Duration::ZERO
        }
    }
}

impl Operation for WriteBatch {
    fn request(&self, item: usize, info: &StreamInfo) -> RequestMessage {
        let write = &self.writes[item];
        let mut headers = HeaderMap::new();
        if self.has_id(item, info) {
            headers.insert(NATS_MESSAGE_ID, self.id(item));
        }
        if let Some(CompareAndSet { expected, .. }) = &self.compare_and_set {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        }
        let ttl = self.ttl(item, info);
        if write.value().is_none() {
            headers.insert(KV_OPERATION, delete_operation(ttl));
        }
        if let Some(ttl) = ttl {
            headers.insert(NATS_MESSAGE_TTL, ttl_text(ttl));
        }
        RequestMessage {
            subject: self.subject(item, info),
            headers: (!headers.is_empty()).then_some(headers),
            payload: write.value().cloned().unwrap_or_default(),
        }
    }

    fn subject(&self, item: usize, info: &StreamInfo) -> String {
        format!("{}{}", info.write_prefix, self.writes[item].encoded_key())
    }

    fn shared_answer(&mut self, message: &Message, info: &StreamInfo) -> Option<u64> {
        let answer: Acknowledgement<'_> = serde_json::from_slice(&message.payload).ok()?;
        let sequence = answer
            .is_stored_in(&info.write_stream)
            .then_some(answer.seq);
        sequence.inspect(|&sequence| self.written.add(sequence))
    }

    fn answer(&mut self, item: usize, message: Message, info: &StreamInfo) -> AnswerOutcome<Error> {
        let answer: Acknowledgement<'_> = match serde_json::from_slice(&message.payload) {
            Ok(answer) => answer,
            Err(error) => return bad_answer(&LogText::of_json(&error)),
        };
        if answer.is_stored_in(&info.write_stream) {
            if let Some(compare_and_set) = &mut self.compare_and_set {
                compare_and_set.revision = Some(answer.seq);
            }
            self.written.add(answer.seq);
            return AnswerOutcome::Done {
                sequence: Some(answer.seq),
            };
        }
        if answer.is_being_stored_in(&info.write_stream) {
            self.note_possible_duplicate();
            return AnswerOutcome::TryAgain;
        }
        let Some(error) = answer.error else {
            return bad_answer(&LogText::fixed("it is of another stream"));
        };
        if is_transient(&error) {
            // While a node has not noticed that it no longer leads, a cluster hands a write to it
            // and to the new leader. One refuses the write, the other stores it.
            self.note_possible_duplicate();
            return AnswerOutcome::TryAgain;
        }
        if self.compare_and_set.is_some() && is_conflict(&error) {
            // The request is answered. The batch has no revision, which says that nothing was
            // written.
            return AnswerOutcome::Done { sequence: None };
        }
        if error.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM {
            return self.too_large(item, info, &LogText::of_jetstream(&error));
        }
        if error.error_code() == ErrorCode::MESSAGE_TTL_DISABLED {
            return AnswerOutcome::RefusedMaybeStale(self.ttl_refused());
        }
        let is_checked_before_id = is_checked_before_id(&error);
        let error = Error::Refused {
            what: "a write",
            reason: LogText::of_jetstream(&error),
        };
        if is_checked_before_id {
            AnswerOutcome::RefusedBeforeIdCheck(error)
        } else {
            AnswerOutcome::Refused(error)
        }
    }

    fn note_possible_duplicate(&mut self) {
        if let Some(compare_and_set) = &mut self.compare_and_set {
            compare_and_set.may_be_duplicated = true;
        }
    }

    fn to_unclear_error(&self, error: Error) -> Error {
        to_unclear_error(error)
    }

    fn failed(&mut self, item: usize, error: Error) -> ControlFlow<Error> {
        let failures = &mut self.failures;
        failures.count += 1;
        if failures.named_keys.len() < tuning::NAMED_KEYS {
            let key = CallerText::key(self.writes[item].key());
            failures.named_keys.push(key);
        }
        failures.first_cause.get_or_insert(error);
        ControlFlow::Continue(())
    }
}

impl WriteBatch {
    /// What it means that the stream refused a write for its size.
    fn too_large(&self, item: usize, info: &StreamInfo, reason: &LogText) -> AnswerOutcome<Error> {
        let size = self.value_bytes(item);
        if let Some(max) = info.max_message.filter(|&max| size > max) {
            return AnswerOutcome::Refused(Error::ValueTooLarge {
                key: CallerText::key(self.writes[item].key()),
                size,
                limit: ValueLimit::BucketMaxValueSize,
                max,
            });
        }
        // The value fits into a message of the size in the stream info. So the headers made it too
        // large, or the stream info is stale.
        AnswerOutcome::RefusedMaybeStale(Error::Refused {
            what: "a write",
            reason: LogText::joined(&[
                reason,
                &"; the bucket's max_value_size counts a message's headers, of which a delete has \
                  some 40 bytes",
            ]),
        })
    }
}

/// The error of a write that failed with `error`, and of which a copy may be stored.
fn to_unclear_error(error: Error) -> Error {
    match error {
        Error::Refused { reason, .. } => Error::UnclearWrite(Box::new(Error::Refused {
            what: "a second copy of the write",
            reason,
        })),
        // If the bucket does not exist, nothing is stored: the outcome is clear.
        error if error.kind() == Kind::NoSuchBucket => error,
        error => Error::UnclearWrite(Box::new(error)),
    }
}

fn bad_answer(why: &LogText) -> AnswerOutcome<Error> {
    AnswerOutcome::Unusable(Error::BadAnswer {
        what: "a write",
        reason: why.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Error {
        Error::Refused {
            what: "a write",
            reason: LogText::fixed("no space"),
        }
    }

    #[test]
    fn a_refused_second_copy_says_that_the_first_may_be_stored() {
        let error = to_unclear_error(refused());
        let text = error.to_string();
        assert!(text.contains("may or may not be in the bucket"), "{text}");
        assert!(text.contains("a second copy"), "{text}");
        assert_eq!(error.kind(), refused().kind());
    }

    #[test]
    fn nothing_is_stored_in_a_bucket_that_does_not_exist() {
        let bucket = "orders".to_owned();
        let error = to_unclear_error(Error::NoSuchBucket { bucket });
        assert!(matches!(error, Error::NoSuchBucket { .. }), "{error}");
    }
}
