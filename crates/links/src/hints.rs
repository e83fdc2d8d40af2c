//! Which setting of a link an error of the engine has to do with.

use eventual_batch_engine::{
    BatchLimit, BucketFeature, ConnectionError, ConnectionSetting, Error, ErrorHint, KeyProblem,
    LoginKind, NoAnswerReason,
};

/// The text of an error, and after a semicolon what to do about it.
pub fn with_hint(error: &impl ToString, hint: Option<impl AsRef<str>>) -> String {
    let mut text = error.to_string();
    if let Some(hint) = hint {
        text.push_str("; ");
        text.push_str(hint.as_ref());
    }
    text
}

/// The setting that an error has to do with, and what to do about it. It continues the error's text
/// after a semicolon. `None` if no setting is known to help.
#[must_use]
pub fn setting_hint(error: &Error) -> Option<&'static str> {
    match error.root() {
        Error::NoSuchBucket { .. } => {
            Some("create it, or set `enable_bucket_auto_create` on the link")
        }
        Error::InvalidKey(invalid) => match invalid.problem {
            KeyProblem::TooLong(_) => None,
            _ => Some("with `key_encoding` = `base64` on the link, any string is a key"),
        },
        Error::UndecodableKey(_) => Some("it was written without `key_encoding` = `base64`"),
        Error::TooLarge { limit, .. } => Some(match limit {
            BatchLimit::AtomicKeys => {
                "the limit is the server's; the link asks for such a batch with `atomic`"
            }
            BatchLimit::Keys => "the link's setting is `max_batch_keys`",
            BatchLimit::Bytes => "the link's setting is `max_batch_bytes`",
        }),
        Error::Unsupported { feature, .. } => Some(match feature {
            BucketFeature::ValueTtl => "the link asks for it with `value_ttl`",
            BucketFeature::MarkerTtl => "the link asks for it with `bucket_marker_ttl`",
            BucketFeature::AtomicBatches => "the link asks for it with `atomic`",
        }),
        Error::LoginRefused { error, .. } => connection_hint(error),
        Error::NoAnswer {
            reason: NoAnswerReason::NotConnected(outage),
            ..
        } => outage.error.as_ref().and_then(connection_hint),
        _ => None,
    }
}

/// The same for an error of a connection.
#[must_use]
pub fn connection_hint(error: &ConnectionError) -> Option<&'static str> {
    Some(match error.hint? {
        ErrorHint::NoLogin => {
            "set `client_jwt` + `client_seed`, `credentials`, `username` + `password`, `token` or \
             `nkey_seed`"
        }
        ErrorHint::Login(login) | ErrorHint::ExpiredLogin(login, _) => match login {
            LoginKind::Jwt => "check `client_jwt` and `client_seed`",
            LoginKind::Credentials => "check `credentials`",
            LoginKind::User => "check `username` and `password`",
            LoginKind::Token => "check `token`",
            LoginKind::NkeySeed => "check `nkey_seed`",
        },
        ErrorHint::OtherHost => "check the host in `cluster_uri`",
        ErrorHint::UnknownAuthority => "check `tls_ca`",
        ErrorHint::UnknownToSystem => "set `tls_ca`",
        ErrorHint::NoClientCertificate => "set `tls_cert` and `tls_key`",
        ErrorHint::ClientCertificateRefused => "check `tls_cert`",
        ErrorHint::ServerDoesNotBeginWithTls => "check `tls_first`",
        ErrorHint::ServerHasNoTls => "check the settings that begin with `tls_`",
        ErrorHint::ServerBeginsWithTls => "such a server needs `tls_first`",
        ErrorHint::ServerCertificateExpired => return None,
    })
}

/// The key under which a link sets this.
pub(crate) fn key_of(setting: ConnectionSetting) -> &'static str {
    match setting {
        ConnectionSetting::Servers => "cluster_uri",
        ConnectionSetting::JwtSeed => "client_seed",
        ConnectionSetting::Credentials => "credentials",
        ConnectionSetting::NkeySeed => "nkey_seed",
        ConnectionSetting::TlsAuthorities => "tls_ca",
        ConnectionSetting::TlsCertificate => "tls_cert",
        ConnectionSetting::TlsKey => "tls_key",
    }
}
