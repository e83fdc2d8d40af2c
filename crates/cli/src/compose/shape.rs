//! The two shapes of `wasi:keyvalue@0.1.0`.

use std::fmt;

use wac_graph::types::{ItemKind, Types};

/// One of the two shapes that bear the version 0.1.0. They differ in the functions that consume an
/// incoming value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The functions are static, and take the value. This project's WIT has this shape.
    Newer,
    /// The functions are methods. Golem's SDKs have this shape.
    Older,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Newer => "newer",
            Self::Older => "older",
        })
    }
}

impl Shape {
    /// The shape that these imports or exports of a component tell, if they have one of the functions.
    pub(super) fn of_items<'a>(
        types: &Types,
        items: impl IntoIterator<Item = (&'a String, &'a ItemKind)>,
    ) -> Option<Self> {
        let mut items = items.into_iter();
        let (_, item) = items.find(|(name, _)| *name == "wasi:keyvalue/types@0.1.0")?;
        let ItemKind::Instance(id) = item else {
            return None;
        };
        types[*id].exports.keys().find_map(|function| {
            let (kind, name) = function.split_once(']')?;
            let consumes = name.starts_with("incoming-value.incoming-value-consume-");
            match kind {
                "[static" if consumes => Some(Self::Newer),
                "[method" if consumes => Some(Self::Older),
                _ => None,
            }
        })
    }
}
