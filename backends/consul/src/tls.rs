//! TLS: what the HTTP client is told, and what its failures mean.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use infra_core::config::TlsConfig;
use infra_core::{Error, ErrorKind, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError,
    RootCertStore, SignatureScheme,
};

/// The TLS library's configuration; reads the files.
pub(crate) fn options(config: &TlsConfig) -> Result<ClientConfig> {
    let material = config.read()?;
    let provider = Arc::new(default_provider());
    let roots = Arc::new(roots(material.authorities.as_deref())?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let verifier = verifier.map_err(|problem| invalid("no authority can be trusted", problem))?;
    let verifier: Arc<dyn ServerCertVerifier> = match &config.server_name {
        None => verifier,
        Some(name) => Arc::new(Named {
            name: ServerName::try_from(name.clone())
                .map_err(|problem| invalid("`server_name` is no name of a server", problem))?,
            verifier,
        }),
    };
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions
        .map_err(|problem| invalid("the versions of the protocol are not there", problem))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some((certificate, key)) = &material.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| Error::invalid_config("the TLS option `key_file`: the key in it cannot be read"))?;
    builder
        .with_client_auth_cert(certificates("certificate_file", certificate)?, key)
        .map_err(|problem| {
            invalid(
                "`certificate_file` and `key_file` do not belong together",
                problem,
            )
        })
}

/// What an HTTP client without TLS is told, which wants to be told something: it trusts nobody.
pub(crate) fn none() -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let versions = builder.with_safe_default_protocol_versions();
    Ok(versions
        .map_err(|problem| invalid("the versions of the protocol are not there", problem))?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn roots(authorities: Option<&str>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let trusted = match authorities {
        Some(authorities) => certificates("ca_file", authorities)?,
        // What of the system's cannot be read is not trusted; with none at all, no verifier is built.
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (_, unusable) = roots.add_parsable_certificates(trusted);
    if authorities.is_some() && unusable > 0 {
        return Err(Error::invalid_config(
            "the TLS option `ca_file`: a certificate in it is of no authority",
        ));
    }
    Ok(roots)
}

fn certificates(option: &str, text: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    read.map_err(|_| {
        Error::invalid_config(format!(
            "the TLS option `{option}`: a certificate in it cannot be read"
        ))
    })
}

fn invalid(what: &str, source: impl StdError + Send + Sync + 'static) -> Error {
    Error::invalid_config(format!("TLS: {what}; correct the options below `tls`")).with_source(source)
}

/// Wants another name in the server's certificate than the URL's.
#[derive(Debug)]
struct Named {
    name: ServerName<'static>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _of_the_url: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        self.verifier
            .verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// What failed, if it was TLS.
pub(crate) fn problem(error: &(dyn StdError + 'static)) -> Option<(ErrorKind, &'static str)> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(problem) = of_tls(error) {
            return Some(meaning(problem));
        }
        next = error.source();
    }
    None
}

/// The error of the TLS library, which an I/O error contains without naming it as its source.
fn of_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    if let Some(problem) = error.downcast_ref::<TlsError>() {
        return Some(problem);
    }
    let mut io = error.downcast_ref::<io::Error>()?;
    loop {
        let inside = io.get_ref()?;
        match inside.downcast_ref::<TlsError>() {
            Some(problem) => return Some(problem),
            None => io = inside.downcast_ref::<io::Error>()?,
        }
    }
}

fn meaning(problem: &TlsError) -> (ErrorKind, &'static str) {
    match problem {
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            ErrorKind::Unauthenticated,
            "the certificate of Consul's agent is for another name than the URL's; connect by that name, or set `tls.server_name`",
        ),
        TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented => (
            ErrorKind::Unauthenticated,
            "the certificate of Consul's agent is not to be trusted; set `tls.ca_file` to the authority that signed it, or renew it",
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
            "Consul's agent refused our certificate, or wants one; set `tls.certificate_file` and `tls.key_file`",
        ),
        TlsError::InvalidMessage(_) => (
            ErrorKind::InvalidConfig,
            "Consul's agent does not speak TLS on this port; connect to the port that does. Nothing was sent without TLS",
        ),
        _ => (
            ErrorKind::InvalidConfig,
            "TLS could not be agreed on with Consul's agent; compare what both sides support",
        ),
    }
}
