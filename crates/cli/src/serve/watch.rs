//! The watches of the links file: which changes the component is told of.

use std::sync::Arc;
use std::time::Duration;

use eventual_batch_links::{
    DEFAULT_LINK, LinkSettings, Links, RawSettings, WatchIdentity, WatchLinkSettings,
};
use eventual_batch_wasmtime::WatcherExport;

use super::guest::GuestState;
use super::instances::InstanceSettings;
use super::links_file::FileLink;
use super::watch_handler::InstanceWatcher;

/// Where the consumers of this program are, and who reads them. A part of the consumers' names.
const PROGRAM: &str = "eventual-batch serve";

/// A watch whose settings are in order.
pub(super) struct FileWatch {
    identity: WatchIdentity,
    raw: RawSettings,
    settings: WatchLinkSettings,
    call_timeout: Duration,
}

impl FileWatch {
    /// Reads the settings of a watch. `call_timeout` is for a watch without `watch_timeout`. An
    /// error is a sentence.
    pub(super) fn read(
        file: FileLink,
        caller: &str,
        call_timeout: Duration,
    ) -> Result<Self, String> {
        let FileLink { name, settings } = file;
        // The same whenever the program is started, so that it finds its place again.
        let identity = WatchIdentity {
            scope: PROGRAM.to_owned(),
            source: PROGRAM.to_owned(),
            target: caller.to_owned(),
            link: name,
        };
        let defaults = RawSettings::default();
        match WatchLinkSettings::read(&settings, &defaults, &identity, call_timeout) {
            Ok(read) => Ok(Self {
                raw: settings,
                settings: read,
                identity,
                call_timeout,
            }),
            Err(error) => Err(format!("watch `{}`: {error}", identity.link)),
        }
    }

    /// How many changes the component is told of at once.
    pub(super) fn in_flight(&self) -> usize {
        self.settings.watch.max_in_flight
    }

    /// Begins to tell the component. `links` are those that it uses buckets by. An error is a sentence.
    pub(super) async fn start(
        self,
        links: &Links,
        own: &[(String, LinkSettings)],
        component: WatcherExport<GuestState>,
        instances: InstanceSettings,
    ) -> Result<(), String> {
        let bucket = self.granted_name(links, own);
        let in_flight = self.in_flight();
        let handler = InstanceWatcher::new(component, instances, &self.identity, bucket, in_flight);
        let name = self.identity.link.clone();
        let put = links.put_watch(
            self.identity,
            self.raw,
            self.call_timeout,
            Arc::new(handler),
        );
        put.await
            .map_err(|error| format!("watch `{name}`: {error}"))
    }

    /// The name by which the component's own links grant the watched bucket.
    ///
    /// A watch grants nothing: the component may be told of changes of a bucket that it must not write.
    fn granted_name(&self, links: &Links, own: &[(String, LinkSettings)]) -> String {
        let caller = &self.identity.target;
        let is_meant = |name: &str| {
            let grant = links.resolve(caller, DEFAULT_LINK, name);
            grant.is_ok_and(|grant| grant.link.name() == name)
        };
        let watched = &self.settings.watch;
        let same = |link: &LinkSettings| {
            let servers = link.connection.display_servers();
            servers == self.settings.connection.display_servers()
                && link.bucket.name == watched.bucket.name
                && link.bucket.domain == watched.bucket.domain
                && link.key_encoding == watched.encoding
        };
        let mut own = own.iter();
        match own.find(|(name, link)| same(link) && is_meant(name)) {
            Some((name, _)) => name.clone(),
            // No link has this name, so the bucket's functions are answered by an error.
            None => format!("the bucket of [watch.{}]", self.identity.link),
        }
    }
}

/// How many changes the component is told of at once, in all watches.
pub(super) fn in_flight(watches: &[FileWatch]) -> u32 {
    let all: usize = watches.iter().map(FileWatch::in_flight).sum();
    u32::try_from(all).unwrap_or(u32::MAX)
}
