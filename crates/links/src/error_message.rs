//! The message of an error for its caller.

use crate::call::CallError;
use crate::hints::{setting_hint, with_hint};
use crate::links::LinkError;

/// The whole text of an error, for front ends that add no hints of their own: the error, and what
/// to do about it.
#[must_use]
pub fn error_message(error: &CallError) -> String {
    let hint = match error {
        CallError::Engine(error) => setting_hint(error).map(str::to_owned),
        CallError::Link(LinkError::NotGranted { name, .. }) => Some(format!(
            "use `default` for the link's bucket, or add the name to the link's `buckets`, or put a \
             link named {name:?}"
        )),
        CallError::Link(_) | CallError::Rejected { .. } | CallError::Shed { .. } => None,
    };
    with_hint(error, hint)
}
