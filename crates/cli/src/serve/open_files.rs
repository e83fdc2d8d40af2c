//! How many files and sockets the process may have open, and how many of them clients may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Connections of clients at once. Further clients wait until one of them ends.
const MAX_CONNECTIONS: u32 = 4096;

/// What is kept for the process itself: its log, timers and signals, look-ups of names, the export of
/// metrics.
const OF_THE_PROCESS: u64 = 128;

/// What is kept for the connections of one link to NATS, and for making them again.
const OF_A_LINK: u64 = 16;

/// How many connections of clients there may be, beside so many links. For that, the soft limit of open
/// files is raised as far as the hard one allows.
pub(super) fn connections(links: usize) -> usize {
    let reserve = (links as u64).saturating_mul(OF_A_LINK) + OF_THE_PROCESS;
    let limit = raise(reserve + u64::from(MAX_CONNECTIONS));
    let connections = beside(reserve, limit);
    if connections < MAX_CONNECTIONS {
        info!(
            limit,
            connections,
            "the limit of open files (`ulimit -n`) allows fewer connections of clients than \
             {MAX_CONNECTIONS}; further clients wait"
        );
    }
    connections as usize
}

/// The limit of open files, raised to `wanted` if it is less. `None`: there is room for as many.
fn raise(wanted: u64) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = current.filter(|limit| *limit < wanted)?;
    let raised = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let current = Some(raised);
    match setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
        Ok(()) => Some(raised),
        Err(error) => {
            warn!(%error, limit, "the limit of open files cannot be raised");
            Some(limit)
        }
    }
}

/// How many files are left for clients. Of a small limit they get a half.
fn beside(reserve: u64, limit: Option<u64>) -> u32 {
    let Some(limit) = limit else {
        return MAX_CONNECTIONS;
    };
    let left = limit.saturating_sub(reserve).max(limit / 2).max(1);
    u32::try_from(left).map_or(MAX_CONNECTIONS, |left| left.min(MAX_CONNECTIONS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_files_for_the_process() {
        assert_eq!(beside(144, None), MAX_CONNECTIONS);
        assert_eq!(beside(144, Some(4240)), MAX_CONNECTIONS);
        assert_eq!(beside(144, Some(u64::MAX)), MAX_CONNECTIONS);
        assert_eq!(beside(144, Some(1024)), 880);
        assert_eq!(beside(144, Some(100)), 50);
        assert_eq!(beside(u64::MAX, Some(100)), 50);
        assert_eq!(beside(144, Some(0)), 1);
    }
}
