//! A model server as HTTP: where it is, who we are to it, and what it answers, whatever protocol its bodies speak.

mod answer;
mod settings;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use agent_pod_core::model::{ModelError, ModelErrorKind};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use secrecy::ExposeSecret as _;
use tokio::time::timeout;
use tracing::debug;
use url::Url;

use super::error::unreachable;
use super::listing;
use crate::http::{Client, TlsSettings, USER_AGENT as OUR_NAME};
use crate::secret::credential::{Credential, Sent};

pub(super) use answer::Answer;
pub use answer::{ERROR_BODY_BYTES_MAX, ERROR_BODY_WAIT, OFFLOADED_BYTES, REPLY_BYTES_MAX};
pub use settings::{AuthScheme, AuthSettings, ServerSettings, ServerSettingsError};

/// How long the list of models may take.
pub const LISTING_WAIT: Duration = Duration::from_secs(10);

/// The most bytes of the list of models.
pub const LISTING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A model server.
#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    headers: HeaderMap,
    auth: Option<Auth>,
}

#[derive(Debug)]
struct Auth {
    header: HeaderName,
    prefix: &'static str,
    credential: Credential,
}

/// A request that can be sent twice.
struct Template<'a> {
    method: Method,
    uri: &'a Uri,
    accept: &'static str,
    body: Bytes,
}

impl Server {
    /// The server at `base`. Nothing is sent yet.
    pub(super) fn new(settings: &ServerSettings, base: &Url) -> Result<Self, ServerSettingsError> {
        let auth = settings.auth.as_ref().map(Auth::new).transpose()?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(OUR_NAME));
        headers.extend(settings::headers(&settings.headers, auth.as_ref().map(|auth| &auth.header))?);
        let tls: TlsSettings = settings.tls.clone().unwrap_or_default();
        let client = Client::new(base.scheme() == "https", tls, settings.connect_timeout);
        Ok(Self { client: client.map_err(ServerSettingsError::Tls)?, headers, auth })
    }

    /// Sends a JSON document; whatever comes back with 2xx is the answer.
    pub(super) async fn post(&self, uri: &Uri, accept: &'static str, body: Bytes) -> Result<Answer, ModelError> {
        let sent = self.credential()?;
        let (answer, sent) = self.ask(&Template { method: Method::POST, uri, accept, body }, sent).await?;
        // Only here: lists of models are often open to everybody, or closed to keys that may call one.
        if let (Some(auth), Some(sent)) = (&self.auth, &sent) {
            let status = answer.status();
            if is_refusal(status) {
                auth.credential.refused(sent, status);
            } else if status.is_success() {
                auth.credential.accepted(sent);
            }
        }
        answer.successful().await
    }

    /// The names of the models at `uri`.
    pub(super) async fn models(&self, uri: &Uri) -> Result<Vec<String>, ModelError> {
        let template = Template { method: Method::GET, uri, accept: "application/json", body: Bytes::new() };
        let listing = async {
            let (answer, _sent) = self.ask(&template, self.credential()?).await?;
            listing::names(&answer.successful().await?.bounded(LISTING_BYTES_MAX).await?)
        };
        timeout(LISTING_WAIT, listing)
            .await
            .unwrap_or_else(|_| Err(ModelError::new(ModelErrorKind::Timeout, "list of models too slow")))
    }

    /// Changes whenever the credential does, or whom we believe.
    pub(super) fn credential_version(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.auth.as_ref().map(|auth| auth.credential.version()).hash(&mut hasher);
        self.client.ca_version().hash(&mut hasher);
        hasher.finish()
    }

    /// Whether the credential is refused that was accepted before, so that another one may be on its way.
    pub(super) fn awaits_credential(&self) -> bool {
        self.auth.as_ref().is_some_and(|auth| auth.credential.is_awaited())
    }

    /// Waits for that; whether there is another one than that of the version `refused`, or it is accepted again.
    pub(super) async fn credential_renewed(&self, refused: u64) -> bool {
        let Some(auth) = &self.auth else { return false };
        auth.credential.renewed().await || self.credential_version() != refused
    }

    /// Sends the request; once more if the credential is refused and has changed at its source since. With the answer comes
    /// the credential that it is to.
    async fn ask(&self, template: &Template<'_>, sent: Option<Sent>) -> Result<(Answer, Option<Sent>), ModelError> {
        let mut sent = sent;
        let mut response = self.send(template, sent.as_ref()).await?;
        if is_refusal(response.status())
            && let (Some(auth), Some(refused)) = (&self.auth, &sent)
            && let Some(fresh) = auth.credential.fresh(refused).await
        {
            debug!(url = %template.uri, "credential refused, trying the one that has replaced it");
            response = self.send(template, Some(&fresh)).await?;
            sent = Some(fresh);
        }
        debug!(url = %template.uri, status = response.status().as_u16(), "model server answered");
        Ok((Answer::new(response, sent.as_ref().map(|sent| sent.value.clone())), sent))
    }

    async fn send(
        &self,
        template: &Template<'_>,
        sent: Option<&Sent>,
    ) -> Result<http::Response<hyper::body::Incoming>, ModelError> {
        let mut request = Request::new(Full::new(template.body.clone()));
        *request.method_mut() = template.method.clone();
        *request.uri_mut() = template.uri.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static(template.accept));
        if template.method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        if let (Some(auth), Some(sent)) = (&self.auth, sent) {
            headers.insert(auth.header.clone(), auth.value(sent)?);
        }
        self.client.send(request).await.map_err(|error| unreachable(&error))
    }

    /// The credential in use; `None` where none is to be sent.
    fn credential(&self) -> Result<Option<Sent>, ModelError> {
        let Some(auth) = &self.auth else { return Ok(None) };
        match auth.credential.to_send() {
            Some(credential) => Ok(Some(credential)),
            None => Err(ModelError::new(ModelErrorKind::Unauthorized, "credential missing")),
        }
    }
}

/// Whether an answer may mean that the credential is not the right one.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

impl Auth {
    fn new(settings: &AuthSettings) -> Result<Self, ServerSettingsError> {
        let (header, prefix) = match &settings.scheme {
            AuthScheme::Bearer => (AUTHORIZATION, "Bearer "),
            AuthScheme::Header(name) => (settings::auth_header(name)?, ""),
        };
        Ok(Self { header, prefix, credential: Credential::new(settings.secret.clone()) })
    }

    fn value(&self, sent: &Sent) -> Result<HeaderValue, ModelError> {
        let mut value = HeaderValue::try_from(format!("{}{}", self.prefix, sent.value.expose_secret()))
            .map_err(|_| ModelError::new(ModelErrorKind::Unauthorized, "credential is no header value"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}
