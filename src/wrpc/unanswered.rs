//! Why an invocation stays without an answer.

use std::error::Error;

/// What ends an invocation without results: nobody is there to read them, or they would not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("the caller did not say where to send the answer")]
    NoReply,
    #[error("too many calls wait for the rest of their parameters")]
    NoPlace,
    #[error("the caller did not send its parameters in time")]
    ParametersLate,
    #[error("the parameters end too early")]
    ParametersEndEarly,
    #[error("the parameters are not of the function's types")]
    Malformed,
    #[error("failed to encode the results: {0}")]
    Unencoded(#[source] std::io::Error),
    #[error("the lattice did not take the answer in time")]
    ResultsLate,
    #[error("the connection to the lattice is closed")]
    Closed,
    #[error("failed to {what}: {source}")]
    Lattice {
        what: &'static str,
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Unanswered {
    /// The client of the lattice did not do this.
    pub(super) fn lattice<E>(what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Error + Send + Sync + 'static,
    {
        move |error| Self::Lattice {
            what,
            source: error.into(),
        }
    }
}
