//! Requests that are refused because the program is at a limit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventual_batch_links::{Links, ShedReason};
use tokio::time::Instant;
use tracing::warn;

/// How often the log says so at most.
const LOG_PERIOD: Duration = Duration::from_mins(1);

/// Counts them, and has the log say so now and then.
#[derive(Debug)]
pub(super) struct ShedRequests {
    links: Arc<Links>,
    /// When the log last said so.
    logged: Mutex<Option<Instant>>,
}

impl ShedRequests {
    pub(super) fn new(links: &Arc<Links>) -> Self {
        Self {
            links: Arc::clone(links),
            logged: Mutex::default(),
        }
    }

    /// A request was refused because of this limit.
    pub(super) fn note(&self, limit: &'static str) {
        self.links.note_shed(ShedReason::Requests);
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|logged| now.duration_since(logged) >= LOG_PERIOD) {
            *logged = Some(now);
            warn!(
                limit,
                "requests are refused: as many run as the limit allows"
            );
        }
    }
}
