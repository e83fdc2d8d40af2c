//! A call on its way to an interface: its parameters, and the memory that its answer may take.

use std::future::Future;

use eventual_batch_links::{Call, CallError};

use super::budgeted_reads::BudgetedReads;

/// A call, and its parameters or why they could not be read.
pub(crate) struct Request<P> {
    pub(super) call: Call,
    pub(super) params: Result<P, CallError>,
    pub(super) reads: BudgetedReads,
}

impl<P> Request<P> {
    /// Runs `work` if the parameters could be read. Converts the error to the interface's error
    /// type.
    pub(crate) async fn respond<T, E, F>(self, work: impl FnOnce(Call, P) -> F) -> (Result<T, E>,)
    where
        E: From<CallError>,
        F: Future<Output = Result<T, CallError>>,
    {
        self.respond_budgeted(|call, params, _| work(call, params))
            .await
    }

    /// The same for an answer that may be large: `work` reads it within a budget of memory.
    pub(crate) async fn respond_budgeted<T, E, F>(
        self,
        work: impl FnOnce(Call, P, BudgetedReads) -> F,
    ) -> (Result<T, E>,)
    where
        E: From<CallError>,
        F: Future<Output = Result<T, CallError>>,
    {
        let result = match self.params {
            Ok(params) => work(self.call, params, self.reads).await,
            Err(error) => {
                self.call.reject(&error);
                Err(error)
            }
        };
        (result.map_err(E::from),)
    }
}
