//! What only some buckets can do, and why one cannot.

use std::fmt;

use async_nats::Client;

/// Something that only some servers and buckets can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketFeature {
    /// Values with a time to live (`Nats-TTL`, ADR-43, server ≥ 2.11).
    ValueTtl,
    /// Delete markers that vanish (`subject_delete_marker_ttl`, ADR-48, server ≥ 2.11).
    MarkerTtl,
    /// Batches of writes that are stored as a whole or not at all (ADR-50, server ≥ 2.12.1).
    AtomicBatches,
}

impl BucketFeature {
    /// The first server version that has it.
    fn since(self) -> (i64, i64, i64) {
        match self {
            Self::ValueTtl | Self::MarkerTtl => (2, 11, 0),
            // A server 2.12.0 takes no message ids in a batch.
            Self::AtomicBatches => (2, 12, 1),
        }
    }

    /// The same as text, without a patch of 0.
    fn since_version(self) -> String {
        match self.since() {
            (major, minor, 0) => format!("{major}.{minor}"),
            (major, minor, patch) => format!("{major}.{minor}.{patch}"),
        }
    }

    /// The setting of the bucket's stream that allows it.
    fn stream_setting(self) -> &'static str {
        match self {
            Self::ValueTtl => "allow_msg_ttl",
            Self::MarkerTtl => "subject_delete_marker_ttl",
            Self::AtomicBatches => "allow_atomic",
        }
    }
}

/// What the bucket cannot do, after "bucket `orders` cannot".
impl fmt::Display for BucketFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ValueTtl => "hold values that end by themselves",
            Self::MarkerTtl => "be created with delete markers that vanish",
            Self::AtomicBatches => "take a batch of writes as a whole",
        })
    }
}

/// Why a bucket cannot do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureProblem {
    /// The server is too old.
    OldServer {
        /// The server's version.
        version: String,
    },
    /// The bucket's leader is too old, and may be another server than the connection's.
    OldLeader,
    /// The bucket's stream does not allow it.
    NotAllowed,
    /// The bucket is a mirror. What its origin allows is not known.
    Mirror,
    /// The bucket keeps so many values of a key. An older value would come back.
    History(i64),
}

impl FeatureProblem {
    /// The problem with the server that the client is connected to, if there is one.
    pub(crate) fn of_server(feature: BucketFeature, client: &Client) -> Option<Self> {
        let (major, minor, patch) = feature.since();
        (!client.is_server_compatible(major, minor, patch)).then(|| Self::OldServer {
            version: client.server_info().version,
        })
    }
}

/// Why and what to do, as a whole sentence without its end.
pub(super) fn why(bucket: &str, feature: BucketFeature, problem: &FeatureProblem) -> String {
    let since = feature.since_version();
    let setting = feature.stream_setting();
    match problem {
        FeatureProblem::OldServer { version } => {
            format!("that needs nats-server {since} or newer, and this server has {version}")
        }
        FeatureProblem::OldLeader => format!(
            "that needs nats-server {since} or newer on each node, and the bucket's leader is older"
        ),
        FeatureProblem::NotAllowed => format!(
            "its stream does not allow that; set `{setting}` of the stream `KV_{bucket}`, or create \
             the bucket with it"
        ),
        FeatureProblem::Mirror => {
            "it is a mirror, and what its origin allows is not known; write to the origin"
                .to_owned()
        }
        FeatureProblem::History(values) => format!(
            "it keeps {values} values of a key, and the value before would come back; use a bucket \
             that keeps one (`max_msgs_per_subject` = 1)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_told_which_version_the_feature_needs() {
        let version = || "2.12.0".to_owned();
        let old_server = |feature| {
            let version = version();
            why("orders", feature, &FeatureProblem::OldServer { version })
        };
        assert_eq!(
            old_server(BucketFeature::AtomicBatches),
            "that needs nats-server 2.12.1 or newer, and this server has 2.12.0"
        );
        assert!(old_server(BucketFeature::ValueTtl).contains("nats-server 2.11 or newer"));
        let old_leader = why(
            "orders",
            BucketFeature::AtomicBatches,
            &FeatureProblem::OldLeader,
        );
        assert!(old_leader.contains("2.12.1 or newer on each node"));
    }
}
