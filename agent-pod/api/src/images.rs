//! The URLs of images.

use agent_pod_core::error::FieldProblem;
use axum::http::Uri;

use crate::fields::problem;

/// The most images of one call: more than any provider takes, and a bound all the same.
pub(crate) const IMAGES_MAX: usize = 64;

/// What is wrong with the URL of an image, if anything. Nothing is fetched here.
pub(crate) fn image_problem(path: &str, url: &str) -> Option<FieldProblem> {
    let good = match url.split_once(':') {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") => {
            url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()))
        }
        Some((scheme, data)) if scheme.eq_ignore_ascii_case("data") => is_image_data(data),
        Some(_) | None => false,
    };
    (!good).then(|| problem(path, "must be an http or https URL, or a data URL as `data:image/png;base64,…`"))
}

fn is_image_data(data: &str) -> bool {
    let Some((head, payload)) = data.split_once(',') else { return false };
    let Some((media_type, encoding)) = head.rsplit_once(';') else { return false };
    let is_image =
        media_type.split_once('/').is_some_and(|(kind, name)| kind.eq_ignore_ascii_case("image") && !name.is_empty());
    is_image && encoding.eq_ignore_ascii_case("base64") && !payload.is_empty()
}
