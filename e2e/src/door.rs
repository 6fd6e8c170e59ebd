//! The way to an agent from outside of the cluster: a port-forward that behaves as its Service does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{Store, store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The label that names the Service of an EndpointSlice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const FILLED_WITHIN: Duration = Duration::from_secs(20);

/// Listens on this machine and takes each connection to the next ready pod of a Service.
///
/// Which pods are ready is read from the Service's EndpointSlices, so a pod that stops gets no new connections as soon
/// as the cluster knows, and those that it has go on.
pub struct Door {
    address: SocketAddr,
    // Dropping it ends the watch, the listener and every connection.
    _tasks: JoinSet<()>,
}

/// Where the connections go.
#[derive(Clone)]
struct Backends {
    slices: Store<EndpointSlice>,
    pods: Api<Pod>,
    next: Arc<AtomicUsize>,
}

impl Door {
    /// Opens a door to a Service.
    ///
    /// # Errors
    /// When nothing can be listened on, or the cluster does not tell the Service's endpoints.
    pub async fn open(client: &Client, namespace: &str, service: &str) -> anyhow::Result<Self> {
        let mut tasks = JoinSet::new();
        let (slices, writer) = store::<EndpointSlice>();
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let selected = watcher::Config::default().labels(&format!("{SERVICE_NAME}={service}"));
        let watch = watcher(api, selected).default_backoff().reflect(writer);
        tasks.spawn(watch.for_each(|_event| std::future::ready(())));
        let filled = tokio::time::timeout(FILLED_WITHIN, slices.wait_until_ready()).await;
        filled.with_context(|| format!("the endpoints of `{service}` are not known"))??;

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port to listen on")?;
        let address = listener.local_addr()?;
        let pods = Api::namespaced(client.clone(), namespace);
        tasks.spawn(serve(listener, Backends { slices, pods, next: Arc::default() }));
        Ok(Self { address, _tasks: tasks })
    }

    /// Where to connect: `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, backends: Backends) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((connection, _peer)) = accepted else { return };
                connections.spawn(forward(connection, backends.clone()));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// Carries one connection. Without a ready pod it is closed, as a Service without endpoints refuses it.
async fn forward(mut connection: TcpStream, backends: Backends) {
    let Some((pod, port)) = backends.choose() else { return };
    if connection.set_nodelay(true).is_err() {
        return;
    }
    let Ok(mut forwarder) = backends.pods.portforward(&pod, &[port]).await else { return };
    let Some(stream) = forwarder.take_stream(port) else { return };
    let (mut from_pod, mut to_pod) = tokio::io::split(stream);
    let (mut from_caller, mut to_caller) = connection.split();
    // A caller that has closed its side has gone: HTTP knows no half-closed connections.
    tokio::select! {
        _copied = copy(&mut from_caller, &mut to_pod) => {}
        _copied = copy(&mut from_pod, &mut to_caller) => {}
    }
    forwarder.abort();
}

impl Backends {
    /// The next ready pod, and the port that the Service leads to.
    fn choose(&self) -> Option<(String, u16)> {
        let mut ready = Vec::new();
        for slice in self.slices.state() {
            let port =
                slice.ports.iter().flatten().find_map(|port| port.port).and_then(|port| u16::try_from(port).ok());
            let Some(port) = port else { continue };
            for endpoint in &slice.endpoints {
                let is_ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
                let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
                ready.extend(pod.filter(|_| is_ready).map(|pod| (pod, port)));
            }
        }
        ready.sort();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if ready.is_empty() { None } else { Some(ready.swap_remove(turn % ready.len())) }
    }
}
