//! TLS: what the driver is told, and what its failures mean.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use infra_core::config::TlsConfig;
use infra_core::{ErrorKind, Result};
use redis::{ClientTlsConfig, RedisError, TlsCertificates};
use rustls::{AlertDescription, Error as TlsError};

/// The certificates for the driver; reads the files.
pub(crate) fn certificates(config: &TlsConfig) -> Result<TlsCertificates> {
    // The driver takes the process's provider; where a binary has several compiled in, somebody must choose one.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error says that somebody else was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let material = config.read()?;
    Ok(TlsCertificates {
        root_cert: material.authorities.map(String::into_bytes),
        client_tls: material.identity.map(|(certificate, key)| ClientTlsConfig {
            client_cert: certificate.into_bytes(),
            client_key: key.expose().clone().into_bytes(),
        }),
    })
}

/// What failed, if it was TLS.
pub(crate) fn problem(error: &RedisError) -> Option<(ErrorKind, &'static str)> {
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = next {
        let error = unwrapped(error);
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

/// The driver keeps errors in an `Arc`, which is an error itself and hides what it is of.
fn unwrapped<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    match error.downcast_ref::<Arc<dyn StdError + Send + Sync>>() {
        Some(inside) => &**inside,
        None => error,
    }
}

/// Some servers end a connection that begins with something else than their protocol, and so does one that is going down.
const CUT: (ErrorKind, &str) = (
    ErrorKind::Unavailable,
    "the server of Redis ended the connection in the TLS handshake: it does not speak TLS on this port, or is going down. Nothing was \
     sent without TLS",
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
            "the certificate of the server of Redis is for another name than the URL's; set `tls.server_name` to one that it bears, or connect by that",
        ),
        TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented => (
            ErrorKind::Unauthenticated,
            "the certificate of the server of Redis is not to be trusted; set `tls.ca_file` to the authority that signed it, or renew it",
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
            "the server of Redis refused our certificate, or wants one; set `tls.certificate_file` and `tls.key_file`",
        ),
        TlsError::InvalidMessage(_) => (
            ErrorKind::InvalidConfig,
            "the server of Redis does not speak TLS on this port; connect to the port that does. Nothing was sent without TLS",
        ),
        _ => (
            ErrorKind::InvalidConfig,
            "TLS could not be agreed on with the server of Redis; compare what both sides support",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_found_in_the_drivers_errors() {
        let expired = TlsError::InvalidCertificate(rustls::CertificateError::Expired);
        let of_io = |error: TlsError| RedisError::from(io::Error::new(io::ErrorKind::InvalidData, error));
        let (kind, message) = problem(&of_io(expired)).expect("a problem of TLS");
        assert_eq!(kind, ErrorKind::Unauthenticated);
        assert!(message.contains("tls.ca_file"), "{message}");
        let refused = TlsError::AlertReceived(AlertDescription::CertificateRequired);
        let (_, message) = problem(&of_io(refused)).expect("a problem of TLS");
        assert!(message.contains("tls.certificate_file"), "{message}");
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert!(problem(&RedisError::from(cut)).is_some());
        let broken = RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(problem(&broken).is_none());
    }
}
