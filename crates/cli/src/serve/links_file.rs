//! The file that `--links` names: links, what the component is told of, and where the secrets are.

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

use error::{LinkProblem, LinksFileError, TableKind};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// The table of a link's secrets, among its settings.
const SECRETS: &str = "secrets";

/// What a file has.
#[derive(Debug)]
pub(crate) struct LinksFile {
    /// The buckets that the component uses: one link at least, of which one is `default`.
    pub(crate) links: Vec<FileLink>,
    /// The buckets of whose changes it is told.
    pub(crate) watches: Vec<FileLink>,
}

/// One link of the file.
#[derive(Debug)]
pub(crate) struct FileLink {
    /// What the component calls it. Of a watch, what tells it from others.
    pub(crate) name: String,
    /// Its settings, with the values of its secrets.
    pub(crate) settings: RawSettings,
}

/// Reads a file, and the secrets that it refers to.
pub(crate) fn read(path: &Path) -> Result<LinksFile, LinksFileError> {
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

fn parse(text: &str) -> Result<LinksFile, LinksFileError> {
    let file: Table = text.parse().map_err(|error| syntax(text, &error))?;
    let tables = [TableKind::Links, TableKind::Watch];
    let is_known = |key: &str| tables.iter().any(|table| table.name() == key);
    if let Some(other) = file.keys().find(|key| !is_known(key)) {
        return Err(LinksFileError::UnknownTable(other.clone()));
    }
    let [links, watches] = tables.map(|table| read_tables(&file, table));
    let (links, watches) = (links?, watches?);
    if links.is_empty() {
        Err(LinksFileError::NoLinks)
    } else if links.iter().any(|link| link.name == DEFAULT_LINK) {
        Ok(LinksFile { links, watches })
    } else {
        Err(LinksFileError::NoDefault)
    }
}

/// All tables of a kind.
fn read_tables(file: &Table, table: TableKind) -> Result<Vec<FileLink>, LinksFileError> {
    match file.get(table.name()) {
        Some(Value::Table(tables)) => tables
            .iter()
            .map(|(name, value)| link(table, name, value))
            .collect(),
        Some(_) => Err(LinksFileError::UnknownTable(table.name().to_owned())),
        None => Ok(Vec::new()),
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

fn link(table: TableKind, name: &str, value: &Value) -> Result<FileLink, LinksFileError> {
    let Value::Table(keys) = value else {
        return Err(LinksFileError::NotATable {
            table,
            name: name.to_owned(),
            found: kind(value),
        });
    };
    let settings = match keys.keys().find(|key| is_of_watches(key)) {
        Some(key) if table == TableKind::Links => Err(LinkProblem::OfWatches(key.clone())),
        _ => settings(keys),
    };
    let settings = settings.map_err(|problem| LinksFileError::Link {
        table,
        link: name.to_owned(),
        problem,
    })?;
    Ok(FileLink {
        name: name.to_owned(),
        settings,
    })
}

/// Whether a setting says of what the component is told.
fn is_of_watches(key: &str) -> bool {
    is_setting(key) && (key == "watch" || key.starts_with("watch_"))
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
