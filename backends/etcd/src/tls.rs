//! TLS: what the driver is told, and what its failures mean.

use std::error::Error as StdError;
use std::io;

use etcd_client::{Certificate, Error as EtcdError, Identity, TlsOptions};
use infra_core::config::TlsConfig;
use infra_core::{ErrorKind, Result};
use rustls::{AlertDescription, Error as TlsError};

/// The driver's options; reads the files.
pub(crate) fn options(config: &TlsConfig) -> Result<TlsOptions> {
    let material = config.read()?;
    let mut options = TlsOptions::new();
    options = match &material.authorities {
        Some(authorities) => options.ca_certificate(Certificate::from_pem(authorities)),
        None => options.with_enabled_roots(),
    };
    if let Some((certificate, key)) = &material.identity {
        options = options.identity(Identity::from_pem(certificate, key.expose()));
    }
    if let Some(name) = &config.server_name {
        options = options.domain_name(name);
    }
    Ok(options)
}

/// What failed, if it was TLS.
pub(crate) fn problem(error: &EtcdError) -> Option<(ErrorKind, &'static str)> {
    // The driver's error does not name its sources.
    let mut next: Option<&(dyn StdError + 'static)> = match error {
        EtcdError::GRpcStatus(status) => status.source(),
        EtcdError::TransportError(error) => Some(error),
        EtcdError::IoError(error) => Some(error),
        _ => None,
    };
    while let Some(error) = next {
        if let Some(problem) = of_tls(error) {
            return Some(meaning(problem));
        }
        if is_cut_handshake(error) {
            return Some(CUT);
        }
        next = error.source();
    }
    None
}

/// Some servers end a connection that begins with something else than their protocol, and so does one that is going down.
const CUT: (ErrorKind, &str) = (
    ErrorKind::Unavailable,
    "etcd's server ended the connection in the TLS handshake: it does not speak TLS on this port, or is going down. Nothing was sent \
     without TLS",
);

/// The TLS library has no error of its own for it.
fn is_cut_handshake(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        error.kind() == io::ErrorKind::UnexpectedEof && error.to_string().contains("tls handshake")
    })
}

/// The error of the TLS library, which an I/O error contains without naming it as its source.
fn of_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    let inside = |io: &'a io::Error| io.get_ref()?.downcast_ref::<TlsError>();
    let direct = error.downcast_ref::<TlsError>();
    direct.or_else(|| error.downcast_ref::<io::Error>().and_then(inside))
}

fn meaning(problem: &TlsError) -> (ErrorKind, &'static str) {
    match problem {
        TlsError::InvalidCertificate(
            rustls::CertificateError::NotValidForName
            | rustls::CertificateError::NotValidForNameContext { .. },
        ) => (
            ErrorKind::Unauthenticated,
            "the certificate of etcd's server is for another name than the URL's; connect by that name, or set `tls.server_name`",
        ),
        TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented => (
            ErrorKind::Unauthenticated,
            "the certificate of etcd's server is not to be trusted; set `tls.ca_file` to the authority that signed it, or renew it",
        ),
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied,
        ) => (
            ErrorKind::Unauthenticated,
            "etcd's server refused our certificate, or wants one; set `tls.certificate_file` and `tls.key_file`",
        ),
        TlsError::InvalidMessage(_) => (
            ErrorKind::InvalidConfig,
            "etcd's server does not speak TLS on this port; connect to the port that does. Nothing was sent without TLS",
        ),
        _ => (
            ErrorKind::InvalidConfig,
            "TLS could not be agreed on with etcd's server; compare what both sides support",
        ),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, InvalidMessage};

    use super::*;

    /// As the driver wraps what its transport says.
    fn wrapped(problem: TlsError) -> EtcdError {
        EtcdError::IoError(io::Error::new(io::ErrorKind::InvalidData, problem))
    }

    #[test]
    fn each_failure_says_what_to_do() {
        let untrusted = CertificateError::UnknownIssuer;
        for (problem, kind, words) in [
            (
                TlsError::InvalidCertificate(untrusted),
                ErrorKind::Unauthenticated,
                "tls.ca_file",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::NotValidForName),
                ErrorKind::Unauthenticated,
                "tls.server_name",
            ),
            (
                TlsError::AlertReceived(AlertDescription::CertificateRequired),
                ErrorKind::Unauthenticated,
                "tls.key_file",
            ),
            (
                TlsError::InvalidMessage(InvalidMessage::InvalidContentType),
                ErrorKind::InvalidConfig,
                "does not speak TLS",
            ),
            (
                TlsError::HandshakeNotComplete,
                ErrorKind::InvalidConfig,
                "agreed on",
            ),
        ] {
            let (found, message) = super::problem(&wrapped(problem)).expect("a failure of TLS");
            assert_eq!(found, kind);
            assert!(message.contains(words), "{message}");
        }
        let eof = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert_eq!(super::problem(&EtcdError::IoError(eof)), Some(CUT));
        let other = EtcdError::IoError(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(super::problem(&other), None);
    }
}
