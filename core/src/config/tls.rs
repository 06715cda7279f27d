//! TLS towards a server: whom to trust, and who we are. Plain data, and the reading of its files; no TLS library.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::problems::{Problems, Validate};
use super::secret::Secret;
use crate::error::{Error, Result};

/// How connections to a server are protected.
///
/// Where a backend's configuration has one, it speaks TLS or not at all: a server that cannot, or that no trusted authority
/// vouches for, is an error, and nothing is sent to it.
///
/// ```
/// use infra_core::config::{TlsConfig, Validate};
///
/// // In a file: tls = { ca_file = "certificates/ca.pem", certificate_file = "client.pem", key_file = "client.key" }
/// let tls = TlsConfig::new()
///     .with_ca_file("certificates/ca.pem")
///     .with_identity("client.pem", "client.key");
/// tls.check()?;
/// let error = tls.read().unwrap_err();
/// assert!(error.message().contains("`ca_file`: cannot read certificates/ca.pem"));
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsConfig {
    /// The file with the certificates of the authorities that are trusted, as PEM. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The file with our own certificate, as PEM, where the server wants one; needs `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// The file with the private key of our certificate, as PEM; needs `certificate_file`.
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate must bear. Default: the host of the URL.
    pub server_name: Option<String>,
}

impl TlsConfig {
    /// TLS with the system's authorities and without a certificate of our own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, trusting the authorities in this file alone.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// The same with a certificate of our own and its key.
    #[must_use]
    pub fn with_identity(
        mut self,
        certificate_file: impl Into<PathBuf>,
        key_file: impl Into<PathBuf>,
    ) -> Self {
        self.certificate_file = Some(certificate_file.into());
        self.key_file = Some(key_file.into());
        self
    }

    /// The same, expecting this name in the server's certificate.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Reads the files, for the backend to give them to its driver. Blocks while it reads them; they are small.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that names the option and the file when one cannot be read or does not
    /// contain what it should.
    pub fn read(&self) -> Result<TlsMaterial> {
        let read = |name: &str, file: &Option<PathBuf>, what: &str| {
            let text = file.as_deref().map(|file| read_pem(name, file, what));
            text.transpose()
        };
        let authorities = read("ca_file", &self.ca_file, "CERTIFICATE-----")?;
        let certificate = read("certificate_file", &self.certificate_file, "CERTIFICATE-----")?;
        let key = read("key_file", &self.key_file, "PRIVATE KEY-----")?;
        Ok(TlsMaterial {
            authorities,
            identity: certificate.zip(key.map(Secret::new)),
        })
    }
}

impl Validate for TlsConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.certificate_file.is_some() || self.key_file.is_none(),
            "certificate_file",
            "is missing beside `key_file`; a key needs its certificate",
        );
        problems.ensure(
            self.key_file.is_some() || self.certificate_file.is_none(),
            "key_file",
            "is missing beside `certificate_file`; a certificate needs its key",
        );
        problems.ensure(
            self.server_name.as_deref() != Some(""),
            "server_name",
            "is empty; leave it out, or name the server as its certificate does",
        );
    }
}

/// What the files of a [`TlsConfig`] contain, as PEM.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsMaterial {
    /// The certificates of the trusted authorities; `None` for those of the system.
    pub authorities: Option<String>,
    /// Our own certificate and its private key.
    pub identity: Option<(String, Secret<String>)>,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial")
            .field("authorities", &self.authorities.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

fn read_pem(name: &str, file: &Path, what: &str) -> Result<String> {
    let shown = file.display();
    let problem = |text: String| {
        Error::invalid_config(format!("the TLS option `{name}`: {text}")).at("config", "", "read")
    };
    let text =
        std::fs::read_to_string(file).map_err(|error| problem(format!("cannot read {shown}: {error}")))?;
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(what);
    if text.lines().any(begins) {
        return Ok(text);
    }
    Err(problem(format!(
        "{shown} has no line `-----BEGIN … {what}`; give a file in the PEM format"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n";

    #[test]
    fn a_key_and_its_certificate_come_together() {
        for (config, path) in [
            (
                TlsConfig {
                    key_file: Some("k".into()),
                    ..TlsConfig::new()
                },
                "certificate_file",
            ),
            (
                TlsConfig {
                    certificate_file: Some("c".into()),
                    ..TlsConfig::new()
                },
                "key_file",
            ),
            (TlsConfig::new().with_server_name(""), "server_name"),
        ] {
            let error = config.check().expect_err(path);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.message().contains(&format!("{path}: is ")), "{error}");
        }
        TlsConfig::new().check().expect("the system's authorities");
        TlsConfig::new().with_identity("c", "k").check().expect("both");
    }

    #[test]
    fn files_are_read_and_a_wrong_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let (certificate, key) = (file("certificate", CERTIFICATE), file("key", KEY));
        let config = TlsConfig::new()
            .with_ca_file(&certificate)
            .with_identity(&certificate, &key);
        let material = config.read().expect("read");
        assert_eq!(material.authorities.as_deref(), Some(CERTIFICATE));
        let (own, own_key) = material.identity.as_ref().expect("an identity");
        assert_eq!((own.as_str(), own_key.expose().as_str()), (CERTIFICATE, KEY));
        assert!(!format!("{material:?}").contains("c2VjcmV0"));
        assert_eq!(
            TlsConfig::new().read().expect("nothing to read").authorities,
            None
        );

        for (config, name) in [
            (TlsConfig::new().with_ca_file(&key), "ca_file"),
            (TlsConfig::new().with_ca_file(folder.path()), "ca_file"),
            (TlsConfig::new().with_ca_file(file("empty", "")), "ca_file"),
            (
                TlsConfig::new().with_identity(folder.path().join("none"), &key),
                "certificate_file",
            ),
            (
                TlsConfig::new().with_identity(&certificate, &certificate),
                "key_file",
            ),
        ] {
            let error = config.read().expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            let folder = folder.path().display().to_string();
            assert!(
                error.message().contains(&format!("`{name}`: ")) && error.message().contains(&folder),
                "{error}"
            );
            assert!(!error.message().contains("c2VjcmV0"), "{error}");
        }
    }
}
