//! What instances send.

/// What an instance sends, or a request of which it waits for the answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum SimulatedRequest {
    Attach,
    Pull { inbox: u64 },
    Pending { question: u64 },
    Acknowledge(u64),
    GiveBack(u64),
    InProgress(u64),
    Settled(u64),
}
