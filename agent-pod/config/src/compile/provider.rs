//! A Provider as the document holds it.

use std::collections::BTreeMap;

use astromesh_crds::v1alpha1::{
    AuthScheme, DecimalString, DurationString, Price, Provider, ProviderAuth, ProviderModel, ProviderSpec,
    ProviderTimeouts, SecretKeyRef,
};
use kube::ResourceExt as _;

use super::{bad_duration, millis, namespace};
use crate::document::{
    AuthDocument, CircuitBreakerDocument, PriceDocument, ProviderDocument, ProviderModelDocument, RateLimitDocument,
    RetryDocument, SecretKey, TimeoutsDocument, TlsDocument,
};

/// The default waits of a model call.
const CONNECT_MS: u64 = 5_000;
const FIRST_TOKEN_MS: u64 = 30_000;
const STALL_MS: u64 = 30_000;
const TOTAL_MS: u64 = 120_000;

/// A provider as the document holds it, or why it is not valid by itself.
///
/// The schema and its rules catch this at apply time; here it is caught once more for objects that were stored before
/// a rule existed.
pub(super) fn compile_provider(provider: &Provider) -> Result<ProviderDocument, String> {
    let spec = &provider.spec;
    let endpoint = spec.endpoint().ok_or("spec.endpoint is missing; this type has none of its own")?;
    Ok(ProviderDocument {
        name: provider.name_any(),
        namespace: namespace(provider),
        provider_type: spec.provider_type,
        endpoint: endpoint.to_owned(),
        auth: auth(spec.auth.as_ref()).ok_or("spec.auth.secretKeyRef is missing")?,
        headers: spec.headers.clone(),
        tls: tls(spec),
        models: models(&spec.models)?,
        timeouts: timeouts(&spec.timeouts.clone().unwrap_or_default())?,
        circuit_breaker: CircuitBreakerDocument {
            failure_threshold: spec.circuit_breaker.failure_threshold,
            cooldown_ms: wait(Some(&spec.circuit_breaker.cooldown), 0)?,
        },
        retry: RetryDocument { max_attempts: spec.retry.max_attempts, budget_percent: spec.retry.budget_percent },
        rate_limit: spec.rate_limit.as_ref().filter(|limit| **limit != Default::default()).map(|limit| {
            RateLimitDocument {
                requests_per_minute: limit.requests_per_minute,
                tokens_per_minute: limit.tokens_per_minute,
            }
        }),
        max_concurrent_requests: spec.max_concurrent_requests,
    })
}

/// The values in order, each once: a set has no order of its own.
pub(super) fn sorted_set<T: Ord + Clone>(values: &[T]) -> Vec<T> {
    let mut sorted = values.to_vec();
    sorted.sort();
    sorted.dedup();
    sorted
}

/// The credentials to send; the inner `None`: there are none. `None`: there should be, but no Secret is named.
pub(super) fn auth(auth: Option<&ProviderAuth>) -> Option<Option<AuthDocument>> {
    let Some(auth) = auth.filter(|auth| auth.scheme != AuthScheme::None) else { return Some(None) };
    let secret = auth.secret_key_ref.as_ref()?;
    Some(Some(AuthDocument { scheme: auth.scheme, header: auth.header.clone(), secret: secret_key(secret) }))
}

fn tls(spec: &ProviderSpec) -> Option<TlsDocument> {
    let tls = spec.tls.as_ref().filter(|tls| **tls != Default::default())?;
    Some(TlsDocument {
        ca: tls.ca_secret_key_ref.as_ref().map(secret_key),
        insecure_skip_verify: tls.insecure_skip_verify,
    })
}

pub(super) fn secret_key(reference: &SecretKeyRef) -> SecretKey {
    SecretKey { name: reference.name.clone(), key: reference.key.clone() }
}

fn models(models: &[ProviderModel]) -> Result<BTreeMap<String, ProviderModelDocument>, String> {
    models.iter().map(|model| Ok((model.name.clone(), compile_model(model)?))).collect()
}

fn compile_model(model: &ProviderModel) -> Result<ProviderModelDocument, String> {
    Ok(ProviderModelDocument {
        context_window: model.context_window,
        capabilities: model.capabilities.as_deref().map(sorted_set),
        quality: model.quality,
        price: model.price.as_ref().map(price).transpose()?,
    })
}

fn price(price: &Price) -> Result<PriceDocument, String> {
    let number = |text: &DecimalString| {
        text.normalized().ok_or_else(|| format!("`{}` is not a price; write for example 0.15", text.0))
    };
    Ok(PriceDocument {
        input_per_million: number(&price.input_per_million)?,
        output_per_million: number(&price.output_per_million)?,
        cached_input_per_million: price.cached_input_per_million.as_ref().map(number).transpose()?,
    })
}

fn timeouts(timeouts: &ProviderTimeouts) -> Result<TimeoutsDocument, String> {
    Ok(TimeoutsDocument {
        connect_ms: wait(timeouts.connect.as_ref(), CONNECT_MS)?,
        first_token_ms: wait(timeouts.first_token.as_ref(), FIRST_TOKEN_MS)?,
        stall_ms: wait(timeouts.stall.as_ref(), STALL_MS)?,
        total_ms: wait(timeouts.total.as_ref(), TOTAL_MS)?,
    })
}

fn wait(text: Option<&DurationString>, default: u64) -> Result<u64, String> {
    text.map_or(Ok(default), |text| millis(text).ok_or_else(|| bad_duration(text)))
}
