//! A component that exports `wasi:keyvalue@0.1.0` and imports `wrpc:keyvalue@0.1.0`.
//!
//! A wasmCloud 1.x host carries an import that it does not know itself over the lattice, but no
//! lists of resources. So this component is composed into the one that uses the interface: the
//! resources live and die here, and each call becomes one call of plain values.
//!
//! Two shapes of `wasi:keyvalue` bear the version 0.1.0. With the feature `older-shape` this is the
//! adapter of the older one; the package `eventual-batch-adapter-older` builds it so.
//!
//! It is built without the standard library, which would import the system interfaces that a panic
//! message, an environment and a clock need. What it imports beside the lattice's interfaces are the
//! two stream types that `wasi:keyvalue` names.

#![cfg_attr(target_family = "wasm", no_std)]

extern crate alloc;

mod atomic;
mod batch;
mod bindings;
mod error;
mod eventual;
#[cfg(target_family = "wasm")]
mod runtime;
mod values;

/// Implements what the world exports.
struct Adapter;
