//! Tools that are carried out over HTTP.

mod call;
pub mod http_request;
pub mod webhook;

pub use http_request::HttpRequest;
pub use webhook::{Webhook, WebhookSettings};

/// A URL that cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolSetupError {
    /// It is not an absolute URL over HTTP.
    #[error("not a URL; write it as `https://host[:port][/path]`")]
    Url,
    /// It holds a user or a password.
    #[error("a URL must not hold credentials; put them in a Secret and name it in `auth`")]
    Credentials,
    /// It is a link-local or metadata address.
    #[error("link-local and metadata addresses are never called")]
    Address,
    /// A header cannot be sent.
    #[error("the header `{0}` cannot be sent")]
    Header(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}
