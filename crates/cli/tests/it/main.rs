//! `eventual-batch serve` as its users see it: the program, real components and real servers.

#![allow(clippy::unwrap_used)]

mod components;
mod example;
mod limits;
mod links;
mod misbehaving;
mod open_files;
mod outage;
mod start;
mod stop;
mod support;
mod telemetry;
mod watch;
