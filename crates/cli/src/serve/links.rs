//! The component's links: read, put, and their buckets opened once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use eventual_batch_engine::{Bucket, Deadline, Kind};
use eventual_batch_links::{LinkSettings, Links, RawSettings, setting_hint, with_hint};
use eventual_batch_wasmtime::WatcherExport;
use futures::StreamExt as _;
use futures::stream;
use opentelemetry::metrics::Meter;
use tracing::{info, warn};

use super::args::ServeArgs;
use super::guest::GuestState;
use super::instances::InstanceSettings;
use super::limits::BatchLimits;
use super::links_file::{self, FileLink, LinksFile};
use super::watch::FileWatch;

/// How long a bucket may take to open, before the server counts as down.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// How many buckets are opened at once.
const OPEN_AT_ONCE: usize = 16;

/// How long a call takes at most if its link sets no `timeout`.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What the command line says of links.
pub(super) struct ReadLinks {
    /// What sentences about them begin with.
    whose: String,
    links: Vec<FileLink>,
    /// What the component is told of.
    pub(super) watches: Vec<FileWatch>,
    timeout: Duration,
}

/// Links that can be used, or whose server is down.
pub(super) struct OpenLinks {
    pub(super) links: Arc<Links>,
    pub(super) batches: BatchLimits,
    /// The settings of each link.
    settings: Vec<(String, LinkSettings)>,
    watches: Vec<FileWatch>,
    whose: String,
}

/// Reads the links of the command line. An error is a sentence.
pub(super) fn read(args: &ServeArgs, caller: &str) -> Result<ReadLinks, String> {
    let (whose, file) = match &args.links {
        Some(path) => {
            let file = links_file::read(path);
            let whose = format!("{}: ", path.display());
            let file = file.map_err(|error| format!("{whose}{error}"))?;
            (whose, file)
        }
        None => (
            String::new(),
            LinksFile {
                links: vec![of_flags(args)],
                watches: Vec::new(),
            },
        ),
    };
    let watches = file.watches.into_iter();
    let watches = watches.map(|watch| FileWatch::read(watch, caller, args.request_timeout));
    let watches: Result<_, _> = watches.collect();
    Ok(ReadLinks {
        watches: watches.map_err(|problem| format!("{whose}{problem}"))?,
        whose,
        links: file.links,
        // Less than the request has, so that its component can still answer.
        timeout: CALL_TIMEOUT.min(args.request_timeout * 9 / 10),
    })
}

impl ReadLinks {
    /// How many links and watches there are. Each may have connections of its own.
    pub(super) fn count(&self) -> usize {
        self.links.len() + self.watches.len()
    }

    /// Puts the links, with metrics if there is a meter, and opens their buckets. An error is a
    /// sentence.
    pub(super) async fn open(
        self,
        caller: &str,
        meter: Option<&Meter>,
    ) -> Result<OpenLinks, String> {
        let Self {
            whose,
            links: file_links,
            watches,
            timeout,
        } = self;
        let links = Links::new("eventual-batch", RawSettings::default(), timeout);
        let links = match meter {
            Some(meter) => links.with_metrics(meter),
            None => links,
        };
        let mut buckets = Vec::new();
        let mut batches = BatchLimits { keys: 0, bytes: 0 };
        let mut all_settings = Vec::new();
        for FileLink { name, settings } in file_links {
            let raw = settings.clone();
            let put = links.put(caller, &name, settings).await;
            put.map_err(|error| format!("{whose}link `{name}`: {error}"))?;
            if !watches.is_empty()
                && let Ok(read) = LinkSettings::read(&raw, &RawSettings::default(), timeout)
            {
                all_settings.push((name.clone(), read));
            }
            let grant = links.resolve(caller, &name, "");
            let grant = grant.map_err(|error| format!("{whose}link `{name}`: {error}"))?;
            for bucket in grant.link.buckets() {
                let limits = bucket.limits();
                batches.keys = batches.keys.max(limits.max_batch_keys);
                batches.bytes = batches.bytes.max(limits.max_batch_bytes);
                buckets.push((name.clone(), Arc::clone(bucket)));
            }
        }
        // A bucket that one link creates may be another link's, too.
        let (created, others): (Vec<_>, Vec<_>) = buckets
            .into_iter()
            .partition(|(_, bucket)| bucket.is_created_if_missing());
        for buckets in [created, others] {
            let opened = stream::iter(buckets)
                .map(|(link, bucket)| async move { open_bucket(&link, &bucket).await })
                .buffer_unordered(OPEN_AT_ONCE);
            let outcomes: Vec<Result<(), String>> = opened.collect().await;
            if let Some(problem) = outcomes.into_iter().find_map(Result::err) {
                return Err(format!("{whose}{problem}"));
            }
        }
        Ok(OpenLinks {
            links: Arc::new(links),
            batches,
            settings: all_settings,
            watches,
            whose,
        })
    }
}

impl OpenLinks {
    /// Begins to tell the component of changes. An error is a sentence.
    pub(super) async fn start_watches(
        self,
        component: Option<WatcherExport<GuestState>>,
        instances: &InstanceSettings,
    ) -> Result<(), String> {
        let Some(component) = component else {
            return Ok(());
        };
        if self.watches.is_empty() {
            info!(
                "the component could be told of changes, and there is no table [watch.NAME] that says \
                 of which"
            );
        }
        for watch in self.watches {
            let (component, instances) = (component.clone(), instances.clone());
            let started = watch.start(&self.links, &self.settings, component, instances);
            started
                .await
                .map_err(|problem| format!("{}{problem}", self.whose))?;
        }
        Ok(())
    }
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
