//! The OpenAPI document, made of the handlers' own documentation.

pub mod chat;
pub(crate) mod failures;
pub mod handoff;
pub mod memory;
pub mod schemas;

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi};
use utoipa::{Modify, OpenApi as _};

use crate::routes::documented;

const BEARER: &str = "bearer";

/// The OpenAPI 3.1 document of the public port.
#[must_use]
pub fn openapi() -> OpenApi {
    documented().into_openapi()
}

/// What is said of no single route, and the routes that have no state.
pub(crate) fn base_document() -> OpenApi {
    Document::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Astromesh agent pod",
        description = "Asks agents over HTTP, server-sent events and WebSockets.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(crate::routes::docs::show),
    components(schemas(
        schemas::ErrorAnswer,
        schemas::RunEvent,
        chat::ChatErrorAnswer,
        crate::openai::stream::ChatCompletionChunk,
    )),
    tags(
        (name = "agents", description = "What there is to call, and the call."),
        (name = "tools", description = "What agents can do, and the calls that wait for an approval."),
        (name = "memory", description = "What agents remember."),
        (name = "openai", description = "Agents for the clients of the chat completions API."),
        (name = "pod", description = "The pod itself."),
    ),
    security(("bearer" = [])),
    modifiers(&BearerTokens),
)]
struct Document;

struct BearerTokens;

impl Modify for BearerTokens {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A service-account token of audience `astromesh`. Agents with open access need none."))
            .build();
        let components = document.components.get_or_insert_with(Components::new);
        components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    }
}
