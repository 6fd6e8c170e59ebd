//! What pods read: the document, the keys of Secrets, and their own token for other agents.

use std::collections::BTreeMap;

use agent_pod_config::Trust;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource, ProjectedVolumeSource,
    SecretVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};

use super::super::Validated;
use crate::names;

pub(super) const CONFIG_DIR: &str = "/etc/astromesh";
pub(super) const SECRETS_DIR: &str = "/var/run/astromesh/secrets";
/// What agents keep on disk.
pub(super) const DATA_DIR: &str = "/var/lib/astromesh";
/// The token is the file `token` in it.
const TOKEN_DIR: &str = "/var/run/secrets/astromesh";
/// The kubelet renews a token after 80 % of its life.
const TOKEN_SECONDS: i64 = 3_600;
/// Readable by the pod's group, and by nobody else.
const SECRET_MODE: i32 = 0o440;

/// The keys of each Secret that the document names.
fn secrets(agent: &Validated) -> BTreeMap<String, Vec<String>> {
    let mut secrets = BTreeMap::<String, Vec<String>>::new();
    for secret in agent.document.secrets() {
        secrets.entry(secret.name).or_default().push(secret.key);
    }
    secrets
}

/// A volume's name for the Secret at this place. A Secret's name may be longer than a volume's, and hold dots.
fn secret_volume(index: usize) -> String {
    format!("secret-{index}")
}

pub(super) fn volumes(agent: &Validated, name: &str) -> Vec<Volume> {
    let mut volumes = vec![
        // The whole volume, not a subPath, which would never be refreshed.
        Volume {
            name: "config".into(),
            config_map: Some(ConfigMapVolumeSource { name: names::child(name), ..ConfigMapVolumeSource::default() }),
            ..Volume::default()
        },
        Volume { name: "tmp".into(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() },
        data(agent, name),
        // A token that agents accept and the API server does not.
        Volume {
            name: "token".into(),
            projected: Some(ProjectedVolumeSource {
                sources: Some(vec![VolumeProjection {
                    service_account_token: Some(ServiceAccountTokenProjection {
                        audience: Some(Trust::AUDIENCE.into()),
                        expiration_seconds: Some(TOKEN_SECONDS),
                        path: "token".into(),
                    }),
                    ..VolumeProjection::default()
                }]),
                ..ProjectedVolumeSource::default()
            }),
            ..Volume::default()
        },
    ];
    volumes.extend(secrets(agent).into_iter().enumerate().map(|(index, (secret, keys))| Volume {
        name: secret_volume(index),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            items: Some(keys.into_iter().map(|key| KeyToPath { path: key.clone(), key, mode: None }).collect()),
            // A missing Secret is a condition, not a pod that cannot start.
            optional: Some(true),
            default_mode: Some(SECRET_MODE),
        }),
        ..Volume::default()
    }));
    volumes
}

/// Always there, so that giving an agent a memory in a file rolls no pods.
fn data(agent: &Validated, name: &str) -> Volume {
    let claim = agent.pods.persistence.as_ref().map(|_| PersistentVolumeClaimVolumeSource {
        claim_name: names::child(name),
        ..PersistentVolumeClaimVolumeSource::default()
    });
    let empty_dir = claim.is_none().then(EmptyDirVolumeSource::default);
    Volume { name: "data".into(), persistent_volume_claim: claim, empty_dir, ..Volume::default() }
}

pub(super) fn mounts(agent: &Validated) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..VolumeMount::default()
    };
    let mut mounts = vec![
        mount("config", CONFIG_DIR, Some(true)),
        mount("tmp", "/tmp", None),
        mount("data", DATA_DIR, None),
        mount("token", TOKEN_DIR, Some(true)),
    ];
    mounts.extend(
        secrets(agent)
            .keys()
            .enumerate()
            .map(|(index, secret)| mount(&secret_volume(index), &format!("{SECRETS_DIR}/{secret}"), Some(true))),
    );
    mounts
}
