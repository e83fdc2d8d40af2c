//! Asking the server.

use std::sync::Arc;

use tokio::time::timeout;

use super::{SEND, WatchAnswer, WatchTask};
use crate::watch::consumer::LastSeen;

impl WatchTask {
    pub(super) fn attach(&mut self) {
        let (consumer, connection) = (Arc::clone(&self.consumer), Arc::clone(&self.connection));
        let seen = LastSeen {
            resume_at: self.machine.resume_at(),
            highest: self.machine.highest(),
        };
        self.answers.push(Box::pin(async move {
            WatchAnswer::Attached(consumer.attach(&connection, seen).await)
        }));
    }

    pub(super) fn ask(&mut self, question: u64) {
        let (consumer, connection) = (Arc::clone(&self.consumer), Arc::clone(&self.connection));
        self.answers.push(Box::pin(async move {
            WatchAnswer::Pending(question, consumer.pending(&connection).await)
        }));
    }

    pub(super) async fn pull(&mut self, anew: bool) {
        if anew {
            self.inbox = None;
        }
        if !self.connection.is_up() {
            return;
        }
        if self.inbox.is_none() {
            self.inbox = self.connection.open_fresh_inbox(1).await;
        }
        let Some(inbox) = &self.inbox else {
            return;
        };
        self.left = self.consumer.pull_size();
        let (client, subject) = (inbox.client(), inbox.reply_subject(0));
        let pull = self.consumer.pull(client, &self.names, subject);
        drop(timeout(SEND, pull).await);
    }
}
