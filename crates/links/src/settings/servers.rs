//! `cluster_uri`: the servers' addresses, and a login that may stand in them.

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;

use super::ConfigError;
use eventual_batch_engine::{Auth, Secret};

const KEY: &str = "cluster_uri";

/// The servers of a comma-separated list, without credentials, and the login that the URLs hold
/// (`nats://user:password@host` or `nats://token@host`).
///
/// The two are parted here so that an address can be named in a log or an error.
pub(super) fn parse(list: &str) -> Result<(Vec<String>, Option<Auth>), ConfigError> {
    let mut servers = Vec::new();
    let mut logins = Vec::new();
    for url in list.split(',') {
        // What was given is not shown: it may hold a password.
        let unusable = |reason: &str| ConfigError::unusable(KEY, reason.to_owned());
        let address: ServerAddr = url.trim().parse().map_err(|_| {
            unusable("is not accepted: expected URLs like `nats://host:4222`, comma-separated")
        })?;
        if !matches!(address.scheme(), "nats" | "tls") {
            return Err(unusable(
                "is not accepted: expected URLs of the scheme `nats` or `tls`",
            ));
        }
        let (scheme, host, port) = (address.scheme(), address.host(), address.port());
        servers.push(if host.contains(':') {
            format!("{scheme}://[{host}]:{port}")
        } else {
            format!("{scheme}://{host}:{port}")
        });
        logins.push(login(&address));
    }
    let login = logins.pop().flatten();
    if logins.iter().any(|other| *other != login) {
        return Err(ConfigError::unusable(
            KEY,
            "has URLs with different logins; set `username` + `password` or another login instead"
                .to_owned(),
        ));
    }
    Ok((servers, login))
}

fn login(address: &ServerAddr) -> Option<Auth> {
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let username = decoded(address.username()?);
    Some(match address.password() {
        Some(password) => Auth::User {
            username,
            password: Secret::new(decoded(password)),
        },
        None => Auth::Token(Secret::new(username)),
    })
}
