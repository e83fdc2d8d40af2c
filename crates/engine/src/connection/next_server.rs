//! Which server of a cluster a lost connection tries next.
//!
//! The client would choose among all that did not fail lately. It counts failed attempts only, so
//! one of them is the server whose connection was just lost. If that server hangs, the attempt takes
//! all of its time.

use async_nats::{Server, ServerAddr};

/// The choices of one client.
#[derive(Debug, Default)]
pub(super) struct NextServer {
    /// The servers that have had their turn since the last connection: the one that was lost, and
    /// those that were chosen, the latest last. When all have, the turns begin again.
    had_turn: Vec<ServerAddr>,
}

impl NextServer {
    /// Chooses one of the servers. `None` if there was no connection yet: then the client's own
    /// order does.
    pub(super) fn choose(&mut self, servers: &[Server]) -> Option<ServerAddr> {
        if let Some(lost) = self.connected(servers) {
            self.had_turn = vec![lost];
        }
        if self.had_turn.is_empty() {
            return None;
        }
        if servers
            .iter()
            .all(|server| self.had_turn.contains(&server.addr))
        {
            self.had_turn.clear();
        }
        let waits = |server: &&Server| !self.had_turn.contains(&server.addr);
        let mut waiting: Vec<&Server> = servers.iter().filter(waits).collect();
        // Those that failed equally often share what a dead server leaves.
        fastrand::shuffle(&mut waiting);
        let chosen = waiting
            .into_iter()
            .min_by_key(|server| server.failed_attempts)?;
        self.had_turn.push(chosen.addr.clone());
        Some(chosen.addr.clone())
    }

    /// The server of a connection that was made since the last choice, and is lost now.
    fn connected(&self, servers: &[Server]) -> Option<ServerAddr> {
        let connected = servers.iter().find(|server| match self.had_turn.last() {
            // A success sets the count to 0.
            Some(chosen) => {
                server.addr == *chosen && server.did_connect && server.failed_attempts == 0
            }
            // The first connection was made to the only one that is marked.
            None => server.did_connect,
        });
        connected.map(|server| server.addr.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(failed_attempts: [usize; 3], connected: &[usize]) -> Vec<Server> {
        let server = |number: usize| Server {
            addr: addr(number),
            failed_attempts: failed_attempts[number],
            did_connect: connected.contains(&number),
            is_discovered: number > 0,
            last_error: None,
        };
        (0..3).map(server).collect()
    }

    fn addr(number: usize) -> ServerAddr {
        format!("nats://node-{number}:4222")
            .parse()
            .expect("an address")
    }

    #[test]
    fn a_first_connection_is_left_to_the_client() {
        assert_eq!(NextServer::default().choose(&servers([0, 1, 0], &[])), None);
    }

    #[test]
    fn the_server_that_was_lost_is_tried_after_each_other() {
        for _ in 0..20 {
            let mut next = NextServer::default();
            let mut failed = [0, 7, 0];
            let mut chosen = Vec::new();
            for _ in 0..3 {
                let server = next.choose(&servers(failed, &[0])).expect("a server");
                for (number, failed) in failed.iter_mut().enumerate() {
                    *failed += usize::from(server == addr(number));
                }
                chosen.push(server);
            }
            assert_eq!(
                chosen[..2],
                [addr(2), addr(1)],
                "the other has failed more often"
            );
            let again = next.choose(&servers(failed, &[0])).expect("a server");
            assert_ne!(again, chosen[2], "each has one turn before the next");
        }
    }

    #[test]
    fn the_others_share_those_that_a_dead_server_had() {
        let chosen = (0..100).map(|_| NextServer::default().choose(&servers([0, 0, 0], &[0])));
        let chosen: std::collections::HashSet<_> = chosen.flatten().collect();
        assert_eq!(chosen, [addr(1), addr(2)].into());
    }

    #[test]
    fn a_later_connection_counts_and_not_the_first() {
        let mut next = NextServer::default();
        let first = next.choose(&servers([0, 5, 0], &[0]));
        assert_eq!(first, Some(addr(2)));
        let second = next.choose(&servers([0, 5, 0], &[0, 2]));
        assert_eq!(
            second,
            Some(addr(0)),
            "the connection to the third is lost now"
        );
    }

    #[test]
    fn a_single_server_is_tried_again() {
        let mut next = NextServer::default();
        let one = &servers([0, 0, 0], &[0])[..1];
        assert_eq!(next.choose(one), Some(addr(0)));
        assert_eq!(next.choose(one), Some(addr(0)));
    }
}
