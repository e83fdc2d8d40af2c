//! `eventual-batch compose` on real components: what comes out, and what it says where nothing can.
//!
//! Adapters and components are made from their WIT, with functions that do nothing: the command looks
//! at types only.

#![allow(clippy::unwrap_used)]

mod answered;
mod bench;
mod components;
mod golem;
mod interfaces;
mod refused;
mod shapes;
