//! How to reach NATS and log in: what two links must have in common to share a connection.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{ClientConfig, RootCertStore};
use async_nats::{AuthError, ConnectOptions};
use nkeys::KeyPair;
use zeroize::Zeroizing;

/// A text that never appears in `Debug` and is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
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

/// TLS settings. With none of them TLS is used if the server asks for it or the URL is `tls://`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// PEM of the certificate authorities to trust in place of the system's.
    pub ca: Option<String>,
    /// PEM of the client's certificate chain, and of its private key.
    pub client: Option<(String, Secret)>,
    /// Start TLS before the server's greeting (`handshake_first`, server ≥ 2.10.4).
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

impl ConnectionSettings {
    /// The servers' URLs, to name them in a log or an error.
    #[must_use]
    pub fn display_servers(&self) -> String {
        self.servers.join(",")
    }

    /// Connection options with the login and TLS filled in.
    ///
    /// # Errors
    ///
    /// The configuration key that cannot be used, and why; never its value.
    pub fn options(&self) -> Result<ConnectOptions, (&'static str, String)> {
        let options = self.login(ConnectOptions::new())?;
        let options = match self.tls_config()? {
            Some(config) => options.tls_client_config(config).require_tls(true),
            None => options,
        };
        Ok(if self.tls.first {
            options.tls_first()
        } else {
            options
        })
    }

    fn login(&self, options: ConnectOptions) -> Result<ConnectOptions, (&'static str, String)> {
        let no_seed = |_| "is not the seed of an nkey (it starts with `SU`)".to_owned();
        Ok(match &self.auth {
            Auth::None => options,
            Auth::Jwt { jwt, seed } => {
                let key = KeyPair::from_seed(seed.expose())
                    .map_err(|error| ("client_seed", no_seed(error)))?;
                let key = Arc::new(key);
                options.jwt(jwt.expose().to_owned(), move |nonce| {
                    let key = Arc::clone(&key);
                    async move { key.sign(&nonce).map_err(AuthError::new) }
                })
            }
            // The client's parser wants a line end after the last line, which may be lost on the
            // way here.
            Auth::Credentials(text) => options
                .credentials(&Zeroizing::new(format!("{}\n", text.expose())))
                .map_err(|_| ("credentials", "is not the text of a .creds file".to_owned()))?,
            Auth::User { username, password } => {
                options.user_and_password(username.clone(), password.expose().to_owned())
            }
            Auth::Token(token) => options.token(token.expose().to_owned()),
            Auth::NkeySeed(seed) => {
                KeyPair::from_seed(seed.expose()).map_err(|error| ("nkey_seed", no_seed(error)))?;
                options.nkey(seed.expose().to_owned())
            }
        })
    }

    fn tls_config(&self) -> Result<Option<ClientConfig>, (&'static str, String)> {
        if self.tls.ca.is_none() && self.tls.client.is_none() {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &self.tls.ca {
            for certificate in certificates(ca).map_err(|reason| ("tls_ca", reason))? {
                roots
                    .add(certificate)
                    .map_err(|error| ("tls_ca", error.to_string()))?;
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let Some((certificate, key)) = &self.tls.client else {
            return Ok(Some(builder.with_no_client_auth()));
        };
        let chain = certificates(certificate).map_err(|reason| ("tls_cert", reason))?;
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
            .map_err(|_| ("tls_key", "holds no private key in PEM form".to_owned()))?;
        builder
            .with_client_auth_cert(chain, key)
            .map(Some)
            .map_err(|error| ("tls_cert", format!("does not go with `tls_key`: {error}")))
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("is not a certificate in PEM form: {error}"))?;
    if certificates.is_empty() {
        return Err("holds no certificate in PEM form".to_owned());
    }
    Ok(certificates)
}
