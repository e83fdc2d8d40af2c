//! Circles in a graph.

use std::collections::{BTreeMap, BTreeSet};

/// One circle for each edge that leads back to a node on the way to it.
pub(super) fn circles_among(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    fn visit<'a>(
        node: &'a str,
        edges: &'a BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        found: &mut Vec<Vec<String>>,
    ) {
        if let Some(begin) = way.iter().position(|&other| other == node) {
            let circle = way[begin..].iter().chain([&node]);
            found.push(circle.map(|&name| name.to_owned()).collect());
            return;
        }
        if done.contains(node) {
            return;
        }
        way.push(node);
        for next in edges.get(node).into_iter().flatten() {
            visit(next, edges, way, done, found);
        }
        way.pop();
        done.insert(node);
    }
    let (mut done, mut found) = (BTreeSet::new(), Vec::new());
    for node in edges.keys() {
        visit(node, edges, &mut Vec::new(), &mut done, &mut found);
    }
    found
}
