//! Rust source text as tokens: just enough to find imports, modules and the names of types.

/// Identifiers, `::` and single punctuation characters, in order.
///
/// Comments, literals, lifetimes and items under `#[cfg(test)]` are left out.
pub(super) fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = string(rest) {
            length
        } else if first == '\'' {
            character_or_lifetime(rest)
        } else if is_word(first) {
            let length = word(rest);
            tokens.push(&rest[..length]);
            length
        } else if rest.starts_with("::") {
            tokens.push(&rest[..2]);
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(&rest[..first.len_utf8()]);
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    without_tests(&tokens)
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn word(text: &str) -> usize {
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        at += if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth -= 1;
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        if depth == 0 {
            break;
        }
    }
    at.min(text.len())
}

/// The length of the string literal that the text begins with, if it begins with one.
fn string(text: &str) -> Option<usize> {
    let prefix = word(text);
    if !["", "b", "c", "r", "br", "cr"].contains(&&text[..prefix]) {
        return None;
    }
    let raw = text[..prefix].ends_with('r');
    let after = &text[prefix..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    if !after[hashes..].starts_with('"') || (!raw && hashes > 0) {
        return None;
    }
    let begin = prefix + hashes + 1;
    let body = &text[begin..];
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(begin + body.find(&end).map_or(body.len(), |at| at + end.len()));
    }
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(begin + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

fn character_or_lifetime(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    let Some((at, first)) = chars.next() else {
        return text.len();
    };
    if first == '\\' {
        // The character after the backslash may itself be a quote.
        let body = at + 2;
        let end = text.get(body..).and_then(|rest| rest.find('\''));
        return end.map_or(text.len(), |end| body + end + 1);
    }
    match chars.next() {
        Some((at, '\'')) => at + 1,
        _ => 1 + word(&text[1..]),
    }
}

/// Leaves out each item that follows `#[cfg(test)]`.
fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        if let Some(item) = rest.strip_prefix(&ATTRIBUTE) {
            rest = &item[item_length(item)..];
        } else {
            kept.push(*first);
            rest = after;
        }
    }
    kept
}

/// Up to the item's closing brace, or to its semicolon.
fn item_length(tokens: &[&str]) -> usize {
    let (mut brackets, mut braces) = (0_usize, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.saturating_sub(1),
            "{" => braces += 1,
            "}" => braces = braces.saturating_sub(1),
            _ => {}
        }
        if brackets == 0 && braces == 0 && (*token == "}" || *token == ";") {
            return at + 1;
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_comments_and_literals() {
        let text = r##"
            //! use crate::comment;
            /* use /* crate::nested */ crate::block; */
            fn a<'a>(x: &'a str) -> char { f("use \" crate::s", r#"raw " crate::r"#, b"x"); '\'' }
            const C: char = '"'; r::b
        "##;
        assert_eq!(
            tokens(text).join(" "),
            "fn a < > ( x : & str ) - > char { f ( , , ) ; } const C : char = ; r :: b"
        );
    }

    #[test]
    fn leaves_out_items_of_tests() {
        let text = "a; #[cfg(test)] #[path = \"x\"] mod tests { fn b() { c } } d \
                    #[cfg(test)] mod e; #[cfg(test)] use f::{g, h}; i";
        assert_eq!(tokens(text).join(" "), "a ; d ; i");
    }
}
