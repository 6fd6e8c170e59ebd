//! Connections of which nothing comes: they are cut off, and take nobody's place.

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Duration, timeout};

use crate::harness::{DEADLINE, Folder, Pod};

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap()
}

async fn is_alive(pod: &Pod) -> bool {
    // A connection of its own, as the kubelet makes one for each probe.
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let probe = http.get(format!("{}/livez", pod.admin)).timeout(Duration::from_secs(1)).send();
    probe.await.is_ok_and(|answer| answer.status().is_success())
}

/// HTTP/2's preface and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn who_does_not_get_to_a_request_is_cut_off() {
    let folder = Folder::new();
    let pod = Pod::on_folder(&folder, &[]).await;
    let beginnings: [&[u8]; 6] =
        [b"", b"P", b"PRI * HTTP/2.0\r\n", HELLO, b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a"];
    let cut = |url: &str, beginning: &'static [u8]| {
        let url = url.to_owned();
        async move {
            let mut stream = connect(&url).await;
            stream.write_all(beginning).await.unwrap();
            // What the server says of itself, then the end or a reset.
            let ended = timeout(DEADLINE, stream.read_to_end(&mut Vec::new())).await;
            assert!(ended.is_ok(), "{:?} is still connected", String::from_utf8_lossy(beginning));
        }
    };
    let ports = [&pod.api, &pod.admin];
    join_all(ports.iter().flat_map(|url| beginnings.map(|beginning| cut(url, beginning)))).await;
    let metrics = pod.http.get(format!("{}/metrics", pod.admin)).send().await.unwrap().text().await.unwrap();
    for port in ["api", "admin"] {
        let line = format!("astromesh_connections_cut_total{{port=\"{port}\",reason=\"silent\"}} 6");
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn silent_connections_take_neither_the_probes_descriptors_nor_a_callers_place() {
    let folder = Folder::new();
    let mut program = Command::new("sh");
    program.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_agent-pod")]);
    let pod = Pod::run(program, &["--manifests", folder.path().to_str().unwrap()], &[], true).await;
    let mut silent = Vec::new();
    for url in [&pod.api, &pod.admin] {
        for _ in 0..120 {
            let mut stream = connect(url).await;
            // One that has been closed already does not take it.
            drop(stream.write_all(b"P").await);
            silent.push(stream);
        }
        assert!(is_alive(&pod).await, "the probe is refused");
        let health = pod.http.get(format!("{}/v1/health", pod.api)).timeout(DEADLINE).send().await.unwrap();
        assert!(health.status().is_success());
    }
    assert!(pod.metric_value("astromesh_connections_cut_total{port=\"api\",reason=\"gave_way\"}").await > 100.0);
    pod.terminate().await;
    let (code, log) = pod.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("failed to accept"), "{log}");
}
