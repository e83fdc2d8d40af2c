//! Why there is no connection: the message of the server or of TLS, and a hint about the setting.

use std::fmt;
use std::time::SystemTime;

use super::text::{KeyFree, LogText};

/// Why an attempt to connect failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    /// What the server, TLS or the operating system said.
    pub message: LogText,
    /// What the message means, if that is known.
    pub hint: Option<ErrorHint>,
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{} ({hint})", self.message),
            None => self.message.fmt(f),
        }
    }
}

/// There is no connection. If an attempt to connect has failed, this says why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// Why the last attempt failed.
    pub error: Option<ConnectionError>,
}

impl Outage {
    pub(crate) fn log_text(&self) -> LogText {
        match &self.error {
            None => LogText::fixed("not connected"),
            Some(ConnectionError {
                message,
                hint: None,
            }) => message.prefixed("not connected: "),
            Some(ConnectionError {
                message,
                hint: Some(hint),
            }) => LogText::joined(&[&"not connected: ", message, &" (", hint, &")"]),
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.log_text().fmt(f)
    }
}

/// What an error of a connection means for the connection's settings.
///
/// The messages of servers and of TLS do not say which setting is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorHint {
    /// The server wants a login, and none is set.
    NoLogin,
    /// The server does not accept the login.
    Login(LoginKind),
    /// The login's JWT has expired.
    ExpiredLogin(LoginKind, SystemTime),
    /// The server's certificate is for another host.
    OtherHost,
    /// The server's certificate has expired.
    ServerCertificateExpired,
    /// None of the authorities that are set has signed the server's certificate.
    UnknownAuthority,
    /// No authority that the system trusts has signed the server's certificate.
    UnknownToSystem,
    /// The server wants a client certificate, and none is set.
    NoClientCertificate,
    /// The server refuses the client certificate.
    ClientCertificateRefused,
    /// The settings say that the connection begins with TLS, and the server does not.
    ServerDoesNotBeginWithTls,
    /// The settings ask for TLS, and the server has none.
    ServerHasNoTls,
    /// The server may begin with TLS, and the settings do not say so.
    ServerBeginsWithTls,
}

/// The way to log in that a connection uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginKind {
    /// A user JWT and a seed.
    Jwt,
    /// The text of a `.creds` file.
    Credentials,
    /// A user and a password.
    User,
    /// A token.
    Token,
    /// The seed of an nkey.
    NkeySeed,
}

impl KeyFree for ErrorHint {}

impl fmt::Display for ErrorHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLogin => "the connection has no login",
            Self::Login(_) => "the server does not accept this login",
            Self::ExpiredLogin(_, expired) => {
                let expired = humantime::format_rfc3339_seconds(*expired);
                return write!(f, "its JWT expired at {expired}");
            }
            Self::OtherHost => "the server's certificate is for another name",
            Self::ServerCertificateExpired => "the server's certificate has to be renewed",
            Self::UnknownAuthority => {
                "none of the authorities that are set has signed the server's certificate"
            }
            Self::UnknownToSystem => {
                "no authority that this system trusts has signed the server's certificate"
            }
            Self::NoClientCertificate => "the server wants a client's certificate",
            Self::ClientCertificateRefused => "the server refuses the client's certificate",
            Self::ServerDoesNotBeginWithTls => "the server does not begin with TLS",
            Self::ServerHasNoTls => "the server has no TLS, which the settings ask for",
            Self::ServerBeginsWithTls => "the server may begin with TLS",
        })
    }
}
