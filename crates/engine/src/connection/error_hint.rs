//! Which setting an error of a connection may come from, by the message of the server or of TLS.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::settings::{Auth, ConnectionSettings};
use super::status::is_login_refusal;
use crate::outage::{ConnectionError, ErrorHint, LoginKind};
use crate::text::LogText;

/// The settings of a connection that an error may come from.
#[derive(Clone, Debug)]
pub(super) struct ErrorHints {
    login: Option<LoginKind>,
    /// When the login's JWT expires.
    expires: Option<SystemTime>,
    has_ca: bool,
    has_certificate: bool,
    tls_first: bool,
}

impl ErrorHints {
    pub(super) fn new(settings: &ConnectionSettings) -> Self {
        let (login, jwt) = match &settings.auth {
            Auth::None => (None, None),
            Auth::Jwt { jwt, .. } => (Some(LoginKind::Jwt), Some(jwt)),
            Auth::Credentials(text) => (Some(LoginKind::Credentials), Some(text)),
            Auth::User { .. } => (Some(LoginKind::User), None),
            Auth::Token(_) => (Some(LoginKind::Token), None),
            Auth::NkeySeed(_) => (Some(LoginKind::NkeySeed), None),
        };
        Self {
            login,
            expires: jwt.and_then(|text| text.expose().lines().find_map(expiry)),
            has_ca: settings.tls.ca.is_some(),
            has_certificate: settings.tls.client.is_some(),
            tls_first: settings.tls.first,
        }
    }

    /// The error with its hint, if there is one.
    pub(super) fn with_hint(&self, message: LogText) -> ConnectionError {
        let hint = self.hint(message.as_str());
        ConnectionError { message, hint }
    }

    fn hint(&self, error: &str) -> Option<ErrorHint> {
        let has = |parts: &[&str]| parts.iter().any(|part| error.contains(part));
        Some(if is_login_refusal(error) {
            self.login_hint()
        } else if has(&["not valid for name"]) {
            ErrorHint::OtherHost
        } else if has(&["certificate expired"]) {
            ErrorHint::ServerCertificateExpired
        } else if has(&["UnknownIssuer", "BadSignature"]) && self.has_ca {
            ErrorHint::UnknownAuthority
        } else if has(&["UnknownIssuer", "BadSignature"]) {
            ErrorHint::UnknownToSystem
        } else if has(&["alert: CertificateRequired"]) && !self.has_certificate {
            ErrorHint::NoClientCertificate
        } else if has(&[
            "alert: Certificate",
            "alert: BadCertificate",
            "alert: UnknownCA",
        ]) {
            ErrorHint::ClientCertificateRefused
        } else if has(&["InvalidContentType"]) && self.tls_first {
            ErrorHint::ServerDoesNotBeginWithTls
        } else if has(&["InvalidContentType"]) {
            ErrorHint::ServerHasNoTls
        } else if has(&["expected INFO"]) && !self.tls_first {
            ErrorHint::ServerBeginsWithTls
        } else {
            return None;
        })
    }

    fn login_hint(&self) -> ErrorHint {
        match (self.login, self.expires) {
            (None, _) => ErrorHint::NoLogin,
            (Some(login), Some(expires)) if expires <= SystemTime::now() => {
                ErrorHint::ExpiredLogin(login, expires)
            }
            (Some(login), _) => ErrorHint::Login(login),
        }
    }
}

/// When the JWT expires. It is only read here. The server verifies it.
fn expiry(jwt: &str) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }

    let claims = jwt.trim().split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    // A later time could not be written as a date.
    let exp = Some(exp).filter(|exp| (1..=253_402_300_799).contains(exp))?;
    UNIX_EPOCH.checked_add(Duration::from_secs(exp))
}
