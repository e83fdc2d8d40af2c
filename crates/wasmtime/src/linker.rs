//! The interfaces in a linker.

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime::{Result, StoreContextMut};

use crate::bindings::draft::wasi::keyvalue0_2_0_draft as draft;
use crate::bindings::released::wasi::keyvalue0_1_0 as released;
use crate::host::{KeyValueCtxView, KeyValueView};
use crate::resources::IncomingBytes;

struct HasKeyValue;

impl HasData for HasKeyValue {
    type Data<'a> = KeyValueCtxView<'a>;
}

/// Adds `wasi:keyvalue@0.1.0` and `wasi:keyvalue@0.2.0-draft` to a linker.
///
/// Of 0.1.0 these are the interfaces `wasi-keyvalue-error`, `types`, `eventual`, `atomic` and
/// `eventual-batch`, for components of either shape that bears this version; of the draft `store`,
/// `batch` and `atomics`. The linker needs `wasi:io` as well, as `wasmtime-wasi` or
/// `wasmtime-wasi-io` adds it for async hosts.
///
/// # Errors
///
/// The linker has one of the interfaces already.
pub fn add_to_linker<T: KeyValueView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    add_to_linker_with(linker, T::key_value)
}

/// As [`add_to_linker`], for stores whose data is a type of another crate, which cannot implement
/// [`KeyValueView`] there. `view` finds the context in such data.
///
/// # Errors
///
/// The linker has one of the interfaces already.
pub fn add_to_linker_with<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> KeyValueCtxView<'_>,
) -> Result<()> {
    released::wasi_keyvalue_error::add_to_linker::<_, HasKeyValue>(linker, view)?;
    released::types::add_to_linker::<_, HasKeyValue>(linker, view)?;
    released::eventual::add_to_linker::<_, HasKeyValue>(linker, view)?;
    released::atomic::add_to_linker::<_, HasKeyValue>(linker, view)?;
    released::eventual_batch::add_to_linker::<_, HasKeyValue>(linker, view)?;
    add_older_shape(linker, view)?;
    draft::store::add_to_linker::<_, HasKeyValue>(linker, view)?;
    draft::atomics::add_to_linker::<_, HasKeyValue>(linker, view)?;
    draft::batch::add_to_linker::<_, HasKeyValue>(linker, view)
}

/// In the older shape of 0.1.0 a value's `consume` functions are methods, which borrow the value.
/// Both names stand side by side in the one instance, and a component asks for one of them.
fn add_older_shape<T: 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> KeyValueCtxView<'_>,
) -> Result<()> {
    let mut types = linker.instance("wasi:keyvalue/types@0.1.0")?;
    types.func_wrap(
        "[method]incoming-value.incoming-value-consume-sync",
        move |mut store: StoreContextMut<'_, T>, (value,): (Resource<IncomingBytes>,)| {
            let mut view = view(store.data_mut());
            Ok((view.read_sync(&value)?,))
        },
    )?;
    types.func_wrap(
        "[method]incoming-value.incoming-value-consume-async",
        move |mut store: StoreContextMut<'_, T>, (value,): (Resource<IncomingBytes>,)| {
            let mut view = view(store.data_mut());
            Ok((view.read_async(&value)?,))
        },
    )
}
