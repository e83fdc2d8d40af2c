//! Whether the one that answers for the stream still leads it.
//!
//! A node that was frozen while another one was elected may answer once or twice before it notices.
//! So an answer counts only if the same node has answered for a while, without a gap in which there
//! can have been an election.

use std::time::Duration;

/// How long a node has to have answered until it is believed. One that does not lead any more
/// notices in less, because the others' messages wait for it.
pub(super) const CONFIRM: Duration = Duration::from_millis(500);

/// A longer silence may have been an election, which takes four seconds.
const GAP: Duration = Duration::from_secs(2);

/// The node that answers.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    leader: String,
    /// Since when it has answered without a gap.
    since: Duration,
    last: Duration,
}

impl Leadership {
    /// Records an answer by this node. `Err`: it is not to be believed before that time.
    pub(super) fn answered(&mut self, leader: Option<&str>, now: Duration) -> Result<(), Duration> {
        // The only node of its stream.
        let Some(leader) = leader else {
            return Ok(());
        };
        if self.leader != leader || now > self.last + GAP {
            leader.clone_into(&mut self.leader);
            self.since = now;
        }
        self.last = now;
        let believed = self.since + CONFIRM;
        if now >= believed {
            Ok(())
        } else {
            Err(believed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_leader_is_believed_after_a_while() {
        let mut leadership = Leadership::default();
        assert_eq!(
            leadership.answered(Some("a"), millis(1000)),
            Err(millis(1500))
        );
        assert_eq!(
            leadership.answered(Some("a"), millis(1400)),
            Err(millis(1500))
        );
        assert_eq!(leadership.answered(Some("a"), millis(1600)), Ok(()));
        assert_eq!(leadership.answered(Some("a"), millis(3600)), Ok(()));
        // Another one, and a gap.
        assert_eq!(
            leadership.answered(Some("b"), millis(3700)),
            Err(millis(4200))
        );
        assert_eq!(
            leadership.answered(Some("a"), millis(4300)),
            Err(millis(4800))
        );
        assert_eq!(leadership.answered(Some("a"), millis(4800)), Ok(()));
        assert_eq!(
            leadership.answered(Some("a"), millis(6801)),
            Err(millis(7301))
        );
        assert_eq!(leadership.answered(None, millis(6900)), Ok(()));
    }
}
