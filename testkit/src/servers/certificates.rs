//! Certificates for servers that speak TLS, made new for each server: a private authority, and what it signed.
//!
//! The authority's own key is never written down. The other keys are readable by all: servers run as various users, and the keys
//! open nothing but a server on this machine's loopback address that lives as long as its tests.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::problem::{Attempt, Result};
use super::recipe::write;

/// The names under which a server may be called, besides its address.
const NAMES: [&str; 2] = ["localhost", "server.infra.test"];

/// The folder with the files of one server.
pub(super) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Those in `certificates` below this folder, written or not.
    pub(super) fn below(folder: &Path) -> Self {
        Self {
            folder: folder.join("certificates"),
        }
    }

    /// Makes and writes them all.
    pub(super) fn generate(&self) -> Result<()> {
        let what = || "make certificates".to_owned();
        std::fs::create_dir_all(&self.folder).attempt(|| format!("create {}", self.folder.display()))?;
        let authority = authority("infra test authority").attempt(what)?;
        write(&self.path("ca.pem"), &authority.pem())?;
        let other = self::authority("another authority").attempt(what)?;
        write(&self.path("other-ca.pem"), &other.pem())?;
        for (name, usage) in [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let (certificate, key) = signed(&authority, name, usage).attempt(what)?;
            write(&self.path(&format!("{name}.pem")), &certificate)?;
            write(&self.path(&format!("{name}.key")), &key)?;
        }
        Ok(())
    }

    /// The authority's certificate, which clients must trust.
    pub(super) fn authority(&self) -> String {
        self.text("ca.pem")
    }

    /// Another authority's certificate, which signed nothing here.
    pub(super) fn other_authority(&self) -> String {
        self.text("other-ca.pem")
    }

    /// The server's certificate and its key.
    pub(super) fn server(&self) -> (String, String) {
        (self.text("server.pem"), self.text("server.key"))
    }

    /// A client's certificate and its key.
    pub(super) fn client(&self) -> (String, String) {
        (self.text("client.pem"), self.text("client.key"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> std::result::Result<Authority, rcgen::Error> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)
}

/// A certificate and its key, as PEM.
fn signed(
    authority: &Authority,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> std::result::Result<(String, String), rcgen::Error> {
    let names = NAMES.iter().copied().chain(["127.0.0.1"]).map(str::to_owned);
    let mut parameters = CertificateParams::new(names.collect::<Vec<_>>())?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![usage];
    parameters.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, authority)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_is_whole_and_another_one() {
        let folder = std::env::temp_dir().join(crate::unique("infra-certificates"));
        let certificates = Certificates::below(&folder);
        let read = |path: &str| std::fs::read_to_string(path).expect(path);
        let generate = || {
            certificates.generate().expect("generated");
            let ((server, server_key), (client, client_key)) = (certificates.server(), certificates.client());
            let authorities = [certificates.authority(), certificates.other_authority()];
            for certificate in authorities.iter().chain([&server, &client]) {
                assert!(read(certificate).starts_with("-----BEGIN CERTIFICATE-----"));
            }
            for key in [&server_key, &client_key] {
                assert!(read(key).starts_with("-----BEGIN PRIVATE KEY-----"));
            }
            assert_ne!(read(&authorities[0]), read(&authorities[1]));
            read(&authorities[0])
        };
        assert_ne!(generate(), generate());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
