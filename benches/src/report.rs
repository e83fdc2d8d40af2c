//! The figures of a run, as they are kept in a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::figure::Figure;

/// What the form of the file is called. It grows by one when programs that read the one form would
/// misread the other.
const SCHEMA: u64 = 1;

/// What was measured in one run, and with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BenchReport {
    schema: u64,
    /// When the run began, in RFC 3339.
    pub(crate) begun: String,
    /// The version of nats-server.
    pub(crate) nats_server: String,
    /// What the other provider is called, if there was one.
    pub(crate) peer: Option<String>,
    /// How many processors the machine has.
    pub(crate) cpus: usize,
    /// Seconds for each row.
    pub(crate) seconds: f64,
    pub(crate) tables: Vec<FigureTable>,
}

/// The rows of one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FigureTable {
    pub(crate) name: String,
    pub(crate) rows: Vec<FigureRow>,
}

/// What was measured together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FigureRow {
    pub(crate) name: String,
    /// Which operation the row is about, if about one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) operation: String,
    /// What else the row was measured at, for instance how many `keys`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) at: BTreeMap<String, f64>,
    pub(crate) figures: Vec<Figure>,
}

impl BenchReport {
    /// A report of a run that begins now, and has no figures yet.
    pub(crate) fn new(nats_server: &str, peer: Option<String>, seconds: f64) -> Self {
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        Self {
            schema: SCHEMA,
            begun: now.to_string(),
            nats_server: nats_server.to_owned(),
            peer,
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            seconds,
            tables: Vec::new(),
        }
    }

    /// Adds a row to a table.
    pub(crate) fn add(&mut self, table: &str, row: FigureRow) {
        match self.tables.iter_mut().find(|known| known.name == table) {
            Some(known) => known.rows.push(row),
            None => self.tables.push(FigureTable {
                name: table.to_owned(),
                rows: vec![row],
            }),
        }
    }

    /// The rows of a table; none if it was not measured.
    pub(crate) fn rows(&self, table: &str) -> &[FigureRow] {
        let table = self.tables.iter().find(|known| known.name == table);
        table.map_or(&[], |table| table.rows.as_slice())
    }

    /// Reads a file that [`Self::write`] wrote.
    ///
    /// # Errors
    /// If it cannot be read, or has another form. The error says which form.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path);
        let text =
            text.with_context(|| format!("cannot read the figures in {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} cannot be used", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        const HOW: &str = "`cargo xtask bench --json FILE` writes a file that can be";
        let value: Value =
            serde_json::from_str(text).with_context(|| format!("it is no JSON; {HOW}"))?;
        match value.get("schema").and_then(Value::as_u64) {
            Some(SCHEMA) => serde_json::from_value(value).with_context(|| {
                format!("it says schema {SCHEMA}, and is not of that form; {HOW}")
            }),
            Some(other) => bail!(
                "its figures are of schema {other}, and this program reads schema {SCHEMA}: use the \
                 version of the project that wrote them, or measure anew; {HOW}"
            ),
            None => bail!("it has no number `schema`, so it is no file of figures; {HOW}"),
        }
    }

    /// Writes the file, and the directory that it is in if there is none.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let written = || {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            let mut text = serde_json::to_string(self)?;
            text.push('\n');
            fs::write(path, text)
        };
        written().with_context(|| format!("cannot write the figures to {}", path.display()))
    }
}

impl FigureRow {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            operation: String::new(),
            at: BTreeMap::new(),
            figures: Vec::new(),
        }
    }

    pub(crate) fn operation(mut self, operation: &str) -> Self {
        operation.clone_into(&mut self.operation);
        self
    }

    /// Where this row was measured.
    pub(crate) fn at(mut self, what: &str, number: usize) -> Self {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.at.insert(what.to_owned(), f64::from(number));
        self
    }

    /// The same for a number that is not whole.
    pub(crate) fn at_fraction(mut self, what: &str, number: f64) -> Self {
        self.at.insert(what.to_owned(), number);
        self
    }

    /// Adds figures. What came to no number, as the ratio to nothing, is left out.
    pub(crate) fn figures(mut self, figures: impl IntoIterator<Item = Figure>) -> Self {
        let figures = figures.into_iter().filter(|figure| {
            let mut numbers = figure.parts.iter().chain([&figure.value]);
            numbers.all(|number| number.is_finite())
        });
        self.figures.extend(figures);
        self
    }

    /// The figure of this name.
    pub(crate) fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::FigureUnit;

    fn report() -> BenchReport {
        let mut report = BenchReport::new("2.15.1", None, 4.0);
        let unit = FigureUnit::Milliseconds;
        let row = FigureRow::new("get-many 100 × 128 B")
            .operation("get-many")
            .at("keys", 100)
            .at_fraction("delay_ms", 0.5)
            .figures([
                Figure::new("here", unit, 0.9, vec![0.8, 1.0]),
                Figure::new("nothing", unit, f64::NAN, vec![]),
            ]);
        report.add("batches", row);
        report.add("batches", FigureRow::new("set-many 100 × 128 B"));
        report.add("keys", FigureRow::new("1000"));
        report
    }

    fn refusal(text: &str) -> String {
        match BenchReport::parse(text) {
            Ok(_) => "it was read".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() -> Result<()> {
        let report = report();
        let dir = std::env::temp_dir().join(format!("benches-{}", std::process::id()));
        let path = dir.join("below").join("figures.json");
        report.write(&path)?;
        assert_eq!(BenchReport::read(&path)?, report);
        fs::remove_dir_all(dir)?;
        Ok(())
    }

    #[test]
    fn tables_and_figures_are_found_by_name() {
        let report = report();
        assert_eq!(report.rows("batches").len(), 2);
        assert!(report.rows("callers").is_empty());
        let row = &report.rows("batches")[0];
        assert_eq!(row.figure("here").map(|figure| figure.value), Some(0.9));
        assert_eq!(row.figure("nothing"), None, "a figure that is no number");
    }

    #[test]
    fn another_schema_is_refused_with_what_to_do() {
        let error = refusal(r#"{"schema": 2, "tables": []}"#);
        assert!(error.contains("schema 2"), "{error}");
        assert!(error.contains("reads schema 1"), "{error}");
        assert!(error.contains("measure anew"), "{error}");
    }

    #[test]
    fn what_is_no_file_of_figures_is_refused() {
        assert!(refusal("{}").contains("no number `schema`"));
        assert!(refusal("| batch |").contains("no JSON"));
        let error = refusal(r#"{"schema": 1}"#);
        assert!(error.contains("not of that form"), "{error}");
    }
}
