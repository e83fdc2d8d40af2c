//! The component's links: put, and their buckets opened once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use eventual_batch_engine::{Bucket, Deadline, Kind};
use eventual_batch_links::{Links, RawSettings, setting_hint, with_hint};
use futures::StreamExt as _;
use futures::stream;
use opentelemetry::metrics::Meter;
use tracing::warn;

use super::args::ServeArgs;
use super::limits::BatchLimits;
use super::links_file::{self, FileLink};

/// How long a bucket may take to open, before the server counts as down.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// How many buckets are opened at once.
const OPEN_AT_ONCE: usize = 16;

/// How long a call takes at most if its link sets no `timeout`.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Links that can be used, or whose server is down.
pub(super) struct OpenLinks {
    pub(super) links: Arc<Links>,
    pub(super) batches: BatchLimits,
}

/// Reads the links of the command line, with metrics if there is a meter, and opens their buckets. An error is a sentence.
pub(super) async fn open(
    args: &ServeArgs,
    caller: &str,
    meter: Option<&Meter>,
) -> Result<OpenLinks, String> {
    let (whose, file_links) = match &args.links {
        Some(path) => {
            let links = links_file::read(path);
            let whose = format!("{}: ", path.display());
            let links = links.map_err(|error| format!("{whose}{error}"))?;
            (whose, links)
        }
        None => (String::new(), vec![of_flags(args)]),
    };
    // Less than the request has, so that its component can still answer.
    let timeout = CALL_TIMEOUT.min(args.request_timeout * 9 / 10);
    let links = Links::new("eventual-batch", RawSettings::default(), timeout);
    let links = match meter {
        Some(meter) => links.with_metrics(meter),
        None => links,
    };
    let mut buckets = Vec::new();
    let mut batches = BatchLimits { keys: 0, bytes: 0 };
    for FileLink { name, settings } in file_links {
        let put = links.put(caller, &name, settings).await;
        put.map_err(|error| format!("{whose}link `{name}`: {error}"))?;
        let grant = links.resolve(caller, &name, "");
        let grant = grant.map_err(|error| format!("{whose}link `{name}`: {error}"))?;
        for bucket in grant.link.buckets() {
            let limits = bucket.limits();
            batches.keys = batches.keys.max(limits.max_batch_keys);
            batches.bytes = batches.bytes.max(limits.max_batch_bytes);
            buckets.push((name.clone(), Arc::clone(bucket)));
        }
    }
    let opened = stream::iter(buckets)
        .map(|(link, bucket)| async move { open_bucket(&link, &bucket).await })
        .buffer_unordered(OPEN_AT_ONCE);
    let outcomes: Vec<Result<(), String>> = opened.collect().await;
    if let Some(problem) = outcomes.into_iter().find_map(Result::err) {
        return Err(format!("{whose}{problem}"));
    }
    Ok(OpenLinks {
        links: Arc::new(links),
        batches,
    })
}

/// The link of `--bucket`.
fn of_flags(args: &ServeArgs) -> FileLink {
    let settings = [
        ("bucket", args.bucket.clone().unwrap_or_default()),
        ("cluster_uri", args.nats.clone()),
        ("enable_bucket_auto_create", args.create.to_string()),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value));
    FileLink {
        name: eventual_batch_links::DEFAULT_LINK.to_owned(),
        settings: RawSettings::new(settings.into(), HashMap::new()),
    }
}

/// A server that is down is no error: it may come up later.
async fn open_bucket(link: &str, bucket: &Bucket) -> Result<(), String> {
    match bucket.open(Deadline::after(OPEN_TIMEOUT)).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == Kind::Unavailable => {
            warn!(
                link,
                bucket = bucket.name(),
                "{}; calls are answered `unavailable` until it can be reached",
                with_hint(&error, setting_hint(&error))
            );
            Ok(())
        }
        Err(error) => Err(format!(
            "link `{link}`: {}",
            with_hint(&error, setting_hint(&error))
        )),
    }
}
