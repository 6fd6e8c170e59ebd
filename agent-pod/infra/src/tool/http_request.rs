//! `http_request`: a call of some web page or service, as the model wants it.

use std::time::Duration;

use agent_pod_core::agent::Turn;
use agent_pod_core::tool::{Tool, ToolError, ToolSpec};
use astromesh_egress::Reach;
use async_trait::async_trait;
use http::header::{CONTENT_TYPE, USER_AGENT as USER_AGENT_HEADER};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use url::Url;

use super::ToolSetupError;
use super::call::{Answer, checked_url, run_headers, send};
use crate::http::{Client, TlsSettings, USER_AGENT};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Headers that a model must not set: who is called, and how the call is framed.
const OWN_HEADERS: [&str; 7] =
    ["host", "connection", "content-length", "transfer-encoding", "upgrade", "proxy-authorization", "te"];

/// Calls hosts of the public internet, or those that it is told.
#[derive(Debug)]
pub struct HttpRequest {
    /// The hosts that may be called, and that may have private addresses; none: all, with public ones.
    allow: Vec<String>,
    plain: Client,
    secure: Client,
}

impl HttpRequest {
    /// A tool over these hosts.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(allow: Vec<String>) -> Result<Self, ToolSetupError> {
        let reach = reach(&allow);
        let client = |secure| {
            Client::reaching(secure, TlsSettings::default(), CONNECT_TIMEOUT, reach)
                .map_err(|error| ToolSetupError::Tls(error.to_string()))
        };
        Ok(Self { plain: client(false)?, secure: client(true)?, allow })
    }

    fn url(&self, text: &str) -> Result<Url, ToolError> {
        let url = checked_url(text).map_err(|error| ToolError::refused(format!("the url: {error}")))?;
        if !self.allow.is_empty() && !self.allow.iter().any(|host| names(host, &url)) {
            let allowed = self.allow.join(", ");
            return Err(ToolError::refused(format!("this host may not be called; those that may: {allowed}")));
        }
        if reach(&self.allow).check_url(&url).is_err() {
            return Err(ToolError::refused("this address may not be called: it is not a public one"));
        }
        Ok(url)
    }
}

/// A host that is named may be anywhere but at the machine's metadata.
fn reach(allow: &[String]) -> Reach {
    if allow.is_empty() { Reach::Public } else { Reach::NoMetadata }
}

/// Whether `named` is the URL's host, with its port if it names one, or a domain above it (`*.domain`).
fn names(named: &str, url: &Url) -> bool {
    let (named, host) = (named.to_ascii_lowercase(), url.host_str().unwrap_or_default().to_ascii_lowercase());
    if let Some(domain) = named.strip_prefix('*') {
        return host.ends_with(domain);
    }
    let port = url.port_or_known_default().unwrap_or_default();
    named == host || named == format!("{host}:{port}") || format!("[{named}]") == host
}

#[async_trait]
impl Tool for HttpRequest {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "http_request".to_owned(),
            description: "Sends an HTTP request and gives status and body of the answer.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "url": {"type": "string", "minLength": 1, "maxLength": 2048},
                    "method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], "description": "absent: GET"},
                    "headers": {"type": "object", "maxProperties": 32, "additionalProperties": {"type": "string", "maxLength": 4096}},
                    "body": {"description": "text as it is, anything else as JSON"},
                },
                "required": ["url"],
                "additionalProperties": false,
            }),
        }
    }

    async fn call(&self, arguments: &Value, turn: &Turn<'_>) -> Result<String, ToolError> {
        let text = |field: &str| arguments.get(field).and_then(Value::as_str);
        let url = self.url(text("url").unwrap_or_default())?;
        let method = text("method").unwrap_or("GET").parse().unwrap_or(Method::GET);
        let (body, json) = match arguments.get("body") {
            None | Some(Value::Null) => (String::new(), false),
            Some(Value::String(text)) => (text.clone(), false),
            Some(value) => (value.to_string(), true),
        };
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().map_err(|_| ToolError::refused("the url cannot be called"))?;
        let headers = request.headers_mut();
        if json {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.insert(USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT));
        for (name, value) in arguments.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let refused = || ToolError::refused(format!("the header `{name}` cannot be sent"));
            if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(refused());
            }
            let value = HeaderValue::from_str(value.as_str().unwrap_or_default()).map_err(|_| refused())?;
            headers.insert(name.parse::<HeaderName>().map_err(|_| refused())?, value);
        }
        headers.extend(run_headers(turn));
        let client = if url.scheme() == "https" { &self.secure } else { &self.plain };
        // A server that fails says nothing of this tool, which calls many.
        let sent = send(client, request).await.map_err(|error| ToolError::refused(error.sentence))?;
        let Answer { status, headers, text } = sent;
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(json!({"status": status.as_u16(), "contentType": content_type, "body": text}).to_string())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("example.com", "https://example.com/a", true)]
    #[case("example.com", "https://EXAMPLE.com/a", true)]
    #[case("example.com", "https://www.example.com", false)]
    #[case("*.example.com", "https://www.example.com", true)]
    #[case("*.example.com", "https://example.com", false)]
    #[case("*.example.com", "https://evilexample.com", false)]
    #[case("example.com:8443", "https://example.com:8443", true)]
    #[case("example.com:8443", "https://example.com", false)]
    #[case("10.0.0.7", "http://10.0.0.7:8080", true)]
    #[case("example.com", "https://example.com.evil.org", false)]
    #[case("example.com", "https://evil.org/example.com", false)]
    fn a_host_is_named_as_a_whole(#[case] named: &str, #[case] url: &str, #[case] expected: bool) {
        assert_eq!(names(named, &Url::parse(url).unwrap()), expected);
    }

    #[rstest]
    #[case(&[], "http://127.0.0.1/", false)]
    #[case(&[], "http://10.0.0.7/", false)]
    #[case(&[], "http://0x7f000001/", false)]
    #[case(&[], "http://[::ffff:127.0.0.1]/", false)]
    #[case(&[], "http://169.254.169.254/latest", false)]
    #[case(&["169.254.169.254"], "http://169.254.169.254/latest", false)]
    #[case(&["10.0.0.7"], "http://10.0.0.7/", true)]
    #[case(&["10.0.0.7"], "http://10.0.0.8/", false)]
    #[case(&[], "https://me:pw@example.com/", false)]
    #[case(&[], "file:///etc/passwd", false)]
    #[case(&[], "https://example.com/", true)]
    fn only_what_is_public_or_named_is_called(#[case] allow: &[&str], #[case] url: &str, #[case] expected: bool) {
        drop(rustls::crypto::ring::default_provider().install_default());
        let tool = HttpRequest::new(allow.iter().map(|host| (*host).to_owned()).collect()).unwrap();
        assert_eq!(tool.url(url).is_ok(), expected);
    }
}
