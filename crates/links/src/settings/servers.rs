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
        let address: ServerAddr = url.trim().parse().map_err(|_| refused(list))?;
        if !matches!(address.scheme(), "nats" | "tls") {
            return Err(refused(list));
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

/// That the list is not accepted. It is shown, unless a login may stand in it.
fn refused(list: &str) -> ConfigError {
    let accepted = "URLs of the scheme `nats` or `tls`, like `nats://host:4222`, comma-separated";
    if list.split(',').all(is_without_login) {
        ConfigError::bad(KEY, list, accepted)
    } else {
        ConfigError::unusable(KEY, format!("is not accepted: expected {accepted}"))
    }
}

/// Whether no password or token can stand in a URL: it is a scheme, a host and a port, if that.
///
/// What follows a colon may be a password whose `@` was forgotten, so only a number is let through.
fn is_without_login(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " .-_:/[]".contains(c);
    let is_port = |part: &str| {
        part.trim_end_matches('/')
            .bytes()
            .all(|b| b.is_ascii_digit())
    };
    rest.chars().all(is_plain) && rest.split(':').skip(1).all(is_port)
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
