//! `webhook`: a web service carries the tool out.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_pod_core::agent::Turn;
use agent_pod_core::tool::{Tool, ToolError, ToolSpec};
use astromesh_egress::Reach;
use async_trait::async_trait;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT as USER_AGENT_HEADER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::ToolSetupError;
use super::call::{Answer, checked_url, run_headers, send, success};
use crate::http::{Client, TlsSettings, USER_AGENT};
use crate::secret::SecretHandle;
use crate::secret::credential::{Credential, Sent};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a webhook is made of.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// As the model sees it.
    pub spec: ToolSpec,
    /// Where it is.
    pub url: String,
    /// GET and DELETE send the arguments as query, all others as JSON.
    pub method: Method,
    /// Headers of every call.
    pub headers: BTreeMap<String, String>,
    /// The credential, and the header that it is sent in as it is; absent: `Authorization`, after `Bearer `.
    pub auth: Option<(SecretHandle, Option<String>)>,
    /// How long a call may take; whoever calls ends it. No more than half of it is spent on waiting for a new credential.
    pub timeout: Duration,
}

/// A tool that is a web service.
#[derive(Debug)]
pub struct Webhook {
    spec: ToolSpec,
    url: Url,
    method: Method,
    headers: HeaderMap,
    auth: Option<(Credential, Option<HeaderName>)>,
    timeout: Duration,
    client: Client,
}

impl Webhook {
    /// A webhook; nothing is called yet.
    ///
    /// # Errors
    /// When it could never be called.
    pub fn new(settings: WebhookSettings) -> Result<Self, ToolSetupError> {
        let WebhookSettings { spec, url, method, headers, auth, timeout } = settings;
        let url = checked_url(&url)?;
        // Names are checked with each connection.
        Reach::NoMetadata.check_url(&url).map_err(|_reason| ToolSetupError::Address)?;
        let name = |text: &str| text.parse::<HeaderName>().map_err(|_| ToolSetupError::Header(text.to_owned()));
        let mut fixed = HeaderMap::new();
        for (header, value) in &headers {
            let value = HeaderValue::from_str(value).map_err(|_| ToolSetupError::Header(header.clone()))?;
            fixed.insert(name(header)?, value);
        }
        let auth = match auth {
            Some((secret, header)) => Some((Credential::new(secret), header.as_deref().map(name).transpose()?)),
            None => None,
        };
        let client =
            Client::reaching(url.scheme() == "https", TlsSettings::default(), CONNECT_TIMEOUT, Reach::NoMetadata)
                .map_err(|error| ToolSetupError::Tls(error.to_string()))?;
        Ok(Self { spec, url, method, headers: fixed, auth, timeout, client })
    }

    fn request(
        &self,
        arguments: &Value,
        turn: &Turn<'_>,
        sent: Option<&Sent>,
    ) -> Result<Request<Full<bytes::Bytes>>, ToolError> {
        let mut url = self.url.clone();
        let by_query = matches!(self.method, Method::GET | Method::DELETE);
        let body = if by_query {
            append_query(&mut url, arguments);
            bytes::Bytes::new()
        } else {
            arguments.to_string().into()
        };
        let unsendable = |_| ToolError::refused("the arguments cannot be sent to the service");
        let mut request = Request::builder().method(self.method.clone()).uri(url.as_str()).body(Full::new(body));
        let headers = request.as_mut().map_err(|_| ToolError::refused("the arguments cannot be sent"))?.headers_mut();
        headers.extend(self.headers.clone());
        headers.extend(run_headers(turn));
        headers.insert(USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        if !by_query {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let (Some((_, header)), Some(sent)) = (&self.auth, sent) {
            let value = sent.value.expose_secret().trim();
            let (header, value) = match header {
                Some(header) => (header.clone(), value.to_owned()),
                None => (AUTHORIZATION, format!("Bearer {value}")),
            };
            let mut value = HeaderValue::from_str(&value).map_err(|_| no_credential())?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        request.map_err(unsendable)
    }

    /// Sends the call with the credential of now; once more with the one that has replaced it, if it is refused. Nothing has
    /// been carried out then. Only 401 says so: 403 may be the service's answer to these arguments.
    async fn answer(&self, arguments: &Value, turn: &Turn<'_>) -> Result<Answer, ToolError> {
        let Some((credential, _)) = &self.auth else {
            return send(&self.client, self.request(arguments, turn, None)?).await;
        };
        let sent = credential.to_send().ok_or_else(no_credential)?;
        let answer = send(&self.client, self.request(arguments, turn, Some(&sent))?).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            note(credential, &sent, answer.status);
            return Ok(answer);
        }
        let mut fresh = credential.fresh(&sent).await;
        if fresh.is_none() {
            credential.refused(&sent, answer.status);
            let renewed = timeout(self.timeout / 2, credential.renewed()).await;
            fresh = credential.to_send().filter(|_| renewed.unwrap_or_default());
        }
        let Some(fresh) = fresh else { return Ok(answer) };
        let answer = send(&self.client, self.request(arguments, turn, Some(&fresh))?).await?;
        note(credential, &fresh, answer.status);
        Ok(answer)
    }
}

fn note(credential: &Credential, sent: &Sent, status: StatusCode) {
    if status.is_success() {
        credential.accepted(sent);
    } else if status == StatusCode::UNAUTHORIZED {
        credential.refused(sent, status);
    }
}

fn no_credential() -> ToolError {
    ToolError::broken("the credential of the service is missing")
}

#[async_trait]
impl Tool for Webhook {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    async fn call(&self, arguments: &Value, turn: &Turn<'_>) -> Result<String, ToolError> {
        success(self.answer(arguments, turn).await?)
    }
}

/// A list is repeated, an object is JSON, and what is null is left out.
fn append_query(url: &mut Url, arguments: &Value) {
    let Some(fields) = arguments.as_object().filter(|fields| !fields.is_empty()) else { return };
    let mut query = url.query_pairs_mut();
    for (name, value) in fields {
        let values = if let Value::Array(values) = value { values.as_slice() } else { std::slice::from_ref(value) };
        for value in values {
            match value {
                Value::Null => {}
                Value::String(text) => drop(query.append_pair(name, text)),
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    query.append_pair(name, &value.to_string());
                }
            }
        }
    }
}
