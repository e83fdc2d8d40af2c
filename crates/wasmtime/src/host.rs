//! What the stores of a process share, and what each has of its own.

use std::any::Any;
use std::sync::Arc;

use eventual_batch_links::{CallOrigin, DEFAULT_LINK, Links};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use wasmtime::component::ResourceTable;

use crate::limits::{KeyValueLimits, MAX_TOTAL_BYTES, Quota, Usage};

/// What the stores of a process share: the links, the limits, and the writes under way.
///
/// A clone is another handle of the same host.
#[derive(Clone, Debug)]
pub struct KeyValueHost {
    pub(crate) shared: Arc<HostState>,
}

#[derive(Debug)]
pub(crate) struct HostState {
    pub(crate) links: Arc<Links>,
    pub(crate) limits: KeyValueLimits,
    pub(crate) calls: Arc<Semaphore>,
    pub(crate) writes: TaskTracker,
    bytes: Arc<Quota>,
}

impl KeyValueHost {
    /// A host of these links, with the default limits.
    #[must_use]
    pub fn new(links: Arc<Links>) -> Self {
        Self::with_limits(links, KeyValueLimits::default())
    }

    /// A host of these links and limits.
    #[must_use]
    pub fn with_limits(links: Arc<Links>, limits: KeyValueLimits) -> Self {
        Self {
            shared: Arc::new(HostState {
                links,
                limits,
                calls: Arc::new(Semaphore::new(limits.max_calls.min(Semaphore::MAX_PERMITS))),
                writes: TaskTracker::new(),
                bytes: Arc::new(Quota::new(MAX_TOTAL_BYTES, limits.max_total_bytes)),
            }),
        }
    }

    /// The context of one store, whose component reaches what the links of `caller` grant.
    ///
    /// The names `default` and the empty name mean the caller's link `default`, unless
    /// [`KeyValueCtx::with_link`] says otherwise.
    #[must_use]
    pub fn context(&self, caller: impl Into<String>) -> KeyValueCtx {
        let shared = Arc::clone(&self.shared);
        KeyValueCtx {
            usage: Arc::new(Usage::new(&shared.limits, Arc::clone(&shared.bytes))),
            shared,
            guard: None,
            caller: CallOrigin {
                caller: Some(caller.into()),
                link: DEFAULT_LINK.to_owned(),
            },
        }
    }

    /// Waits until the writes under way have ended, those of dropped stores included. Each ends
    /// within its link's `timeout`.
    pub async fn drain(&self) {
        self.shared.writes.close();
        self.shared.writes.wait().await;
        self.shared.writes.reopen();
    }
}

/// Who the component of one store is, and what it holds. Made by [`KeyValueHost::context`].
#[derive(Debug)]
pub struct KeyValueCtx {
    pub(crate) shared: Arc<HostState>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) caller: CallOrigin,
    pub(crate) guard: Option<Arc<dyn Any + Send + Sync>>,
}

impl KeyValueCtx {
    /// Makes `link` the caller's link that the names `default` and the empty name mean.
    #[must_use]
    pub fn with_link(mut self, link: impl Into<String>) -> Self {
        self.caller.link = link.into();
        self
    }

    /// Keeps `guard` until this context is dropped and the writes that began in it have ended. A
    /// permit of a semaphore, for instance, bounds how many stores and writes of dropped stores there
    /// are at once.
    #[must_use]
    pub fn with_guard(mut self, guard: Arc<dyn Any + Send + Sync>) -> Self {
        self.guard = Some(guard);
        self
    }
}

/// A store's context and the table of its resources, as [`KeyValueView`] gives them.
#[derive(Debug)]
pub struct KeyValueCtxView<'a> {
    /// The store's context. Stores that share one share its limits.
    pub ctx: &'a KeyValueCtx,
    /// The table of the store's resources, the one that `wasi:io` uses.
    pub table: &'a mut ResourceTable,
}

/// Implemented by the data of a store, so that the interfaces find their context there.
pub trait KeyValueView: Send {
    /// The store's context and table.
    fn key_value(&mut self) -> KeyValueCtxView<'_>;
}

impl<T: ?Sized + KeyValueView> KeyValueView for &mut T {
    fn key_value(&mut self) -> KeyValueCtxView<'_> {
        T::key_value(self)
    }
}
