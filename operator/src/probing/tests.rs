use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use rstest::rstest;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::watching::Trigger;

fn provider(provider_type: &str, endpoint: &str, generation: i64) -> Provider {
    serde_json::from_value(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider",
        "metadata": {"name": "openai", "namespace": "shop", "generation": generation},
        "spec": {"type": provider_type, "endpoint": endpoint, "headers": {"X-Team": "shop"},
                 "auth": {"secretKeyRef": {"name": "s", "key": "k"}}},
    }))
    .unwrap()
}

#[rstest]
#[case("openai_compat", "https://api.example.com", "https://api.example.com/v1/models")]
#[case("vllm", "https://api.example.com/", "https://api.example.com/v1/models")]
#[case("llamacpp", "http://10.0.0.1:80/base/", "http://10.0.0.1/base/models")]
#[case("hf_tgi", "https://api.example.com/v1?key=1", "https://api.example.com/v1/models?key=1")]
#[case("ollama", "http://10.0.0.1:11434", "http://10.0.0.1:11434/api/tags")]
#[case("ollama", "http://10.0.0.1/proxy", "http://10.0.0.1/proxy/api/tags")]
fn the_list_of_models_is_asked_for(#[case] provider_type: &str, #[case] endpoint: &str, #[case] url: &str) {
    assert_eq!(models_url(&provider(provider_type, endpoint, 1)).unwrap().as_str(), url);
}

#[tokio::test(start_paused = true)]
async fn a_server_is_looked_at_every_minute_and_after_an_edit() {
    let (probes, mut looks) = Probes::new();
    let mut asked = |provider: &Provider| {
        let finding = probes.look(provider, Instant::now());
        (finding, looks.try_recv().ok())
    };
    let first = provider("vllm", "http://10.0.0.1", 1);
    let (finding, look) = asked(&first);
    assert_eq!(finding, None);
    assert!(probes.keep(&look.unwrap(), Finding::Answers), "the first finding is news");
    let (finding, look) = asked(&first);
    assert_eq!(finding, Some(Finding::Answers));
    assert!(look.is_none(), "not yet again");
    tokio::time::advance(LOOK_EVERY).await;
    let (finding, look) = asked(&first);
    assert_eq!(finding, Some(Finding::Answers), "the last one holds until the next");
    assert!(!probes.keep(&look.unwrap(), Finding::Answers), "the same again is no news");

    let (finding, look) = asked(&provider("vllm", "http://10.0.0.1", 2));
    assert_eq!((finding, look.is_some()), (Some(Finding::Answers), true), "an edit asks again");
    let (finding, look) = asked(&provider("vllm", "http://10.0.0.2", 3));
    assert_eq!(finding, None, "of another server nothing is known");
    let stale = Look { url: models_url(&first).unwrap(), ..look.unwrap() };
    assert!(!probes.keep(&stale, Finding::Answers), "what comes late from the former one is dropped");
    assert_eq!(asked(&provider("vllm", "http://10.0.0.2", 3)).0, None);
}

/// A server that answers with `status`, and notes what it is asked.
async fn server(
    status: StatusCode,
    location: Option<String>,
) -> (String, mpsc::Receiver<(String, HeaderMap)>, JoinSet<()>) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let (sender, asked) = mpsc::channel(16);
    let handler = move |uri: Uri, headers: HeaderMap| {
        let (sender, location) = (sender.clone(), location.clone());
        async move {
            sender.send((uri.to_string(), headers)).await.unwrap();
            let mut answer = HeaderMap::new();
            if let Some(location) = location {
                answer.insert("location", location.parse().unwrap());
            }
            (status, answer)
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await.unwrap() });
    (endpoint, asked, tasks)
}

#[rstest]
#[case(StatusCode::OK)]
#[case(StatusCode::UNAUTHORIZED)]
#[case(StatusCode::NOT_FOUND)]
#[case(StatusCode::INTERNAL_SERVER_ERROR)]
#[tokio::test]
async fn any_answer_is_one_and_nothing_secret_is_sent(#[case] status: StatusCode) {
    let (endpoint, mut asked, _server) = server(status, None).await;
    let url = models_url(&provider("vllm", &endpoint, 1)).unwrap();
    assert_eq!(ProbeClient::new().unwrap().look(&url).await, Finding::Answers);
    let (path, headers) = asked.recv().await.unwrap();
    assert_eq!(path, "/v1/models");
    assert!(!headers.contains_key("authorization") && !headers.contains_key("x-team"), "{headers:?}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (elsewhere, mut there, _elsewhere) = server(StatusCode::OK, None).await;
    let (endpoint, _asked, _server) = server(StatusCode::FOUND, Some(elsewhere)).await;
    let url = models_url(&provider("vllm", &endpoint, 1)).unwrap();
    assert_eq!(ProbeClient::new().unwrap().look(&url).await, Finding::Answers);
    assert!(there.try_recv().is_err());
}

#[tokio::test]
async fn a_port_without_a_server_is_refused() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/v1/models", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    assert_eq!(ProbeClient::new().unwrap().look(&url).await, Finding::Silent("connection refused".into()));
}

#[rstest]
#[case("http://169.254.169.254/v1/models")]
#[case("http://[fe80::1]/v1/models")]
#[case("http://2852039166/v1/models")]
#[case("http://[64:ff9b::a9fe:a9fe]/v1/models")]
#[case("http://192.0.0.192/v1/models")]
#[case("http://[fd00:ec2::23]/v1/models")]
#[tokio::test]
async fn some_addresses_are_never_called(#[case] url: &str) {
    drop(rustls::crypto::ring::default_provider().install_default());
    match ProbeClient::new().unwrap().look(&url.parse().unwrap()).await {
        Finding::Silent(why) => assert!(why.contains("does not call"), "{why}"),
        Finding::Answers => panic!("it was called"),
    }
}

#[tokio::test]
async fn news_wake_the_controller() {
    let (endpoint, _asked, _server) = server(StatusCode::OK, None).await;
    let (probes, looks) = Probes::new();
    let probes = Arc::new(probes);
    let wake = Trigger::default();
    let woken = wake.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(run(Arc::clone(&probes), looks, ProbeClient::new().unwrap(), wake));
    let provider = provider("vllm", &endpoint, 1);
    assert_eq!(probes.look(&provider, Instant::now()), None);
    assert_eq!(woken.next().await, ObjectRef::from_obj(&provider));
    assert_eq!(probes.look(&provider, Instant::now()), Some(Finding::Answers));
}
