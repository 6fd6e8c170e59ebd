//! The floor: a proxy of axum and hyper's pooled client that looks at nothing.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Upstream {
    client: Client<HttpConnector, Body>,
    authority: Authority,
}

/// Serves until it is killed.
pub(crate) async fn serve(listen: SocketAddr, to: SocketAddr) -> anyhow::Result<ExitCode> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let upstream = Upstream { client, authority: Authority::try_from(to.to_string())? };
    let router = Router::new().route("/v1/chat/completions", post(pass_on)).with_state(upstream);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("failed to listen on {listen}"))?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router.route("/readyz", axum::routing::get(|| async { "ok" }))).await?;
    Ok(ExitCode::SUCCESS)
}

async fn pass_on(State(upstream): State<Upstream>, mut request: Request) -> Response {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(upstream.authority);
    let Ok(uri) = Uri::from_parts(uri) else { return StatusCode::BAD_REQUEST.into_response() };
    *request.uri_mut() = uri;
    match upstream.client.request(request).await {
        Ok(answer) => answer.map(Body::new).into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
