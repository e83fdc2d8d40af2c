//! Both batch interfaces behind one set of calls, for tests that hold for either.

use anyhow::{Result, ensure};
use testkit::{BatchError, EventualBatchError, LatticeCaller};

/// One of the two interfaces that the provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchInterface {
    EventualBatch,
    Batch,
}

pub const BOTH: [BatchInterface; 2] = [BatchInterface::EventualBatch, BatchInterface::Batch];

/// The answer of `get-many`.
pub type Values = Vec<Option<Vec<u8>>>;

/// An error of either interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorAnswer {
    pub case: &'static str,
    /// Empty where the error case has no text.
    pub text: String,
}

impl From<EventualBatchError> for ErrorAnswer {
    fn from(error: EventualBatchError) -> Self {
        Self {
            case: error.case(),
            text: error.text().to_owned(),
        }
    }
}

impl From<BatchError> for ErrorAnswer {
    fn from(error: BatchError) -> Self {
        let (case, text) = match error {
            BatchError::NoSuchStore => ("no-such-store", String::new()),
            BatchError::AccessDenied => ("access-denied", String::new()),
            BatchError::Other(text) => ("other", text),
        };
        Self { case, text }
    }
}

impl BatchInterface {
    /// `get-many`; also checks that `batch` puts the key asked for beside each value.
    pub async fn get_many<K: AsRef<str>>(
        self,
        caller: &LatticeCaller,
        bucket: &str,
        keys: &[K],
    ) -> Result<Result<Values, ErrorAnswer>> {
        match self {
            Self::EventualBatch => {
                let answer = caller.get_many(bucket, keys).await?;
                Ok(answer.map_err(ErrorAnswer::from))
            }
            Self::Batch => {
                let pairs = match caller.batch().get_many(bucket, keys).await? {
                    Ok(pairs) => pairs,
                    Err(error) => return Ok(Err(error.into())),
                };
                let places = keys.iter().map(|key| Some(key.as_ref()));
                for (pair, asked) in pairs.iter().zip(places) {
                    let beside = pair.as_ref().map(|(key, _)| key.as_str());
                    ensure!(
                        beside.is_none() || beside == asked,
                        "{beside:?} for {asked:?}"
                    );
                }
                let value = |pair: Option<(String, _)>| pair.map(|(_, value)| Vec::from(value));
                Ok(Ok(pairs.into_iter().map(value).collect()))
            }
        }
    }

    pub async fn set_many<K: AsRef<str>, V: AsRef<[u8]>>(
        self,
        caller: &LatticeCaller,
        bucket: &str,
        pairs: &[(K, V)],
    ) -> Result<Result<(), ErrorAnswer>> {
        Ok(match self {
            Self::EventualBatch => caller.set_many(bucket, pairs).await?.map_err(Into::into),
            Self::Batch => caller
                .batch()
                .set_many(bucket, pairs)
                .await?
                .map_err(Into::into),
        })
    }

    pub async fn delete_many<K: AsRef<str>>(
        self,
        caller: &LatticeCaller,
        bucket: &str,
        keys: &[K],
    ) -> Result<Result<(), ErrorAnswer>> {
        Ok(match self {
            Self::EventualBatch => caller.delete_many(bucket, keys).await?.map_err(Into::into),
            Self::Batch => caller
                .batch()
                .delete_many(bucket, keys)
                .await?
                .map_err(Into::into),
        })
    }

    /// The error case of this interface that stands for the case `case` of `eventual-batch`.
    pub fn case(self, case: &'static str) -> &'static str {
        match (self, case) {
            (Self::Batch, "no-such-bucket") => "no-such-store",
            (Self::Batch, case) if case != "access-denied" => "other",
            (_, case) => case,
        }
    }
}

/// The error of an answer. Fails if the answer is no error, and shows the answer.
pub fn refused<T: std::fmt::Debug>(
    answer: Result<T, impl Into<ErrorAnswer>>,
) -> Result<ErrorAnswer> {
    match answer {
        Ok(answer) => anyhow::bail!("answered {answer:?} where an error was due"),
        Err(refusal) => Ok(refusal.into()),
    }
}

impl std::fmt::Display for ErrorAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.case, self.text)
    }
}

impl std::error::Error for ErrorAnswer {}
