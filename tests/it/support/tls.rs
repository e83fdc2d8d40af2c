//! Certificates made for one test.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// A year in the past.
const PAST: i32 = 2020;

/// A certificate authority, with a folder for what a server reads from files.
pub struct Authority {
    /// The authority's own certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate and its private key.
#[derive(Clone)]
pub struct Certified {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let authority = Self {
            pem: params.self_signed(&key)?.pem(),
            issuer: Issuer::new(params, key),
            dir: tempfile::tempdir()?,
        };
        fs::write(authority.pem_file(), &authority.pem)?;
        Ok(authority)
    }

    /// The file with the authority's own certificate.
    pub fn pem_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A client's certificate.
    pub fn client(&self) -> Result<Certified> {
        self.certify("client", ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A client's certificate that is no longer valid.
    pub fn expired_client(&self) -> Result<Certified> {
        self.certify_until("client", ExtendedKeyUsagePurpose::ClientAuth, PAST)
    }

    /// The configuration of a server on 127.0.0.1, with more lines for its `tls` block.
    pub fn server_config(&self, more: &str) -> Result<String> {
        self.config_of(&self.server("127.0.0.1")?, &self.pem, more)
    }

    /// The same with a certificate that names another server.
    pub fn server_config_for(&self, name: &str) -> Result<String> {
        self.config_of(&self.server(name)?, &self.pem, "")
    }

    /// The same with a certificate that is no longer valid.
    pub fn expired_server_config(&self) -> Result<String> {
        let purpose = ExtendedKeyUsagePurpose::ServerAuth;
        let server = self.certify_until("127.0.0.1", purpose, PAST)?;
        self.config_of(&server, &self.pem, "")
    }

    /// The same for a server that trusts the clients of another authority only.
    pub fn server_config_trusting(&self, clients: &Self) -> Result<String> {
        self.config_of(&self.server("127.0.0.1")?, &clients.pem, "verify: true")
    }

    fn server(&self, name: &str) -> Result<Certified> {
        self.certify(name, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn config_of(&self, server: &Certified, ca: &str, more: &str) -> Result<String> {
        // Of its own for each configuration; it goes with the authority's.
        let dir = tempfile::tempdir_in(self.dir.path())?.keep();
        let mut config = "tls {\n".to_owned();
        for (name, pem) in [
            ("cert_file", server.certificate.as_str()),
            ("key_file", server.key.as_str()),
            ("ca_file", ca),
        ] {
            let path = dir.join(name);
            fs::write(&path, pem)?;
            writeln!(config, "{name}: \"{}\"", path.display())?;
        }
        writeln!(config, "{more}\n}}")?;
        Ok(config)
    }

    fn certify(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Result<Certified> {
        self.certify_until(name, purpose, 4096)
    }

    /// A certificate that is valid until the first day of this year.
    fn certify_until(
        &self,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
        year: i32,
    ) -> Result<Certified> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        Ok(Certified {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}
