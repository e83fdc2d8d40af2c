//! How to reach NATS and log in. Buckets with equal settings share a connection.

mod tls;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_nats::{AuthError, ConnectOptions};
use nkeys::KeyPair;
use zeroize::Zeroizing;

/// A text that `Debug` never shows. Its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps the text as a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The same without white space around it.
    #[must_use]
    pub fn trimmed(&self) -> Self {
        Self::new(self.expose().trim().to_owned())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One way to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Auth {
    /// None.
    #[default]
    None,
    /// A user JWT and the seed of its key.
    Jwt {
        /// The user JWT.
        jwt: Secret,
        /// The user's nkey seed.
        seed: Secret,
    },
    /// The text of a `.creds` file.
    Credentials(Secret),
    /// A user with a password.
    User {
        /// The user's name.
        username: String,
        /// The user's password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
    /// The seed of an nkey.
    NkeySeed(Secret),
}

/// TLS settings. Without any, TLS is used if the server asks for it or the URL starts with
/// `tls://`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// PEM of the certificate authorities to trust in place of the system's.
    pub ca: Option<String>,
    /// PEM of the client's certificate chain, and of its private key.
    pub client: Option<(String, Secret)>,
    /// Whether to start TLS before the server's greeting (`handshake_first`, server ≥ 2.10.4).
    pub first: bool,
}

/// How to reach NATS and log in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionSettings {
    /// Server URLs without credentials, so that they can be named in a log or an error.
    pub servers: Vec<String>,
    /// The login.
    pub auth: Auth,
    /// TLS.
    pub tls: Tls,
}

/// One of the [`ConnectionSettings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionSetting {
    /// The servers' URLs.
    Servers,
    /// The seed beside a JWT.
    JwtSeed,
    /// The text of a `.creds` file.
    Credentials,
    /// The seed of an nkey.
    NkeySeed,
    /// The certificate authorities.
    TlsAuthorities,
    /// The client's certificate chain.
    TlsCertificate,
    /// The client's private key.
    TlsKey,
}

impl ConnectionSetting {
    pub(super) fn problem(self, problem: impl Into<String>) -> SettingError {
        SettingError {
            setting: self,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for ConnectionSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Servers => "the list of servers",
            Self::JwtSeed => "the seed of the JWT's key",
            Self::Credentials => "the credentials",
            Self::NkeySeed => "the nkey's seed",
            Self::TlsAuthorities => "the list of certificate authorities",
            Self::TlsCertificate => "the client's certificate",
            Self::TlsKey => "the client's private key",
        })
    }
}

/// A setting that cannot be used. It does not show the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct SettingError {
    /// Which setting.
    pub setting: ConnectionSetting,
    /// What is wrong with it, as the rest of a sentence about the setting.
    pub problem: String,
}

impl ConnectionSettings {
    /// The servers' URLs, to name them in a log or an error.
    #[must_use]
    pub fn display_servers(&self) -> String {
        self.servers.join(",")
    }

    /// Succeeds if a client can be made with these settings. It does not connect.
    ///
    /// # Errors
    ///
    /// The setting that cannot be used, and why.
    pub fn check(&self) -> Result<(), SettingError> {
        self.login(ConnectOptions::new())?;
        tls::config(&self.tls)?;
        Ok(())
    }

    /// Connection options with the login and TLS filled in.
    pub(super) fn options(&self) -> Result<ConnectOptions, SettingError> {
        let options = self.login(ConnectOptions::new())?;
        let options = match tls::config(&self.tls)? {
            Some(config) => options.tls_client_config(config).require_tls(true),
            // The server may ask for TLS.
            None => match tls::default_config() {
                Some(config) => options.tls_client_config(config),
                None => options,
            },
        };
        Ok(if self.tls.first {
            options.tls_first()
        } else {
            options
        })
    }

    fn login(&self, options: ConnectOptions) -> Result<ConnectOptions, SettingError> {
        let key_of = |setting: ConnectionSetting, seed: &Secret| {
            KeyPair::from_seed(seed.expose())
                .map_err(|_| setting.problem("is not the seed of an nkey (it starts with `SU`)"))
        };
        Ok(match &self.auth {
            Auth::None => options,
            Auth::Jwt { jwt, seed } => {
                let key = Arc::new(key_of(ConnectionSetting::JwtSeed, seed)?);
                options.jwt(jwt.expose().to_owned(), move |nonce| {
                    let key = Arc::clone(&key);
                    async move { key.sign(&nonce).map_err(AuthError::new) }
                })
            }
            // The NATS client's parser needs a line end after the last line. It may be missing
            // here.
            Auth::Credentials(text) => options
                .credentials(&Zeroizing::new(format!("{}\n", text.expose())))
                .map_err(|_| {
                    ConnectionSetting::Credentials.problem("is not the text of a .creds file")
                })?,
            Auth::User { username, password } => {
                options.user_and_password(username.clone(), password.expose().to_owned())
            }
            Auth::Token(token) => options.token(token.expose().to_owned()),
            Auth::NkeySeed(seed) => {
                key_of(ConnectionSetting::NkeySeed, seed)?;
                options.nkey(seed.expose().to_owned())
            }
        })
    }
}
