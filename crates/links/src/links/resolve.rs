//! Which bucket a name in a call means.

use std::sync::Arc;

use eventual_batch_engine::{Bucket, shorten};
use opentelemetry::KeyValue;

use super::error::LinkError;
use super::link::{GrantedBucket, Link};
use super::{Entry, LinkState, Links, SHOWN_NAME_CHARS};

/// A bucket that a call may use, and the link that says how.
#[derive(Debug)]
pub struct Grant {
    /// The link that grants it.
    pub link: Arc<Link>,
    /// The bucket.
    pub bucket: Arc<Bucket>,
    /// The bucket's name, in the form that metrics use.
    pub(crate) attribute: KeyValue,
}

impl Grant {
    fn new(link: Arc<Link>, granted: &GrantedBucket) -> Self {
        let GrantedBucket { bucket, attribute } = granted.clone();
        Self {
            link,
            bucket,
            attribute,
        }
    }
}

impl Links {
    /// The bucket that `name` means in a call of `caller` over its link `link`. In this order:
    ///
    /// 1. the link's own bucket: an empty name, `default`, the link's name, or the bucket's name;
    /// 2. the own bucket of the caller's other link that has this name. The work then has the
    ///    limits and the timeout of that link. While parameters come in, those of `link` apply
    ///    ([`Call::limits`](crate::Call::limits));
    /// 3. an entry of the link's `buckets`, by its alias.
    ///
    /// Only links of the same caller are looked at.
    ///
    /// # Errors
    ///
    /// The link does not exist, it was refused, or it does not grant a bucket of that name.
    pub fn resolve(&self, caller: &str, link: &str, name: &str) -> Result<Grant, LinkError> {
        let by_caller = self.read();
        let links = by_caller.get(caller);
        let entry = |name: &str| links.and_then(|links| links.get(name));
        let own = entry(link).ok_or_else(|| LinkError::NotLinked {
            caller: shorten(caller, SHOWN_NAME_CHARS),
            link: shorten(link, SHOWN_NAME_CHARS),
        })?;
        let own = usable_link(caller, link, own)?;
        if own.is_own_name(name) {
            return Ok(Grant::new(Arc::clone(&own), own.bucket()));
        }
        if let Some(other) = entry(name) {
            let other = usable_link(caller, name, other)?;
            return Ok(Grant::new(Arc::clone(&other), other.bucket()));
        }
        match own.additional_bucket(name) {
            Some(granted) => Ok(Grant::new(Arc::clone(&own), granted)),
            None => Err(LinkError::NotGranted {
                link: link.to_owned(),
                name: shorten(name, SHOWN_NAME_CHARS),
            }),
        }
    }
}

fn usable_link(caller: &str, name: &str, entry: &Entry) -> Result<Arc<Link>, LinkError> {
    match &entry.state {
        LinkState::Ready(link) => Ok(Arc::clone(link)),
        LinkState::Refused(error) => Err(LinkError::Refused {
            caller: caller.to_owned(),
            link: name.to_owned(),
            reason: error.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::settings::RawSettings;

    async fn put(links: &Links, caller: &str, link: &str, settings: &[(&str, &str)]) {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut settings: HashMap<_, _> = settings.iter().map(own).collect();
        // Nobody listens there, and no name needs a server to be resolved.
        settings.insert("cluster_uri".to_owned(), "nats://127.0.0.1:9".to_owned());
        let settings = RawSettings::new(settings, HashMap::new());
        links.put(caller, link, settings).await.unwrap();
    }

    #[tokio::test]
    async fn a_name_is_looked_for_in_this_order() {
        let links = Links::new("test", RawSettings::default(), Duration::from_secs(1));
        let aliases = "archive=old-orders,stock=never";
        let orders = [("bucket", "orders"), ("buckets", aliases)];
        put(&links, "shop", "default", &orders).await;
        put(&links, "shop", "stock", &[("bucket", "stock-1")]).await;
        put(&links, "other", "secret", &[("bucket", "secret-1")]).await;
        let reached = |link: &str, name: &str| {
            let grant = links.resolve("shop", link, name)?;
            Ok::<_, LinkError>(grant.bucket.name().to_owned())
        };
        for (link, name, bucket) in [
            ("default", "", "orders"),
            ("default", "default", "orders"),
            ("default", "orders", "orders"),
            ("default", "archive", "old-orders"),
            // The caller's link goes before the alias.
            ("default", "stock", "stock-1"),
            ("stock", "stock", "stock-1"),
            // The own bucket goes before the link `default`.
            ("stock", "default", "stock-1"),
        ] {
            let reached = reached(link, name);
            assert_eq!(reached.as_deref(), Ok(bucket), "{link:?} {name:?}");
        }
        // Nor an alias of another link, another link's bucket by its own name, or another caller.
        for (link, name) in [
            ("stock", "archive"),
            ("default", "stock-1"),
            ("default", "old-orders"),
            ("default", "secret"),
            ("default", "secret-1"),
        ] {
            let error = reached(link, name).unwrap_err();
            assert!(matches!(error, LinkError::NotGranted { .. }), "{error}");
        }
        let error = links.resolve("shop", "secret", "").unwrap_err();
        assert!(matches!(error, LinkError::NotLinked { .. }), "{error}");
    }
}
