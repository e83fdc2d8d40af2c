//! A call on its way to an interface: its parameters, and the memory of its answer.

use std::future::Future;

use eventual_batch_links::{Call, CallError};

use super::response_memory::ResponseMemory;

/// A call, and its parameters or why they could not be read.
pub(crate) struct Request<P> {
    pub(super) call: Call,
    pub(super) params: Result<P, CallError>,
    pub(super) memory: ResponseMemory,
}

impl<P> Request<P> {
    /// Does the work of a call whose parameters could be read, and gives the error the interface's
    /// type.
    pub(crate) async fn answer<T, E, F>(self, work: impl FnOnce(Call, P) -> F) -> (Result<T, E>,)
    where
        E: From<CallError>,
        F: Future<Output = Result<T, CallError>>,
    {
        self.answer_budgeted(|call, params, _| work(call, params))
            .await
    }

    /// The same for an answer that may be large: `work` reads it within a budget of memory.
    pub(crate) async fn answer_budgeted<T, E, F>(
        self,
        work: impl FnOnce(Call, P, ResponseMemory) -> F,
    ) -> (Result<T, E>,)
    where
        E: From<CallError>,
        F: Future<Output = Result<T, CallError>>,
    {
        let result = match self.params {
            Ok(params) => work(self.call, params, self.memory).await,
            Err(error) => {
                self.call.reject(&error);
                Err(error)
            }
        };
        (result.map_err(E::from),)
    }
}
