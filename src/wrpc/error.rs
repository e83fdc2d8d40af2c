//! Why an invocation ends without a whole answer.

use std::error::Error;

/// Why an invocation gets no answer, or not all of it. Its caller is gone, has broken the protocol,
/// or came when too many calls were waiting. Or the results cannot be encoded or sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvocationError {
    #[error("the caller did not say where to send the answer")]
    NoReplySubject,
    #[error("too many calls wait for the rest of their parameters")]
    TooManyIncomplete,
    #[error("the caller did not send its parameters in time")]
    ParametersTimeout,
    #[error("the parameters end too early")]
    ParametersEndEarly,
    #[error("the parameters are not of the function's types")]
    MalformedParameters,
    #[error("failed to encode the results: {0}")]
    Encoding(#[source] std::io::Error),
    #[error("the lattice did not take the answer in time")]
    ResultsTimeout,
    #[error("the connection to the lattice is closed")]
    Closed,
    #[error("failed to {action}: {source}")]
    Lattice {
        action: &'static str,
        source: Box<dyn Error + Send + Sync>,
    },
}

impl InvocationError {
    /// The client of the lattice refused to do this.
    pub(crate) fn lattice<E>(action: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Error + Send + Sync + 'static,
    {
        move |error| Self::Lattice {
            action,
            source: error.into(),
        }
    }
}
