//! Why calls are refused under load.

/// Which limit of the process refuses a call or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShedReason {
    /// The memory for the parameters of all calls.
    ParameterMemory,
    /// The memory for the answers of all calls.
    ResponseMemory,
    /// The number of calls that wait for the rest of their parameters.
    IncompleteCalls,
    /// The number of calls at once.
    Calls,
    /// The number of requests at once to a component that is served.
    Requests,
}

impl ShedReason {
    pub(super) const ALL: [Self; 5] = [
        Self::ParameterMemory,
        Self::ResponseMemory,
        Self::IncompleteCalls,
        Self::Calls,
        Self::Requests,
    ];

    /// Its name, in the form that metrics use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ParameterMemory => "parameter-memory",
            Self::ResponseMemory => "response-memory",
            // Dashboards know it by this name.
            Self::IncompleteCalls => "unfinished-calls",
            Self::Calls => "calls",
            Self::Requests => "requests",
        }
    }
}
