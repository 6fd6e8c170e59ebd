//! From the endpoint that people write to the URLs that are called.

use http::Uri;
use url::Url;

const PATH: &str = "/chat/completions";

/// An endpoint that cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not a URL with a host.
    #[error("not a URL; write it as `https://host[:port][/path]`")]
    NotAUrl,
    /// Its scheme is another one.
    #[error("the scheme `{scheme}` cannot be called; use `http` or `https`")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// It holds a user or a password.
    #[error("a URL must not hold credentials; put them in a Secret and name it in `auth`")]
    Credentials,
}

/// The URL of the completions below `endpoint`, which is the base before `/chat/completions`.
///
/// A base without a path gets `/v1`, trailing slashes are dropped, and so are query and fragment. A base that ends
/// with `/chat/completions` is taken for the URL itself.
///
/// # Errors
/// When the endpoint is not an absolute `http` or `https` URL without credentials.
pub fn completions_url(endpoint: &str) -> Result<Url, EndpointError> {
    openai_base(endpoint).map(|base| below(&base, PATH))
}

/// The base of an OpenAI-shaped endpoint, with a path and without a slash at its end.
pub(super) fn openai_base(endpoint: &str) -> Result<Url, EndpointError> {
    let mut url = parse(endpoint)?;
    let path = url.path().trim_end_matches('/');
    let base = path.strip_suffix(PATH).unwrap_or(path).trim_end_matches('/');
    let base = if path.is_empty() { "/v1" } else { base }.to_owned();
    url.set_path(&base);
    Ok(url)
}

/// The base of an Ollama server: what comes before `/api`, which may be written as well.
///
/// # Errors
/// When the endpoint is not an absolute `http` or `https` URL without credentials.
pub fn ollama_base(endpoint: &str) -> Result<Url, EndpointError> {
    let mut url = parse(endpoint)?;
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/api/chat").unwrap_or(path);
    let base = path.strip_suffix("/api").unwrap_or(path).trim_end_matches('/').to_owned();
    url.set_path(&base);
    Ok(url)
}

/// The URL of `path` below a base.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// The same as a [`Uri`].
pub(super) fn uri(url: &Url) -> Result<Uri, EndpointError> {
    Uri::try_from(url.as_str()).map_err(|_| EndpointError::NotAUrl)
}

fn parse(endpoint: &str) -> Result<Url, EndpointError> {
    let mut url = Url::parse(endpoint.trim()).map_err(|_| EndpointError::NotAUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(EndpointError::Scheme { scheme: url.scheme().to_owned() });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(EndpointError::Credentials);
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions")]
    #[case("https://api.openai.com", "https://api.openai.com/v1/chat/completions")]
    #[case("https://api.openai.com/", "https://api.openai.com/v1/chat/completions")]
    #[case("https://api.openai.com//", "https://api.openai.com/v1/chat/completions")]
    #[case("http://llama.models.svc:8080", "http://llama.models.svc:8080/v1/chat/completions")]
    #[case("http://llama:8080/v1/", "http://llama:8080/v1/chat/completions")]
    #[case("http://llama:8080/v1///", "http://llama:8080/v1/chat/completions")]
    #[case("https://host/openai/deployments/x", "https://host/openai/deployments/x/chat/completions")]
    #[case("https://host/v1/chat/completions", "https://host/v1/chat/completions")]
    #[case("https://host/chat/completions/", "https://host/chat/completions")]
    #[case("https://host/v1?key=1#there", "https://host/v1/chat/completions")]
    #[case("http://[::1]:8080", "http://[::1]:8080/v1/chat/completions")]
    #[case(" https://host ", "https://host/v1/chat/completions")]
    fn an_endpoint_becomes_the_url_that_is_called(#[case] endpoint: &str, #[case] expected: &str) {
        assert_eq!(completions_url(endpoint).unwrap().as_str(), expected);
    }

    #[rstest]
    #[case("http://ollama:11434", "http://ollama:11434/api/chat")]
    #[case("http://ollama:11434/", "http://ollama:11434/api/chat")]
    #[case("http://ollama:11434/api", "http://ollama:11434/api/chat")]
    #[case("http://ollama:11434/api/", "http://ollama:11434/api/chat")]
    #[case("http://ollama:11434/api/chat", "http://ollama:11434/api/chat")]
    #[case("https://host/ollama//?x=1", "https://host/ollama/api/chat")]
    #[case("https://host/my-api", "https://host/my-api/api/chat")]
    fn an_ollama_endpoint_is_the_base_before_api(#[case] endpoint: &str, #[case] expected: &str) {
        assert_eq!(below(&ollama_base(endpoint).unwrap(), "/api/chat").as_str(), expected);
    }

    #[rstest]
    #[case("", EndpointError::NotAUrl)]
    #[case("api.openai.com/v1", EndpointError::NotAUrl)]
    #[case("/v1", EndpointError::NotAUrl)]
    #[case("https://", EndpointError::NotAUrl)]
    #[case("localhost:8080", EndpointError::Scheme { scheme: "localhost".to_owned() })]
    #[case("ftp://host/v1", EndpointError::Scheme { scheme: "ftp".to_owned() })]
    #[case("file:///etc/passwd", EndpointError::Scheme { scheme: "file".to_owned() })]
    #[case("https://user:secret@host/v1", EndpointError::Credentials)]
    #[case("https://user@host/v1", EndpointError::Credentials)]
    fn an_endpoint_that_cannot_be_called_is_refused(#[case] endpoint: &str, #[case] expected: EndpointError) {
        let error = completions_url(endpoint).unwrap_err();
        assert_eq!(error, expected);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
