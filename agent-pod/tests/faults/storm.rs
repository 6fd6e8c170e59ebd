//! Many faulty calls at once; and afterwards nothing is left of them.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use serde_json::json;

use crate::model_server::ModelServer;
use crate::reply::{Act, Reply};
use crate::world::{World, agent, provider, until};

const CALLS: usize = 400;
const AT_ONCE: usize = 40;

/// File descriptors beside those of before: connections of the test itself, and of the look at the models.
const SLACK: usize = 4;

/// Everything that goes wrong, in turn, with a good answer now and then.
fn weather() -> Vec<Reply> {
    let refused = |status| Reply::refusal(status, &[]);
    let begun = || Reply::stream().text("It ");
    let once = [
        Reply::answer("fine"),
        refused(500),
        refused(429),
        refused(503),
        Reply::nothing().then(Act::Reset),
        Reply::nothing().then(Act::Close),
        Reply::silence(),
        Reply::answer("fine"),
        begun().then(Act::Close),
        begun().then(Act::Reset),
        begun().and(Reply::silence()),
        Reply::stream().chunk_end(),
        Reply::stream().flood(),
        begun().data("{no json"),
        refused(400),
        refused(404),
    ];
    (0..CALLS * 2).map(|index| once[index % once.len()].clone()).collect()
}

#[tokio::test]
async fn after_the_storm_nothing_is_left_of_it() {
    let (stormy, steady) = (ModelServer::start(weather()).await, ModelServer::good("steady").await);
    let spec = json!({
        "timeouts": {"firstToken": "100ms", "stall": "100ms", "total": "300ms"},
        "circuitBreaker": {"failureThreshold": 100, "cooldown": "1s"},
    });
    let limits = json!({"runtime": {"maxConcurrentRuns": 24, "maxQueuedRuns": 12, "queueTimeout": "200ms"}});
    let world = World::of([
        provider("stormy", &stormy.url(), spec),
        provider("steady", &steady.url(), json!({})),
        agent("pair", &["stormy", "steady"], limits.clone()),
        agent("alone", &["stormy"], limits),
        agent("calm", &["steady"], json!({})),
    ])
    .await;
    assert_eq!(world.run("calm").await.text(), "steady");
    let (files, threads) = (open_files(&world), threads(&world));

    // A client of its own: its connections end with it.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let calls = stream::iter(0..CALLS).map(|number| call(&http, &world.pod.api, number)).buffer_unordered(AT_ONCE);
    let statuses: Vec<Option<u16>> = calls.collect().await;
    drop(http);
    let count = |status| statuses.iter().filter(|seen| **seen == status).count();
    assert!(count(Some(200)) > 0 && count(Some(502)) > 0 && count(None) > 0, "{statuses:?}");
    let known = [200, 400, 429, 502, 503, 504].map(|status| count(Some(status))).iter().sum::<usize>();
    assert_eq!(known + count(None), CALLS, "{statuses:?}");
    assert!(stormy.count() > CALLS / 4, "{}", stormy.count());

    world.idle().await;
    assert_eq!(world.metric("astromesh_agent_runs_in_flight", &[]).await, 0.0);
    until("closed connections", async || open_files(&world) <= files + SLACK).await;
    assert!(self::threads(&world) <= threads, "threads: {} and before {threads}", self::threads(&world));
    until("hang-ups", async || stormy.open_connections() <= SLACK).await;
    stormy.script([Reply::answer("fine")]);
    until("a good call", async || world.run("alone").await.status == 200).await;
    assert_eq!(world.provider("stormy").await["circuit"], "closed");
    assert_eq!(world.run("calm").await.text(), "steady");
}

/// One call; its status, or none when its caller has left.
async fn call(http: &reqwest::Client, api: &str, number: usize) -> Option<u16> {
    let name = if number.is_multiple_of(3) { "alone" } else { "pair" };
    let body = json!({"query": "hi", "stream": number.is_multiple_of(2)});
    let request = http.post(format!("{api}/v1/agents/{name}/run")).json(&body).header("X-Request-Timeout-Ms", "2000");
    let reading = async {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        // A stream that breaks off in the middle would be an error here.
        let text = response.text().await.unwrap();
        assert!(!text.is_empty());
        status
    };
    let patience = if number.is_multiple_of(5) { Duration::from_millis(20) } else { Duration::from_secs(20) };
    tokio::time::timeout(patience, reading).await.ok()
}

fn process(world: &World, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{file}", world.pod.child.id().unwrap()))
}

fn open_files(world: &World) -> usize {
    std::fs::read_dir(process(world, "fd")).unwrap().count()
}

fn threads(world: &World) -> usize {
    std::fs::read_dir(process(world, "task")).unwrap().count()
}
