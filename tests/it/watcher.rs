//! Components that are told of changes: the provider as the source of a link.

mod busy;
mod changed_links;
mod delivery;
mod instances;
mod lifecycle;
mod setup;
mod troubles;
