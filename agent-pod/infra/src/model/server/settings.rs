//! What is said of a server, and what of it cannot be.

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::{TlsError, TlsSettings};
use crate::model::endpoint::EndpointError;
use crate::secret::SecretHandle;

/// How a credential is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthScheme {
    /// `Authorization: Bearer <credential>`.
    Bearer,
    /// A header of this name with nothing but the credential.
    Header(String),
}

/// Which credential is sent, and how.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// How.
    pub scheme: AuthScheme,
    /// Which.
    pub secret: SecretHandle,
}

/// A model server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Its base URL.
    pub endpoint: String,
    /// The credential; absent: none is sent.
    pub auth: Option<AuthSettings>,
    /// Headers of every request.
    pub headers: Vec<(String, String)>,
    /// How the server proves who it is; absent: by the certificate authorities of the system.
    pub tls: Option<TlsSettings>,
    /// How long connecting may take: the name, TCP and TLS.
    pub connect_timeout: Duration,
}

/// Settings that make no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerSettingsError {
    /// The endpoint is not usable.
    #[error("bad endpoint: {0}")]
    Endpoint(#[source] EndpointError),
    /// The credential's header cannot be one.
    #[error("the header `{name}` cannot carry a credential: {problem}")]
    AuthHeader {
        /// The name.
        name: String,
        /// Why.
        problem: HeaderProblem,
    },
    /// An own header cannot be sent.
    #[error("the header `{name}` cannot be sent: {problem}")]
    Header {
        /// The name.
        name: String,
        /// Why.
        problem: HeaderProblem,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] TlsError),
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// Its name is not one.
    #[error("it is not the name of an HTTP header")]
    Name,
    /// Its value is not one.
    #[error("its value holds characters that no header can")]
    Value,
    /// It is set here.
    #[error("it is set by the agent itself")]
    Reserved,
    /// There are two of them.
    #[error("it is given twice")]
    Repeated,
}

impl ServerSettingsError {
    /// The setting that is wrong: `endpoint`, `auth.header`, `headers.<name>` or `tls`.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::Endpoint(_) => "endpoint".to_owned(),
            Self::AuthHeader { .. } => "auth.header".to_owned(),
            Self::Header { name, .. } => format!("headers.{name}"),
            Self::Tls(_) => "tls".to_owned(),
        }
    }
}

/// What the translation and the connection set, so nobody else may.
const RESERVED: [HeaderName; 6] = [CONTENT_TYPE, CONTENT_LENGTH, HOST, CONNECTION, TRANSFER_ENCODING, ACCEPT_ENCODING];

/// The own headers, none of which is ours or the `credential`'s.
pub(super) fn headers(
    own: &[(String, String)],
    credential: Option<&HeaderName>,
) -> Result<HeaderMap, ServerSettingsError> {
    let mut headers = HeaderMap::new();
    for (name, value) in own {
        let failed = |problem| ServerSettingsError::Header { name: name.clone(), problem };
        let header = HeaderName::try_from(name.as_str()).map_err(|_| failed(HeaderProblem::Name))?;
        if RESERVED.contains(&header) || header == AUTHORIZATION || Some(&header) == credential {
            return Err(failed(HeaderProblem::Reserved));
        }
        let value = HeaderValue::try_from(value.as_str()).map_err(|_| failed(HeaderProblem::Value))?;
        if headers.insert(header, value).is_some() {
            return Err(failed(HeaderProblem::Repeated));
        }
    }
    Ok(headers)
}

/// The header of a credential.
pub(super) fn auth_header(name: &str) -> Result<HeaderName, ServerSettingsError> {
    let failed = |problem| ServerSettingsError::AuthHeader { name: name.to_owned(), problem };
    let header = HeaderName::try_from(name).map_err(|_| failed(HeaderProblem::Name))?;
    if RESERVED.contains(&header) { Err(failed(HeaderProblem::Reserved)) } else { Ok(header) }
}
