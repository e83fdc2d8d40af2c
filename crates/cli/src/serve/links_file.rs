//! The file that `--links` names: links, and where their secrets are.

mod error;
mod secret;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use eventual_batch_links::{
    DEFAULT_LINK, RawSettings, is_secret_setting, is_setting, nearest_setting,
};
use toml::{Table, Value};

use error::{LinkProblem, LinksFileError};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// The table of a link's secrets, among its settings.
const SECRETS: &str = "secrets";

/// One link of the file.
#[derive(Debug)]
pub(crate) struct FileLink {
    /// What the component calls it.
    pub(crate) name: String,
    /// Its settings, with the values of its secrets.
    pub(crate) settings: RawSettings,
}

/// Reads a file, and the secrets that it refers to.
pub(crate) fn read(path: &Path) -> Result<Vec<FileLink>, LinksFileError> {
    let text = read_text(path).map_err(LinksFileError::Unreadable)?;
    parse(&text)
}

/// The text of a file of settings or of a secret. A file that is larger was named by mistake.
fn read_text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if read as u64 > MAX_BYTES {
        return Err("it has more than 1 MiB".to_owned());
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Vec<FileLink>, LinksFileError> {
    let file: Table = text.parse().map_err(|error| syntax(text, &error))?;
    if let Some(other) = file.keys().find(|key| *key != "links") {
        return Err(LinksFileError::UnknownTable(other.clone()));
    }
    let links = match file.get("links") {
        Some(Value::Table(links)) if !links.is_empty() => links,
        None | Some(Value::Table(_)) => return Err(LinksFileError::NoLinks),
        Some(_) => return Err(LinksFileError::UnknownTable("links".to_owned())),
    };
    let links: Vec<FileLink> = links.iter().map(link).collect::<Result<_, _>>()?;
    if links.iter().any(|link| link.name == DEFAULT_LINK) {
        Ok(links)
    } else {
        Err(LinksFileError::NoDefault)
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> LinksFileError {
    let begin = error.span().map_or(0, |span| span.start);
    let before = text.as_bytes().iter().take(begin);
    LinksFileError::Syntax {
        line: 1 + before.filter(|byte| **byte == b'\n').count(),
        problem: error.message().to_owned(),
    }
}

fn link((name, value): (&String, &Value)) -> Result<FileLink, LinksFileError> {
    let Value::Table(table) = value else {
        return Err(LinksFileError::NotATable {
            name: name.clone(),
            found: kind(value),
        });
    };
    let settings = settings(table).map_err(|problem| LinksFileError::Link {
        link: name.clone(),
        problem,
    })?;
    Ok(FileLink {
        name: name.clone(),
        settings,
    })
}

fn settings(table: &Table) -> Result<RawSettings, LinkProblem> {
    let mut config = HashMap::new();
    let mut secrets = HashMap::new();
    for (key, value) in table {
        if key == SECRETS {
            let Value::Table(table) = value else {
                return Err(LinkProblem::SecretsNoTable { found: kind(value) });
            };
            for (key, value) in table {
                secret::allowed(key)?;
                secrets.insert(key.clone(), secret::read(key, value)?);
            }
        } else {
            config.insert(key.clone(), plain(key, value)?);
        }
    }
    match secrets.keys().find(|key| config.contains_key(*key)) {
        Some(key) => Err(LinkProblem::Twice(key.clone())),
        None => Ok(RawSettings::new(config, secrets)),
    }
}

fn plain(key: &str, value: &Value) -> Result<String, LinkProblem> {
    if !is_setting(key) {
        return Err(unknown(key));
    }
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => Err(LinkProblem::NoValue {
            key: key.to_owned(),
            found: kind(value),
        }),
    }
}

fn unknown(key: &str) -> LinkProblem {
    LinkProblem::UnknownKey {
        key: key.to_owned(),
        nearest: nearest_setting(key),
    }
}

/// What a value is, in the words of TOML.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
