//! The TLS configuration of a connection.
//!
//! Several implementations of cryptography may be compiled into a program, by different
//! dependencies. Then `ClientConfig::builder()` panics unless the program has installed one of
//! them. So this module always names the one to use, and installs nothing. It prefers the one that
//! the program has installed. The next choice is the one of this crate's feature `ring`.

use std::sync::Arc;

use async_nats::rustls::crypto::CryptoProvider;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{ClientConfig, RootCertStore};

use super::{ConnectionSetting, SettingError, Tls};

/// The configuration for these settings; `None` if they hold no certificates.
pub(super) fn config(tls: &Tls) -> Result<Option<ClientConfig>, SettingError> {
    let setting = match tls {
        Tls { ca: Some(_), .. } => ConnectionSetting::TlsAuthorities,
        Tls {
            client: Some(_), ..
        } => ConnectionSetting::TlsCertificate,
        _ => return Ok(None),
    };
    let roots = match &tls.ca {
        Some(ca) => authorities(ca)?,
        None => system_roots(),
    };
    let crypto = installed_crypto().or_else(compiled_crypto).ok_or_else(|| {
        setting.problem("needs TLS, and this program has no implementation of its cryptography")
    })?;
    let builder = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|error| setting.problem(error.to_string()))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &tls.client else {
        return Ok(Some(builder.with_no_client_auth()));
    };
    let chain = certificates(certificate)
        .map_err(|problem| ConnectionSetting::TlsCertificate.problem(problem))?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| ConnectionSetting::TlsKey.problem("holds no private key in PEM form"))?;
    builder
        .with_client_auth_cert(chain, key)
        .map(Some)
        .map_err(|error| {
            let problem = format!("does not go with the private key: {error}");
            ConnectionSetting::TlsCertificate.problem(problem)
        })
}

/// The configuration for a server that asks for TLS although the settings do not. It has the
/// system's roots.
///
/// `None` leaves it to the NATS client, which reads the system's roots again for each connection.
/// The client can do so if the program has installed an implementation of cryptography.
pub(super) fn default_config() -> Option<ClientConfig> {
    if installed_crypto().is_some() {
        return None;
    }
    let builder = ClientConfig::builder_with_provider(compiled_crypto()?)
        .with_safe_default_protocol_versions()
        .ok()?;
    Some(
        builder
            .with_root_certificates(system_roots())
            .with_no_client_auth(),
    )
}

/// The implementation that the program has installed.
fn installed_crypto() -> Option<Arc<CryptoProvider>> {
    CryptoProvider::get_default().cloned()
}

/// The implementation of this crate's feature `ring`.
fn compiled_crypto() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "ring")]
    let crypto = Some(async_nats::rustls::crypto::ring::default_provider().into());
    #[cfg(not(feature = "ring"))]
    let crypto = None;
    crypto
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn authorities(pem: &str) -> Result<RootCertStore, SettingError> {
    let setting = ConnectionSetting::TlsAuthorities;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|problem| setting.problem(problem))? {
        roots
            .add(certificate)
            .map_err(|error| setting.problem(error.to_string()))?;
    }
    Ok(roots)
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
