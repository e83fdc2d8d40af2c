//! The error that a component answers with, for the log.

use std::fmt::{self, Debug, Display, Formatter, Write};

/// How much of an error is shown, in characters.
const MAX_CHARS: usize = 256;

/// The beginning of an error code as `Debug` shows it.
#[derive(Debug)]
pub(super) struct ShownCode {
    text: String,
    left: usize,
}

impl ShownCode {
    pub(super) fn new(code: &impl Debug) -> Self {
        let mut shown = Self {
            text: String::new(),
            left: MAX_CHARS,
        };
        // An error says that there is more.
        if write!(shown, "{code:?}").is_err() {
            shown.text.push('\u{2026}');
        }
        shown
    }

    /// The error's case, which is none of the component's words.
    pub(super) fn case(&self) -> &str {
        let (path, _) = self.text.split_once('(').unwrap_or((&self.text, ""));
        path.rsplit("::").next().unwrap_or_default()
    }
}

impl Write for ShownCode {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(c);
        }
        Ok(())
    }
}

impl Display for ShownCode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

    use super::*;

    #[test]
    fn the_words_of_a_component_are_cut_short() {
        let long = ErrorCode::InternalError(Some("word\n".repeat(1_000_000)));
        let shown = ShownCode::new(&long);
        assert_eq!(shown.case(), "InternalError");
        let text = shown.to_string();
        assert_eq!(text.chars().count(), MAX_CHARS + 1);
        assert!(text.contains(r#"(Some("word\nword"#), "{text}");
        let short = ShownCode::new(&ErrorCode::DestinationNotFound);
        assert_eq!(short.case(), "DestinationNotFound");
        assert!(short.to_string().ends_with("DestinationNotFound"));
    }
}
