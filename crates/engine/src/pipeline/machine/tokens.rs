//! The tokens of a run: the last tokens of its reply subjects.

use std::ops::Range;

/// How many tokens a run of `len` items uses. Each item has two: one for when it is sent by itself,
/// and one for a group of several items that begins with it. A run of one item needs no groups.
pub(crate) fn token_count(len: usize) -> usize {
    if len == 1 { 1 } else { 2 * len }
}

/// The token of a new group of these items, in a run of `len` items.
pub(super) fn group_token(group: &Range<usize>, len: usize) -> usize {
    if group.len() == 1 {
        group.start
    } else {
        len + group.start
    }
}
