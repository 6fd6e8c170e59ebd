use agent_pod_core::access::{Caller, TokenVerifier as _};
use agent_pod_core::error::ErrorCode;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const RSA: &[u8] = include_bytes!("../../tests/fixtures/keys/rsa-test-only.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("../../tests/fixtures/keys/rsa-test-only.pub.pem");
const RSA_OTHER: &[u8] = include_bytes!("../../tests/fixtures/keys/rsa-other-test-only.pem");
const EC: &[u8] = include_bytes!("../../tests/fixtures/keys/ec-p256-test-only.pem");

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const NOW: u64 = 1_800_000_000;

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(RSA).unwrap()
}

fn ec() -> EncodingKey {
    EncodingKey::from_ec_pem(EC).unwrap()
}

fn public(key: &EncodingKey, algorithm: Algorithm, kid: &str) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
    jwk["kid"] = json!(kid);
    jwk["use"] = json!("sig");
    jwk
}

fn jwks() -> String {
    json!({"keys": [public(&rsa(), Algorithm::RS256, "rsa"), public(&ec(), Algorithm::ES256, "ec")]}).to_string()
}

fn verifier() -> JwksVerifier {
    let mut verifier = JwksVerifier::new(ISSUER, "astromesh", &jwks()).unwrap();
    verifier.clock = || NOW;
    verifier
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["astromesh"], "sub": "system:serviceaccount:shop:web",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 3600,
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web", "uid": "u"}},
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn without(key: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().shift_remove(key);
    claims
}

fn sign(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(ToOwned::to_owned);
    encode(&header, claims, key).unwrap()
}

fn signed(claims: &Value) -> String {
    sign(Algorithm::RS256, Some("rsa"), &rsa(), claims)
}

/// A token with the parts as given, in base64url.
fn raw(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| base64_url(value.to_string().as_bytes());
    format!("{}.{}.{signature}", part(header), part(claims))
}

fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let index = usize::try_from((bits >> (18 - 6 * digit)) & 63).unwrap();
            text.push(char::from(DIGITS[index]));
        }
    }
    text
}

fn refused(token: &str) -> String {
    let error = verifier().verify(token).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated);
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!error.message.contains(part), "an error never repeats any of the token: {}", error.message);
    }
    error.message
}

#[rstest]
#[case::rsa(Algorithm::RS256, "rsa", rsa())]
#[case::ec(Algorithm::ES256, "ec", ec())]
fn a_good_token_gives_its_service_account(#[case] algorithm: Algorithm, #[case] kid: &str, #[case] key: EncodingKey) {
    let token = sign(algorithm, Some(kid), &key, &claims());
    let expected = Caller { namespace: "shop".to_owned(), service_account: "web".to_owned() };
    let verifier = verifier();
    assert_eq!(verifier.verify(&token).unwrap(), expected);
    assert_eq!(verifier.verify(&token).unwrap(), expected, "and once more, remembered");
}

#[rstest]
#[case::one_audience_as_a_text(with("aud", json!("astromesh")))]
#[case::one_of_several_audiences(with("aud", json!(["other", "astromesh"])))]
#[case::no_not_before(without("nbf"))]
#[case::expired_within_the_leeway(with("exp", json!(NOW - 29)))]
#[case::not_before_within_the_leeway(with("nbf", json!(NOW + 30)))]
fn a_token_passes(#[case] claims: Value) {
    verifier().verify(&signed(&claims)).unwrap();
}

#[rstest]
#[case::expired(with("exp", json!(NOW - 30)), "expired")]
#[case::no_expiry(without("exp"), "malformed")]
#[case::expiry_is_text(with("exp", json!("never")), "malformed")]
#[case::expiry_is_negative(with("exp", json!(-1)), "malformed")]
#[case::not_yet_valid(with("nbf", json!(NOW + 31)), "not valid yet")]
#[case::not_before_is_text(with("nbf", json!("soon")), "malformed")]
#[case::other_audience(with("aud", json!(["https://kubernetes.default.svc"])), "wrong audience")]
#[case::audience_is_a_prefix(with("aud", json!("astro")), "wrong audience")]
#[case::no_audience(without("aud"), "wrong audience")]
#[case::empty_audience(with("aud", json!([])), "wrong audience")]
#[case::other_issuer(with("iss", json!("https://elsewhere")), "wrong issuer")]
#[case::no_issuer(without("iss"), "wrong issuer")]
#[case::a_user(with("sub", json!("jane")), "not that of a service account")]
#[case::a_node(with("sub", json!("system:node:worker-1")), "not that of a service account")]
#[case::no_name(with("sub", json!("system:serviceaccount:shop")), "not that of a service account")]
#[case::empty_name(with("sub", json!("system:serviceaccount:shop:")), "not that of a service account")]
#[case::empty_namespace(with("sub", json!("system:serviceaccount::web")), "not that of a service account")]
#[case::too_many_parts(with("sub", json!("system:serviceaccount:shop:web:x")), "not that of a service account")]
#[case::no_subject(without("sub"), "malformed")]
fn a_signed_token_is_refused(#[case] claims: Value, #[case] reason: &str) {
    let message = refused(&signed(&claims));
    assert!(message.contains(reason), "{message}");
}

#[test]
fn a_token_of_another_key_under_a_known_id_is_refused() {
    let other = EncodingKey::from_rsa_pem(RSA_OTHER).unwrap();
    let message = refused(&sign(Algorithm::RS256, Some("rsa"), &other, &claims()));
    assert!(message.contains("signature does not verify"), "{message}");
}

#[rstest]
#[case::unknown(Some("other"))]
#[case::none(None)]
#[case::empty(Some(""))]
fn a_token_of_an_unknown_key_is_refused(#[case] kid: Option<&str>) {
    let message = refused(&sign(Algorithm::RS256, kid, &rsa(), &claims()));
    assert!(message.contains("signed by an unknown key"), "{message}");
}

#[rstest]
#[case::rs512_where_the_key_is_for_rs256(Algorithm::RS512, "rsa", rsa())]
#[case::ps256_with_an_rsa_key(Algorithm::PS256, "rsa", rsa())]
#[case::an_ec_signature_under_the_rsa_key(Algorithm::ES256, "rsa", ec())]
#[case::an_rsa_signature_under_the_ec_key(Algorithm::RS256, "ec", rsa())]
#[case::hmac_with_the_public_key(Algorithm::HS256, "rsa", EncodingKey::from_secret(RSA_PUBLIC))]
fn the_algorithm_must_be_that_of_the_key(#[case] algorithm: Algorithm, #[case] kid: &str, #[case] key: EncodingKey) {
    let message = refused(&sign(algorithm, Some(kid), &key, &claims()));
    assert!(message.contains("signature does not verify"), "{message}");
}

#[rstest]
#[case("none")]
#[case("None")]
#[case("NONE")]
#[case("RS256 ")]
#[case("")]
fn no_token_passes_without_an_algorithm(#[case] algorithm: &str) {
    let header = json!({"alg": algorithm, "typ": "JWT", "kid": "rsa"});
    for signature in ["", "AAAA"] {
        let message = refused(&raw(&header, &claims(), signature));
        assert!(message.contains("malformed"), "{message}");
    }
}

#[test]
fn a_changed_claim_breaks_the_signature() {
    let token = signed(&claims());
    let (rest, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = rest.split_once('.').unwrap();
    let forged = base64_url(with("sub", json!("system:serviceaccount:kube-system:admin")).to_string().as_bytes());
    let message = refused(&format!("{header}.{forged}.{signature}"));
    assert!(message.contains("signature does not verify"), "{message}");
}

#[rstest]
#[case::empty("")]
#[case::a_word("letmein")]
#[case::dots("..")]
#[case::too_many_parts("a.b.c.d")]
#[case::not_base64("!!!!!!!!!.?????????.*********")]
#[case::too_long(&"x".repeat(TOKEN_BYTES_MAX + 1))]
#[case::not_ascii("ä.ö.ü")]
fn garbage_is_malformed(#[case] token: &str) {
    let message = refused(token);
    assert!(message.contains("malformed"), "{message}");
    assert!(message.contains("audience `astromesh`"), "the remedy is named: {message}");
}

#[test]
fn a_remembered_token_dies_when_it_expires() {
    let mut verifier = verifier();
    let token = signed(&with("exp", json!(NOW + 1)));
    verifier.verify(&token).unwrap();
    verifier.clock = || NOW + 30;
    verifier.verify(&token).unwrap();
    verifier.clock = || NOW + 31;
    assert!(verifier.verify(&token).unwrap_err().message.contains("expired"));
}

#[test]
fn a_refused_token_is_not_remembered() {
    let mut verifier = verifier();
    let token = signed(&with("nbf", json!(NOW + 40)));
    verifier.verify(&token).unwrap_err();
    verifier.clock = || NOW + 40;
    verifier.verify(&token).unwrap();
}

#[test]
fn the_system_clock_tells_tokens_of_now_from_old_ones() {
    let verifier = JwksVerifier::new(ISSUER, "astromesh", &jwks()).unwrap();
    let now = unix_now();
    let mut claims = without("nbf");
    claims["exp"] = json!(now + 600);
    verifier.verify(&signed(&claims)).unwrap();
    claims["exp"] = json!(now - 600);
    verifier.verify(&signed(&claims)).unwrap_err();
}

#[test]
fn a_key_without_alg_verifies_what_its_type_can() {
    let mut key = public(&rsa(), Algorithm::RS256, "rsa");
    key.as_object_mut().unwrap().shift_remove("alg");
    let mut verifier = JwksVerifier::new(ISSUER, "astromesh", &json!({"keys": [key]}).to_string()).unwrap();
    verifier.clock = || NOW;
    for algorithm in [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512] {
        verifier.verify(&sign(algorithm, Some("rsa"), &rsa(), &claims())).unwrap();
    }
    verifier.verify(&sign(Algorithm::PS256, Some("rsa"), &rsa(), &claims())).unwrap_err();
}

#[rstest]
#[case::not_json("<html>", false)]
#[case::not_a_set("{}", false)]
#[case::no_keys(r#"{"keys": []}"#, true)]
#[case::only_a_shared_secret(r#"{"keys": [{"kty": "oct", "kid": "a", "k": "c2VjcmV0"}]}"#, true)]
#[case::only_a_key_for_encryption(
    r#"{"keys": [{"kty": "RSA", "use": "enc", "kid": "a", "n": "AQAB", "e": "AQAB"}]}"#,
    true
)]
#[case::a_key_without_an_id(r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#, true)]
fn a_key_set_without_a_usable_key_is_an_error(#[case] jwks: &str, #[case] is_a_set: bool) {
    let error = JwksVerifier::new(ISSUER, "astromesh", jwks).err().unwrap();
    assert_eq!(matches!(error, JwksError::Empty), is_a_set, "{error}");
}

#[test]
fn a_broken_key_is_named() {
    let jwks = r#"{"keys": [{"kty": "RSA", "kid": "a", "n": "!!", "e": "AQAB"}]}"#;
    let error = JwksVerifier::new(ISSUER, "astromesh", jwks).err().unwrap();
    assert!(error.to_string().contains("`a`"), "{error}");
}

#[test]
fn without_keys_no_token_passes() {
    let error = NoVerifier.verify(&signed(&claims())).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated);
    assert!(error.message.contains("no cluster keys"), "{}", error.message);
}
