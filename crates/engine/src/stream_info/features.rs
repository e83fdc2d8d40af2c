//! What the stream of a bucket allows beside plain writes.

use std::time::Duration;

use async_nats::jetstream::stream;

use crate::error::{BucketFeature, FeatureProblem};

/// The part of a stream's configuration that decides about [`BucketFeature`]s. An older server
/// knows none of the settings, so its answer has none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    is_mirror: bool,
    history: i64,
    allows_message_ttl: bool,
    allows_atomic: bool,
    /// How long a delete marker that the engine writes stays. `None`: for ever.
    pub(super) marker_ttl: Option<Duration>,
}

impl Features {
    pub(super) fn of(config: &stream::Config) -> Self {
        // A mirror's settings say nothing of the stream that stores the writes. With a history, an
        // older value would come back when the marker vanishes.
        let markers_vanish = config.mirror.is_none()
            && config.allow_message_ttl
            && config.max_messages_per_subject == 1;
        Self {
            is_mirror: config.mirror.is_some(),
            history: config.max_messages_per_subject,
            allows_message_ttl: config.allow_message_ttl,
            allows_atomic: config.allow_atomic_publish,
            marker_ttl: config
                .subject_delete_marker_ttl
                .filter(|ttl| markers_vanish && !ttl.is_zero()),
        }
    }

    /// Whether messages may have a time to live.
    pub(super) fn has_ttl(&self) -> bool {
        self.allows_message_ttl
    }

    /// Why the bucket cannot do this. `None`: it can.
    pub(super) fn problem(&self, feature: BucketFeature) -> Option<FeatureProblem> {
        let allowed = match feature {
            BucketFeature::ValueTtl => self.allows_message_ttl,
            BucketFeature::MarkerTtl => self.marker_ttl.is_some(),
            BucketFeature::AtomicBatches => self.allows_atomic,
        };
        if self.is_mirror {
            Some(FeatureProblem::Mirror)
        } else if !allowed {
            Some(FeatureProblem::NotAllowed)
        } else if feature == BucketFeature::ValueTtl && self.history > 1 {
            Some(FeatureProblem::History(self.history))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::{Config, Source};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn config() -> Config {
        Config {
            max_messages_per_subject: 1,
            allow_message_ttl: true,
            subject_delete_marker_ttl: Some(MINUTE),
            allow_atomic_publish: true,
            ..Config::default()
        }
    }

    fn problem(config: &Config, feature: BucketFeature) -> Option<FeatureProblem> {
        Features::of(config).problem(feature)
    }

    #[test]
    fn a_bucket_that_allows_all_has_no_problem() {
        for feature in [
            BucketFeature::ValueTtl,
            BucketFeature::MarkerTtl,
            BucketFeature::AtomicBatches,
        ] {
            assert_eq!(problem(&config(), feature), None);
            assert_eq!(
                problem(
                    &Config {
                        max_messages_per_subject: 1,
                        ..Config::default()
                    },
                    feature
                ),
                Some(FeatureProblem::NotAllowed)
            );
            let mirror = Config {
                mirror: Some(Source::default()),
                ..config()
            };
            assert_eq!(problem(&mirror, feature), Some(FeatureProblem::Mirror));
        }
    }

    #[test]
    fn with_a_history_nothing_vanishes_by_itself() {
        let history = Config {
            max_messages_per_subject: 5,
            ..config()
        };
        assert_eq!(
            problem(&history, BucketFeature::ValueTtl),
            Some(FeatureProblem::History(5))
        );
        assert_eq!(Features::of(&history).marker_ttl, None);
        assert_eq!(Features::of(&config()).marker_ttl, Some(MINUTE));
        assert_eq!(problem(&history, BucketFeature::AtomicBatches), None);
    }
}
