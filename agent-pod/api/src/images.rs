//! The URLs of images. A model server fetches them, from within the network that it is in: what a caller must not reach
//! through it is refused here.

use agent_pod_core::error::FieldProblem;
use astromesh_egress::Reach;
use axum::http::Uri;
use url::{Host, Url};

use crate::fields::problem;

/// The most images of one call: more than any provider takes, and a bound all the same.
pub(crate) const IMAGES_MAX: usize = 64;

/// Endings of names that only a private network knows: of special use (RFC 6761, 6762, 8375), of clouds, of clusters.
const PRIVATE_DOMAINS: [&str; 8] =
    ["localhost", "local", "internal", "home.arpa", "svc", "cluster.local", "localdomain", "lan"];

/// What is wrong with the URL of an image, if anything. Nothing is fetched or resolved here: whoever fetches it resolves it
/// anew, and may get another address.
pub(crate) fn image_problem(path: &str, url: &str) -> Option<FieldProblem> {
    let message = match url.split_once(':') {
        Some((scheme, data)) if scheme.eq_ignore_ascii_case("data") => (!is_image_data(data)).then_some(NO_IMAGE),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") => web(url),
        Some(_) | None => Some(NO_IMAGE),
    };
    message.map(|message| problem(path, message))
}

const NO_IMAGE: &str = "must be an http or https URL, or a data URL as `data:image/png;base64,…`";
const NOT_PUBLIC: &str = "must be at a public address: the model server would fetch it from within its own network; send the \
                          image as `data:image/png;base64,…`";
const AMBIGUOUS: &str =
    "must be a URL that every reader understands alike: no user, no `\\`, no spaces and no control characters";

fn web(url: &str) -> Option<&'static str> {
    // Readers differ on these: one takes for the host what another takes for the path.
    if url.contains('\\') || url.chars().any(|char| char.is_whitespace() || char.is_control()) {
        return Some(AMBIGUOUS);
    }
    let (Ok(parsed), Ok(uri)) = (Url::parse(url), url.parse::<Uri>()) else { return Some(NO_IMAGE) };
    let Some(host) = parsed.host().filter(|_| uri.host().is_some_and(|host| !host.is_empty())) else {
        return Some(NO_IMAGE);
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Some(AMBIGUOUS);
    }
    let private = match host {
        Host::Domain(name) => is_private(name),
        Host::Ipv4(_) | Host::Ipv6(_) => false,
    };
    (private || Reach::Public.check_url(&parsed).is_err()).then_some(NOT_PUBLIC)
}

/// Whether a name is one of the network that the model server is in: without a dot it is completed there.
fn is_private(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let below = |domain: &&str| name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !name.contains('.') || PRIVATE_DOMAINS.iter().any(below)
}

fn is_image_data(data: &str) -> bool {
    let Some((head, payload)) = data.split_once(',') else { return false };
    let Some((media_type, encoding)) = head.rsplit_once(';') else { return false };
    let is_image =
        media_type.split_once('/').is_some_and(|(kind, name)| kind.eq_ignore_ascii_case("image") && !name.is_empty());
    is_image && encoding.eq_ignore_ascii_case("base64") && !payload.is_empty()
}
