//! Tokens of service accounts as a cluster issues them, and the trust in them.

use agent_pod_config::Trust;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

const KEY: &[u8] = include_bytes!("../../infra/tests/fixtures/keys/ec-p256-test-only.pem");
const ISSUER: &str = "https://kubernetes.default.svc";

fn key() -> EncodingKey {
    EncodingKey::from_ec_pem(KEY).unwrap()
}

/// What pods of the cluster trust.
pub(crate) fn trust() -> Vec<u8> {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key(), Algorithm::ES256).unwrap()).unwrap();
    jwk["kid"] = json!("ec");
    jwk["use"] = json!("sig");
    let trust = Trust {
        issuer: ISSUER.into(),
        audience: Trust::AUDIENCE.into(),
        jwks: json!({"keys": [jwk]}),
        operator: "system:serviceaccount:astromesh-system:astromesh".into(),
    };
    trust.to_bytes()
}

/// A token of a service account, good for an hour.
pub(crate) fn token(namespace: &str, service_account: &str) -> String {
    let now = jiff::Timestamp::now().as_second();
    let claims = json!({
        "iss": ISSUER, "aud": [Trust::AUDIENCE], "sub": format!("system:serviceaccount:{namespace}:{service_account}"),
        "iat": now, "nbf": now, "exp": now + 3600,
    });
    let header = Header { kid: Some("ec".to_owned()), ..Header::new(Algorithm::ES256) };
    encode(&header, &claims, &key()).unwrap()
}
