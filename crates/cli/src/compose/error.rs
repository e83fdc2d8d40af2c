//! Why a component could not be composed.

use thiserror::Error;

use super::shape::Shape;

/// What another library said.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a component could not be composed with the adapter.
#[derive(Debug, Error)]
pub enum ComposeError {
    /// The file to compose is no component.
    #[error("this is not a component that can be read")]
    BadComponent(#[source] Source),

    /// The adapter's file is no component.
    #[error("the adapter is not a component that can be read")]
    BadAdapter(#[source] Source),

    /// The adapter's file is a component, but another one.
    #[error("the adapter is another component: it does not export `{missing}`")]
    OtherAdapter {
        /// The first interface that it should export and does not.
        missing: &'static str,
    },

    /// The component has no use for the adapter.
    #[error(
        "the component does not import `wasi:keyvalue/eventual-batch@0.1.0`, nor `eventual` or `atomic` \
         of that package, so there is nothing to compose. A world that imports an interface and never \
         calls it loses the import when it is built. {}",
        imported(imports)
    )]
    NotImported {
        /// Its keyvalue imports, or all of its imports if none is of that kind.
        imports: Vec<String>,
    },

    /// The component imports keyvalue interfaces that a host carries as they are.
    #[error(
        "the component needs no adapter: it imports {}, which a wasmCloud 1.x host carries to the \
         provider. Put a link for that, and deploy the component as it is",
        quoted(imports)
    )]
    NeedsNoAdapter {
        /// Which ones.
        imports: Vec<String>,
    },

    /// The component was composed before.
    #[error("the component is composed already: it imports `{imported}` itself")]
    AlreadyComposed {
        /// The import.
        imported: &'static str,
    },

    /// The component imports the interface in a version that the adapter does not answer.
    #[error(
        "the component imports `{imported}`; the adapter answers version 0.1.0 only. Build the \
         component against the WIT package wasi:keyvalue@0.1.0"
    )]
    OtherVersion {
        /// The import, with its version.
        imported: String,
    },

    /// The component imports an interface of the right name and version with other functions.
    #[error(
        "the component imports a `{interface}` that is not the one the adapter answers (compare the \
         WIT it was built against with the project's)"
    )]
    Mismatch {
        /// The import.
        interface: &'static str,
        /// What does not fit.
        source: Source,
    },

    /// The component imports an interface that is made with the adapter's types and that the adapter
    /// does not answer.
    #[error(
        "the component imports `{imported}`, which uses the types of wasi:keyvalue@0.1.0 and \
         which the adapter does not answer; of that package it answers eventual-batch, eventual and \
         atomic"
    )]
    Shared {
        /// The other interface.
        imported: String,
    },

    /// The adapter is of the other shape of `wasi:keyvalue@0.1.0`.
    #[error(
        "the adapter is of the {given} shape of wasi:keyvalue@0.1.0, and the component of the \
         {asked_for} one. Leave out --adapter, or name the adapter of the {asked_for} shape"
    )]
    OtherShape {
        /// The component's shape.
        asked_for: Shape,
        /// The adapter's.
        given: Shape,
    },

    /// The composition itself failed.
    #[error("the component and the adapter do not fit together")]
    Impossible(#[source] Source),
}

impl ComposeError {
    /// Whether the adapter is to blame, and not the component.
    #[must_use]
    pub fn is_of_adapter(&self) -> bool {
        matches!(
            self,
            Self::BadAdapter(_) | Self::OtherAdapter { .. } | Self::OtherShape { .. }
        )
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn imported(imports: &[String]) -> String {
    if imports.is_empty() {
        "It imports nothing.".to_owned()
    } else {
        format!("It imports: {}.", imports.join(", "))
    }
}
