//! A secret of a link: the file says where it is, and not what it is.

use std::env;
use std::path::Path;

use eventual_batch_engine::Secret;
use toml::Value;

use super::error::LinkProblem;
use super::{is_secret_setting, is_setting, read_text, unknown};

/// Whether a link looks for this setting among its secrets.
pub(super) fn allowed(key: &str) -> Result<(), LinkProblem> {
    if !is_setting(key) {
        Err(unknown(key))
    } else if is_secret_setting(key) {
        Ok(())
    } else {
        Err(LinkProblem::NotASecret(key.to_owned()))
    }
}

/// Fetches the secret from where the value says that it is.
pub(super) fn read(key: &str, value: &Value) -> Result<Secret, LinkProblem> {
    let no_place = || LinkProblem::NoPlace(key.to_owned());
    let place = value
        .as_table()
        .filter(|place| place.len() == 1)
        .and_then(|place| place.iter().next())
        .ok_or_else(no_place)?;
    match place {
        (kind, Value::String(variable)) if kind == "env" => of_variable(key, variable),
        (kind, Value::String(path)) if kind == "file" => of_file(key, path),
        _ => Err(no_place()),
    }
}

fn of_variable(key: &str, variable: &str) -> Result<Secret, LinkProblem> {
    env::var(variable)
        .map(Secret::new)
        .map_err(|error| LinkProblem::Variable {
            key: key.to_owned(),
            variable: variable.to_owned(),
            problem: match error {
                env::VarError::NotPresent => "is not set",
                env::VarError::NotUnicode(_) => "is not UTF-8",
            },
        })
}

/// Without the line end that editors and `echo` write after a password.
fn of_file(key: &str, path: &str) -> Result<Secret, LinkProblem> {
    let mut text = read_text(Path::new(path)).map_err(|problem| LinkProblem::File {
        key: key.to_owned(),
        path: path.to_owned(),
        problem,
    })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(Secret::new(text))
}
