//! Links: who may use which bucket, and how.
//!
//! A host or an embedder puts links, each with the strings of its configuration ([`RawSettings`]).
//! [`Links::resolve`] finds the bucket that a caller means by a name, and nothing else hands out a
//! bucket. What every call has in common (its link, deadline, span, metrics and log lines) is a
//! [`Call`].

mod call;
mod error_message;
mod hints;
mod links;
mod metrics;
mod settings;

pub use call::{Call, CallError, CallOrigin};
pub use error_message::error_message;
pub use hints::{connection_hint, setting_hint, with_hint};
pub use links::{
    DEFAULT_LINK, Grant, Link, LinkError, LinkOutage, Links, WatchId, WatchReport, WatchTrouble,
};
pub use metrics::{METRICS, MetricDefinition, MetricKind, ShedReason, WatchMetrics};
pub use settings::{
    ConfigError, LinkKind, LinkSettings, RawSettings, WatchIdentity, WatchLinkSettings,
    is_secret_setting, is_setting, named_secret_setting, nearest_setting,
};
