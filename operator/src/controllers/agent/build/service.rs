//! Where callers find the agent. The admin port is deliberately absent.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use super::{Validated, metadata};
use crate::labels;
use crate::names::{HTTP_PORT_NAME, SERVICE_PORT};

pub(super) fn build(agent: &Validated) -> Service {
    Service {
        metadata: metadata(agent),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: Some(labels::selector(&agent.resource.name_any())),
            ports: Some(vec![ServicePort {
                name: Some(HTTP_PORT_NAME.into()),
                port: SERVICE_PORT,
                protocol: Some("TCP".into()),
                target_port: Some(IntOrString::String(HTTP_PORT_NAME.into())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
