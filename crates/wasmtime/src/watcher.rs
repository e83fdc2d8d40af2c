//! Components that are told of changes: `wasi:keyvalue/watcher@0.2.0-draft`, which they export.

use std::fmt;

use wasmtime::component::{InstancePre, Resource};
use wasmtime::{Result, Store};

use crate::bindings::told::WatcherPre;
use crate::host::KeyValueView;
use crate::resources::OpenBucket;

/// A component that is told of the changes of a bucket, ready to be instantiated.
///
/// The component is given a bucket as if it had opened one by its name, without a round trip: the
/// bucket's functions reach what the links of the store's caller grant under this name.
pub struct WatcherExport<T: 'static>(WatcherPre<T>);

impl<T: 'static> Clone for WatcherExport<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: 'static> fmt::Debug for WatcherExport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherExport").finish_non_exhaustive()
    }
}

impl<T: KeyValueView + 'static> WatcherExport<T> {
    /// The interface that the component exports.
    pub const INTERFACE: &str = "wasi:keyvalue/watcher@0.2.0-draft";

    /// Finds the interface in a component.
    ///
    /// # Errors
    ///
    /// The component does not export it, or exports something else under its name.
    pub fn new(component: InstancePre<T>) -> Result<Self> {
        WatcherPre::new(component).map(Self)
    }

    /// Tells a new instance of the component that `key` has this value now.
    ///
    /// # Errors
    ///
    /// The component cannot be instantiated, or has trapped.
    pub async fn on_set(
        &self,
        store: &mut Store<T>,
        bucket: &str,
        key: &str,
        value: &[u8],
    ) -> Result<()> {
        let told = self.0.instantiate_async(&mut *store).await?;
        let bucket = open(store, bucket)?;
        let watcher = told.wasi_keyvalue0_2_0_draft_watcher();
        watcher.call_on_set(store, bucket, key, value).await
    }

    /// Tells a new instance of the component that `key` has no value now.
    ///
    /// # Errors
    ///
    /// The component cannot be instantiated, or has trapped.
    pub async fn on_delete(&self, store: &mut Store<T>, bucket: &str, key: &str) -> Result<()> {
        let told = self.0.instantiate_async(&mut *store).await?;
        let bucket = open(store, bucket)?;
        let watcher = told.wasi_keyvalue0_2_0_draft_watcher();
        watcher.call_on_delete(store, bucket, key).await
    }
}

fn open<T: KeyValueView>(store: &mut Store<T>, name: &str) -> Result<Resource<OpenBucket>> {
    let view = store.data_mut().key_value();
    let charge = view.ctx.usage.charge(0)?;
    Ok(view.table.push(OpenBucket::new(name, charge))?)
}
