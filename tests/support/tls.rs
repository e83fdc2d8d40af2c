//! Certificates made for one test.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

/// A certificate authority, with a folder for what a server reads from files.
pub struct Authority {
    /// The authority's own certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate and its private key.
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

    /// The configuration of a server on 127.0.0.1, with more lines for its `tls` block.
    pub fn server_config(&self, more: &str) -> Result<String> {
        let server = self.certify("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth)?;
        let mut config = "tls {\n".to_owned();
        for (name, pem) in [
            ("cert_file", server.certificate),
            ("key_file", server.key),
            ("ca_file", self.pem.clone()),
        ] {
            let path = self.dir.path().join(name);
            fs::write(&path, pem)?;
            writeln!(config, "{name}: \"{}\"", path.display())?;
        }
        writeln!(config, "{more}\n}}")?;
        Ok(config)
    }

    fn certify(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Result<Certified> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        Ok(Certified {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}
