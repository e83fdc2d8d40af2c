//! What to look at when a connection cannot be made. The words of servers and of TLS say what is
//! wrong, and not which of the link's settings it has to do with.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::settings::{Auth, ConnectionSettings};
use super::status::is_login_refusal;

/// What of a link's settings an error may have to do with.
#[derive(Clone, Debug)]
pub(super) struct ErrorHints {
    /// Which keys hold the login.
    login: &'static str,
    /// When the login's JWT ends.
    expires: Option<SystemTime>,
    has_ca: bool,
    has_certificate: bool,
    tls_first: bool,
}

impl ErrorHints {
    pub(super) fn new(settings: &ConnectionSettings) -> Self {
        let (login, jwt) = match &settings.auth {
            Auth::None => ("", None),
            Auth::Jwt { jwt, .. } => ("`client_jwt` and `client_seed`", Some(jwt)),
            Auth::Credentials(text) => ("`credentials`", Some(text)),
            Auth::User { .. } => ("`username` and `password`", None),
            Auth::Token(_) => ("`token`", None),
            Auth::NkeySeed(_) => ("`nkey_seed`", None),
        };
        Self {
            login,
            expires: jwt.and_then(|text| text.expose().lines().find_map(expiry)),
            has_ca: settings.tls.ca.is_some(),
            has_certificate: settings.tls.client.is_some(),
            tls_first: settings.tls.first,
        }
    }

    /// The error, and what to look at if that is known.
    pub(super) fn on(&self, error: &str) -> String {
        match self.about(error) {
            Some(advice) => format!("{error} ({advice})"),
            None => error.to_owned(),
        }
    }

    fn about(&self, error: &str) -> Option<String> {
        let has = |words: &[&str]| words.iter().any(|word| error.contains(word));
        let advice = if is_login_refusal(error) {
            return Some(self.about_login());
        } else if has(&["not valid for name"]) {
            "the server's certificate is for another name: check the host in `cluster_uri`"
        } else if has(&["certificate expired"]) {
            "the server's certificate has to be renewed"
        } else if has(&["UnknownIssuer", "BadSignature"]) && self.has_ca {
            "no authority in `tls_ca` has signed the server's certificate"
        } else if has(&["UnknownIssuer", "BadSignature"]) {
            "no authority that this system trusts has signed the server's certificate: set `tls_ca`"
        } else if has(&["alert: CertificateRequired"]) && !self.has_certificate {
            "the server wants a client's certificate: set `tls_cert` and `tls_key`"
        } else if has(&[
            "alert: Certificate",
            "alert: BadCertificate",
            "alert: UnknownCA",
        ]) {
            "the server refuses the client's certificate: check `tls_cert`"
        } else if has(&["InvalidContentType"]) && self.tls_first {
            "the server does not begin with TLS: check `tls_first`"
        } else if has(&["InvalidContentType"]) {
            "the server has no TLS, which the link asks for"
        } else if has(&["expected INFO"]) && !self.tls_first {
            "a server that begins with TLS needs `tls_first`"
        } else {
            return None;
        };
        Some(advice.to_owned())
    }

    fn about_login(&self) -> String {
        if self.login.is_empty() {
            return "the link has no login".to_owned();
        }
        let check = format!("check {}", self.login);
        match self.expires {
            Some(expires) if expires <= SystemTime::now() => {
                let expires = humantime::format_rfc3339_seconds(expires);
                format!("{check}: its JWT expired at {expires}")
            }
            _ => check,
        }
    }
}

/// When the JWT ends. It is only read, not verified: the server does that.
fn expiry(jwt: &str) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }

    let claims = jwt.trim().split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    // Beyond this it could not be written as a date.
    let exp = Some(exp).filter(|exp| (1..=253_402_300_799).contains(exp))?;
    UNIX_EPOCH.checked_add(Duration::from_secs(exp))
}
