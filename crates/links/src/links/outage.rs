//! Links that do not work now.

use std::fmt;

use eventual_batch_engine::Outage;

use super::{LinkState, Links};

/// A link that does not work now, because its connection is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkOutage {
    /// The caller.
    pub caller: String,
    /// The link's name.
    pub link: String,
    /// The servers of its bucket, without credentials.
    pub servers: String,
    /// Why the connection is down.
    pub outage: Outage,
}

impl fmt::Display for LinkOutage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            caller,
            link,
            servers,
            outage,
        } = self;
        write!(
            f,
            "link {link:?} from {caller:?}: NATS at {servers}: {outage}"
        )
    }
}

impl Links {
    /// The links whose connection is down now.
    ///
    /// A refused link is not one of them. Its configuration is wrong, which the log and every
    /// answer say.
    #[must_use]
    pub fn outages(&self) -> Vec<LinkOutage> {
        let by_caller = self.read();
        let links = by_caller.iter().flat_map(|(caller, links)| {
            links.iter().map(move |(name, entry)| (caller, name, entry))
        });
        let mut outages: Vec<LinkOutage> = links
            .filter_map(|(caller, name, entry)| match &entry.state {
                LinkState::Refused(_) => None,
                LinkState::Ready(link) => Some(LinkOutage {
                    caller: caller.clone(),
                    link: name.clone(),
                    servers: link.connection().servers().to_owned(),
                    outage: link.connection().outage()?,
                }),
            })
            .collect();
        outages.sort_unstable_by(|one, other| {
            (&one.caller, &one.link).cmp(&(&other.caller, &other.link))
        });
        outages
    }
}
