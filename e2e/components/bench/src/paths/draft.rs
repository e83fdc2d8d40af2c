//! `wasi:keyvalue/batch@0.2.0-draft`

use wasmcloud_component::wasi::keyvalue::{batch, store};

use super::{Bytes, Path};

pub struct Draft(store::Bucket);

impl Path for Draft {
    fn open(name: &str) -> Result<Self, String> {
        store::open(name).map(Self).map_err(debug)
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, String> {
        let values = batch::get_many(&self.0, keys).map_err(debug)?;
        let bytes = |value: Option<_>| value.map(|(_, bytes)| bytes);
        Ok(values.into_iter().map(bytes).collect())
    }

    fn set_many(&self, values: &[(String, Bytes)]) -> Result<(), String> {
        batch::set_many(&self.0, values).map_err(debug)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn debug(error: store::Error) -> String {
    format!("{error:?}")
}
