//! Why a links file cannot be used.

/// What a table of the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// A bucket that the component uses.
    Links,
    /// A bucket of whose changes it is told.
    Watch,
}

impl TableKind {
    /// The tables' name in the file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Watch => "watch",
        }
    }

    /// What a sentence calls one of them.
    fn noun(self) -> &'static str {
        match self {
            Self::Links => "link",
            Self::Watch => "watch",
        }
    }
}

/// What is wrong in a links file. The sentence names the link and the key, and never a value of a
/// secret. It does not name the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinksFileError {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The parser's own text shows the line, in which a secret may stand.
    #[error("line {line}: this is not TOML: {problem}")]
    Syntax { line: usize, problem: String },
    #[error("`{0}` has no meaning here; the file has tables [links.NAME] and [watch.NAME] only")]
    UnknownTable(String),
    #[error("there is no link in it; begin with a table [links.default]")]
    NoLinks,
    #[error(
        "no link is named `default`, which is the one that a component means if it names none; \
         name one of the links so"
    )]
    NoDefault,
    #[error(
        "`{0}.{name}` is {found}; each {1} is a table [{0}.NAME]",
        table.name(),
        table.noun()
    )]
    NotATable {
        table: TableKind,
        name: String,
        found: &'static str,
    },
    #[error("{} `{link}`: {problem}", table.noun())]
    Link {
        table: TableKind,
        link: String,
        problem: LinkProblem,
    },
}

/// What is wrong with one link of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkProblem {
    #[error("`{key}` is no setting of a link{}", did_you_mean(*nearest))]
    UnknownKey {
        key: String,
        nearest: Option<&'static str>,
    },
    #[error("`{0}` means nothing to a link; write it in a table [watch.NAME]")]
    OfWatches(String),
    #[error("`{key}` is {found}; write a string, a number, `true` or `false`")]
    NoValue { key: String, found: &'static str },
    #[error(
        "`secrets` is {found}; it is a table, such as [links.NAME.secrets] with a line \
         password = {{ env = \"PASSWORD\" }}"
    )]
    SecretsNoTable { found: &'static str },
    #[error("`{0}` is no secret; write it in the link's own table, above its secrets")]
    NotASecret(String),
    #[error("`{0}` is set in the link's table and among its secrets; keep one of them")]
    Twice(String),
    #[error(
        "secret `{0}`: say where it is, with {{ env = \"VARIABLE\" }} or {{ file = \"/path\" }}"
    )]
    NoPlace(String),
    #[error("secret `{key}`: the environment variable `{variable}` {problem}")]
    Variable {
        key: String,
        variable: String,
        problem: &'static str,
    },
    #[error("secret `{key}`: {path} cannot be read: {problem}")]
    File {
        key: String,
        path: String,
        problem: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| {
        format!("; did you mean `{nearest}`?")
    })
}
