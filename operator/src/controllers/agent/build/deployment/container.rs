//! The one container of a pod.

use std::collections::BTreeMap;

use astromesh_crds::v1alpha1::Resources;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, Probe, ResourceRequirements, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::Validated;
use super::volumes;
use crate::names::{ADMIN_PORT, ADMIN_PORT_NAME, DOCUMENT_KEY, HTTP_PORT, HTTP_PORT_NAME, TRUST_KEY};

const REQUESTS: [(&str, &str); 2] = [("cpu", "10m"), ("memory", "32Mi")];
const LIMITS: [(&str, &str); 1] = [("memory", "256Mi")];

pub(super) fn build(agent: &Validated) -> Container {
    Container {
        name: "agent".into(),
        image: Some(agent.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        args: Some(args()),
        ports: Some(vec![port(HTTP_PORT_NAME, HTTP_PORT), port(ADMIN_PORT_NAME, i32::from(ADMIN_PORT))]),
        resources: Some(resources(agent.pods.runtime.resources.as_ref())),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), ..Capabilities::default() }),
            ..SecurityContext::default()
        }),
        // A minute to start, asked every second, so that a quick start is seen quickly.
        startup_probe: Some(probe("/livez", 1, 60)),
        // One failure suffices: a pod that stops says so here, and must leave the endpoints at once.
        readiness_probe: Some(probe("/readyz", 2, 1)),
        liveness_probe: Some(probe("/livez", 10, 3)),
        // The end of the log of a pod that fails is told in the agent's conditions.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(volumes::mounts(agent)),
        ..Container::default()
    }
}

fn args() -> Vec<String> {
    let document = format!("{}/{DOCUMENT_KEY}", volumes::CONFIG_DIR);
    let trust = format!("{}/{TRUST_KEY}", volumes::CONFIG_DIR);
    let listen = format!("0.0.0.0:{HTTP_PORT}");
    let admin = format!("0.0.0.0:{ADMIN_PORT}");
    [
        "serve",
        "--document",
        &document,
        "--trust",
        &trust,
        "--secrets-dir",
        volumes::SECRETS_DIR,
        "--data-dir",
        volumes::DATA_DIR,
        "--listen",
        &listen,
        "--admin-listen",
        &admin,
    ]
    .map(str::to_owned)
    .into()
}

fn port(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port: port,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String(ADMIN_PORT_NAME.into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// The defaults, with what the agent asks for over them.
fn resources(asked: Option<&Resources>) -> ResourceRequirements {
    let merged = |defaults: &[(&str, &str)], asked: Option<&BTreeMap<String, Quantity>>| {
        let mut merged: BTreeMap<_, _> =
            defaults.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect();
        merged.extend(asked.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        Some(merged)
    };
    ResourceRequirements {
        requests: merged(&REQUESTS, asked.map(|asked| &asked.requests)),
        limits: merged(&LIMITS, asked.map(|asked| &asked.limits)),
        ..ResourceRequirements::default()
    }
}
