//! Readers over the link with the copy, who check every answer.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::CopiedState;
use super::answers::AnswerFindings;
use super::sources::OldAnswer;
use crate::setup::{COPIED, Linked};

/// Who reads from the copy, or from the server when the copy cannot answer.
#[derive(Debug)]
pub(super) struct CopiedReader {
    pub(super) link: Linked,
    pub(super) state: Arc<CopiedState>,
    pub(super) rng: Rng,
}

impl CopiedReader {
    /// Reads until it is told to stop.
    pub(super) async fn run(mut self, pace: Duration) {
        while !self.state.is_stopped() {
            if self.rng.u8(0..10) == 0 {
                self.list().await;
            } else {
                self.get().await;
            }
            sleep(pace).await;
        }
    }

    async fn get(&mut self) {
        let sent = Instant::now();
        let mut asked = self.state.keys().ask(sent);
        self.rng.shuffle(&mut asked);
        let keys: Vec<_> = asked.iter().map(|key| &key.name).collect();
        let call = Box::pin(self.link.caller.get_many(COPIED, &keys));
        let what = format!("get-many over {}", self.link.name);
        let recorder = &self.state.recorder;
        if let Some(values) = recorder.call(&what, self.link.timeout, call).await {
            let findings = self.state.keys().judge_values(&asked, &values, sent);
            self.note(&what, sent, findings);
        }
    }

    async fn list(&mut self) {
        let sent = Instant::now();
        let asked = self.state.keys().ask(sent);
        let call = Box::pin(self.link.caller.keys(COPIED));
        let what = format!("keys over {}", self.link.name);
        let recorder = &self.state.recorder;
        if let Some(listed) = recorder.call(&what, self.link.timeout, call).await {
            let findings = self.state.keys().judge_list(&asked, &listed);
            self.note(&what, sent, findings);
        }
    }

    fn note(&self, what: &str, sent: Instant, findings: AnswerFindings) {
        let recorder = &self.state.recorder;
        if let Some(wrong) = findings.wrong {
            recorder.broken(format!("{what}: {wrong}"));
        }
        let Some(old) = findings.old else {
            self.state.note_staleness(findings.staleness);
            return;
        };
        let what = format!("{what}: {old}");
        if recorder.is_calm(sent) {
            recorder.broken(format!("{what}, while nothing is wrong"));
        }
        self.state.note_old(OldAnswer {
            sent,
            answered: Instant::now(),
            what,
        });
    }
}
