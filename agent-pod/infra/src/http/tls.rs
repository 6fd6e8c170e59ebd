//! Whom a client believes.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::ExposeSecret as _;

use super::TlsSettings;
use crate::secret::SecretHandle;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system's certificate authorities cannot be used.
    #[error("the certificate authorities of the system cannot be used; check that the image holds them")]
    System(#[source] rustls::Error),
    /// The Secret of the certificate authorities holds none.
    #[error("CA certificates missing")]
    CaMissing,
    /// The Secret of the certificate authorities holds something else.
    #[error("CA certificates are not PEM")]
    CaNotPem,
}

/// The configuration of these settings.
pub(super) fn config(settings: &TlsSettings) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder();
    if settings.insecure_skip_verify {
        let verifier = Anybody(Arc::clone(builder.crypto_provider()));
        return Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth());
    }
    match &settings.ca {
        Some(ca) => Ok(builder.with_root_certificates(roots(ca)?).with_no_client_auth()),
        None => Ok(builder.with_platform_verifier().map_err(TlsError::System)?.with_no_client_auth()),
    }
}

/// For connections that never see TLS: reading the system's authorities takes milliseconds.
pub(super) fn unused() -> ClientConfig {
    ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn roots(ca: &SecretHandle) -> Result<RootCertStore, TlsError> {
    let pem = ca.get().ok_or(TlsError::CaMissing)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.expose_secret().as_bytes()) {
        roots.add(certificate.map_err(|_| TlsError::CaNotPem)?).map_err(|_| TlsError::CaNotPem)?;
    }
    if roots.is_empty() { Err(TlsError::CaNotPem) } else { Ok(roots) }
}

/// Believes every certificate. Signatures are still checked: whoever sends a certificate has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
