//! The settings of a connection: servers, login and TLS.

use std::{fs, io};

use tracing::warn;

use super::raw::Lookup;
use super::{ConfigError, servers};
use eventual_batch_engine::{Auth, ConnectionSettings, Tls};

const DEFAULT_CLUSTER_URI: &str = "nats://127.0.0.1:4222";

pub(super) fn connection(lookup: &Lookup<'_>) -> Result<ConnectionSettings, ConfigError> {
    let list = lookup.text("cluster_uri")?.unwrap_or(DEFAULT_CLUSTER_URI);
    let (servers, login) = servers::parse(list)?;
    if login.is_some() {
        warn!(
            key = "cluster_uri",
            "a login is set within the servers' URLs; move it to the link's secrets"
        );
    }
    let settings = ConnectionSettings {
        servers,
        auth: auth(lookup, login)?,
        tls: tls(lookup)?,
    };
    // What the client cannot use is found here, where the link can be refused for it.
    settings.check().map_err(ConfigError::of_connection)?;
    Ok(settings)
}

/// The one way to log in, of the login keys and the one that the servers' URLs may hold.
fn auth(lookup: &Lookup<'_>, in_urls: Option<Auth>) -> Result<Auth, ConfigError> {
    // Out of a file, these come with a line end.
    let trimmed = |key| Ok(lookup.secret(key)?.map(|secret| secret.trimmed()));
    let jwt = trimmed("client_jwt")?;
    let seed = trimmed("client_seed")?;
    let credentials = lookup.secret("credentials")?;
    let username = lookup.secret("username")?;
    let password = lookup.secret("password")?;
    let token = lookup.secret("token")?;
    let nkey_seed = trimmed("nkey_seed")?;

    let mut ways = Vec::from_iter(in_urls);
    match (jwt, seed) {
        (Some(jwt), Some(seed)) => ways.push(Auth::Jwt { jwt, seed }),
        (None, None) => {}
        (Some(_), None) => return Err(ConfigError::pair("client_jwt", "client_seed")),
        (None, Some(_)) => return Err(ConfigError::pair("client_seed", "client_jwt")),
    }
    match (username, password) {
        (Some(username), Some(password)) => ways.push(Auth::User {
            username: username.expose().to_owned(),
            password,
        }),
        (None, None) => {}
        (Some(_), None) => return Err(ConfigError::pair("username", "password")),
        (None, Some(_)) => return Err(ConfigError::pair("password", "username")),
    }
    ways.extend(credentials.map(Auth::Credentials));
    ways.extend(token.map(Auth::Token));
    ways.extend(nkey_seed.map(Auth::NkeySeed));
    if ways.len() > 1 {
        return Err(ConfigError::SeveralLogins);
    }
    Ok(ways.pop().unwrap_or_default())
}

fn tls(lookup: &Lookup<'_>) -> Result<Tls, ConfigError> {
    let ca = match (lookup.text("tls_ca")?, lookup.text("tls_ca_file")?) {
        (Some(_), Some(_)) => {
            return Err(ConfigError::unusable(
                "tls_ca_file",
                "cannot be set together with `tls_ca`; keep one of them".to_owned(),
            ));
        }
        (Some(pem), None) => Some(pem.to_owned()),
        (None, Some(path)) => Some(pem_file(path).map_err(|error| {
            ConfigError::bad(
                "tls_ca_file",
                path,
                &format!("a file that can be read ({error})"),
            )
        })?),
        (None, None) => None,
    };
    let client = match (lookup.text("tls_cert")?, lookup.secret("tls_key")?) {
        (Some(certificate), Some(key)) => Some((certificate.to_owned(), key)),
        (None, None) => None,
        (Some(_), None) => return Err(ConfigError::pair("tls_cert", "tls_key")),
        (None, Some(_)) => return Err(ConfigError::pair("tls_key", "tls_cert")),
    };
    Ok(Tls {
        ca,
        client,
        first: lookup.flag("tls_first")?.unwrap_or(false),
    })
}

/// The text of a file of certificates. A device or a pipe might never end, and links wait for it.
fn pem_file(path: &str) -> io::Result<String> {
    const MAX_BYTES: u64 = 16 * 1024 * 1024;
    let file = fs::metadata(path)?;
    if !file.is_file() || file.len() > MAX_BYTES {
        return Err(io::Error::other("not a regular file of at most 16 MiB"));
    }
    fs::read_to_string(path)
}
