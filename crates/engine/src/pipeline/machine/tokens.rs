//! The tokens of a run: the last tokens of its reply subjects.

use std::ops::Range;

/// How many tokens a run of `len` items uses. Each item has a token of its own, and one for the
/// group that begins with the item. A single item is never a group.
pub(crate) fn token_count(len: usize) -> usize {
    if len == 1 { 1 } else { 2 * len }
}

/// The token of a new group of these items, in a run of `len` items.
pub(super) fn token_of(group: &Range<usize>, len: usize) -> usize {
    if group.len() == 1 {
        group.start
    } else {
        len + group.start
    }
}
