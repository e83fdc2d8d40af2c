use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// A number that differs between calls and processes; not for secrets.
pub(crate) fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A port that nobody listens on, below Linux's range for outgoing connections (32768 and up).
///
/// A port that the system picks (`:0`) is in that range. While a server is stopped, any outgoing
/// connection may be given its port, so that the server cannot come back on it; a client that
/// tries to reconnect can even end up connected to itself.
#[must_use]
pub fn free_port() -> u16 {
    loop {
        let offset = u16::try_from(number() % 20_000).unwrap_or_default();
        let port = 11_000 + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
