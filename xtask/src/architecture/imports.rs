//! Which modules of a crate import each other, and whether they do so in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::circles::circles_among;
use super::files::rust_files;
use super::tokens::tokens;

/// A module's path in its crate. The crate's root is empty.
type ModulePath = Vec<String>;

/// The modules of one crate.
#[derive(Default)]
pub(super) struct Modules(BTreeMap<ModulePath, Module>);

#[derive(Default)]
struct Module {
    /// What each imported name stands for, as the module writes it.
    imports: BTreeMap<String, Vec<String>>,
    /// All paths that begin with `crate`, `self` or `super`, and those of all imports.
    mentions: Vec<Vec<String>>,
}

impl Modules {
    /// Reads the crate below this `src` directory.
    pub(super) fn read(src: &Path) -> Result<Self> {
        let mut modules = Self::default();
        let library = src.join("lib.rs").exists();
        for file in rust_files(src)? {
            let inside = file.strip_prefix(src).unwrap_or(&file).with_extension("");
            let mut path: ModulePath = inside
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            match path.last().map(String::as_str) {
                // A binary beside a library is a crate of its own, on top of the library.
                Some("main") if library => continue,
                Some("lib" | "main") => path.clear(),
                _ => {}
            }
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            modules.add(path, &text);
        }
        Ok(modules)
    }

    /// Adds a file, with the modules that it has inline.
    fn add(&mut self, file: ModulePath, text: &str) {
        let all = tokens(text);
        let mut rest = all.as_slice();
        let mut depth = 0;
        // The modules around, each with the depth of braces at which it ends.
        let mut around = vec![(0, file)];
        while let Some((token, after)) = rest.split_first() {
            let Some((_, path)) = around.last().cloned() else {
                break;
            };
            let module = self.0.entry(path.clone()).or_default();
            rest = after;
            match (*token, after) {
                ("mod", [name, "{", inside @ ..]) => {
                    let mut inner = path;
                    inner.push((*name).to_owned());
                    around.push((depth, inner));
                    depth += 1;
                    rest = inside;
                }
                ("{", _) => depth += 1,
                ("}", _) => {
                    depth -= 1;
                    if around.len() > 1 && around.last().is_some_and(|(end, _)| *end == depth) {
                        around.pop();
                    }
                }
                // `use<'a>` is a bound of an `impl` type, and imports nothing.
                ("use", [next, ..]) if *next != "<" => rest = module.import(after, &[]),
                ("crate" | "self" | "super", ["::", ..]) => {
                    let (mention, after) = simple_path(std::slice::from_ref(token), after);
                    module.mentions.push(mention);
                    rest = after;
                }
                _ => {}
            }
        }
    }

    /// Every circle of imports among modules with the same parent, in words. A module counts as one
    /// with the modules inside it.
    pub(super) fn circles(&self) -> Vec<String> {
        let mut edges: BTreeMap<ModulePath, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (path, module) in &self.0 {
            for mention in &module.mentions {
                let Some(target) = self.resolve(path, mention, 0) else {
                    continue;
                };
                let shared = path.iter().zip(&target).take_while(|(a, b)| a == b).count();
                if let (Some(from), Some(to)) = (path.get(shared), target.get(shared)) {
                    let siblings = edges.entry(path[..shared].to_vec()).or_default();
                    siblings.entry(from.clone()).or_default().insert(to.clone());
                }
            }
        }
        let mut circles = Vec::new();
        for (parent, siblings) in &edges {
            for circle in circles_among(siblings) {
                let parent = [&["crate".to_owned()], parent.as_slice()]
                    .concat()
                    .join("::");
                circles.push(format!("in {parent}: {}", circle.join(" → ")));
            }
        }
        circles
    }

    /// The module in which the item of a path is, followed through re-exports. Nothing for an item
    /// of another crate.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<ModulePath> {
        const RE_EXPORTS: usize = 16;
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => ModulePath::new(),
            "self" => from.to_vec(),
            "super" => {
                let mut parent = from.split_last()?.1;
                while let Some(("super", after)) = rest.split_first().map(|(s, r)| (s.as_str(), r))
                {
                    parent = parent.split_last()?.1;
                    rest = after;
                }
                parent.to_vec()
            }
            _ => {
                rest = path;
                from.to_vec()
            }
        };
        let relative = rest.len() == path.len();
        for (number, name) in rest.iter().enumerate() {
            let child = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.0.contains_key(&child) {
                at = child;
                continue;
            }
            let import = self.0.get(&at).and_then(|module| module.imports.get(name));
            match import.filter(|import| depth < RE_EXPORTS && *import != path) {
                Some(import) => at = self.resolve(&at, import, depth + 1)?,
                None if relative && number == 0 => return None,
                None => return Some(at),
            }
        }
        Some(at)
    }
}

impl Module {
    /// Reads the tree of a `use` after the path `before`, and gives what follows it.
    fn import<'a, 't>(&mut self, tokens: &'a [&'t str], before: &[&'t str]) -> &'a [&'t str] {
        let mut path = before.to_vec();
        let mut rest = tokens;
        while let Some((token, after)) = rest.split_first() {
            match *token {
                "::" => {}
                "{" => {
                    rest = after;
                    while !matches!(rest.first(), None | Some(&"}")) {
                        rest = self.import(rest, &path);
                        rest = rest.strip_prefix(&[","]).unwrap_or(rest);
                    }
                    return rest.get(1..).unwrap_or_default();
                }
                "," | "}" | ";" => break,
                "as" => {
                    let name = after.first().copied().unwrap_or_default();
                    self.bind(name, &path);
                    return after.get(1..).unwrap_or_default();
                }
                name => path.push(name),
            }
            rest = after;
        }
        if path.last() == Some(&"self") && path.len() > 1 {
            path.pop();
        }
        let name = path.last().copied().unwrap_or_default();
        self.bind(name, &path);
        rest
    }

    fn bind(&mut self, name: &str, path: &[&str]) {
        let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
        self.mentions.push(path.clone());
        self.imports.insert(name.to_owned(), path);
    }
}

/// Reads on from the first segments of a path, and gives the path and what follows it.
fn simple_path<'a, 't>(first: &[&str], tokens: &'a [&'t str]) -> (Vec<String>, &'a [&'t str]) {
    let mut path: Vec<String> = first.iter().map(|&part| part.to_owned()).collect();
    let mut rest = tokens;
    while let ["::", name, after @ ..] = rest {
        if !name.starts_with(|c: char| c == '_' || c.is_alphabetic()) {
            break;
        }
        path.push((*name).to_owned());
        rest = after;
    }
    (path, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let mut modules = Modules::default();
        for (path, text) in files {
            let path = path.split_terminator("::").map(str::to_owned).collect();
            modules.add(path, text);
        }
        modules.circles()
    }

    #[test]
    fn finds_a_circle_of_three_modules() {
        let files = [
            ("", "mod a; mod b; mod c;"),
            ("a", "use crate::b::B;"),
            ("b", "use super::{c::C, Unrelated};"),
            ("c", "fn f() -> crate::a::A { todo!() }"),
        ];
        assert_eq!(circles(&files), ["in crate: a → b → c → a"]);
        assert_eq!(circles(&files[..3]), [""; 0]);
    }

    #[test]
    fn finds_a_circle_through_a_submodule() {
        let files = [
            ("", "mod a; mod b;"),
            ("a", "mod inner;"),
            ("a::inner", "use std::fmt; use crate::b;"),
            ("b", "use super::a::inner::Thing as Other;"),
        ];
        assert_eq!(circles(&files), ["in crate: a → b → a"]);
    }

    #[test]
    fn finds_a_circle_among_submodules() {
        let files = [
            ("", "mod a;"),
            ("a", "mod x; mod y;"),
            ("a::x", "use super::y::Y;"),
            ("a::y", "use crate::a::{self, x::{X, Z}};"),
        ];
        assert_eq!(circles(&files), ["in crate::a: x → y → x"]);
    }

    #[test]
    fn follows_re_exports() {
        let files = [
            ("", "mod a; mod b; pub use a::A; pub use b::B as Renamed;"),
            ("a", "use crate::Renamed;"),
            ("b", "use crate::A;"),
        ];
        assert_eq!(circles(&files), ["in crate: a → b → a"]);
    }

    #[test]
    fn a_module_counts_as_one_with_its_submodules() {
        let files = [
            ("", "mod a; use a::A;"),
            ("a", "mod inner; use inner::Inner; pub(crate) struct A;"),
            (
                "a::inner",
                "use super::A; use crate::A as Same; pub(super) struct Inner;",
            ),
        ];
        assert_eq!(circles(&files), [""; 0]);
    }

    #[test]
    fn a_bound_of_captured_lifetimes_imports_nothing() {
        let captured = "fn f() -> impl Sized + use<'_> { a; b }";
        assert_eq!(circles(&[("a", captured)]), Vec::<String>::new());
    }

    #[test]
    fn inline_modules_count_and_tests_do_not() {
        let inline = "mod a { use super::b::B; } mod b { fn f() { super::a::g() } }";
        assert_eq!(circles(&[("", inline)]), ["in crate: a → b → a"]);
        let of_tests = [
            ("", "mod a; mod b;"),
            ("a", "use crate::b;"),
            ("b", "#[cfg(test)] mod tests { use crate::a; }"),
        ];
        assert_eq!(circles(&of_tests), [""; 0]);
    }
}
