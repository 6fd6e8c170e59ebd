//! One way to fail, and everything that follows from it.

use serde_json::{Value, json};

use crate::model_server::ModelServer;
use crate::reply::Reply;

/// Where the failing provider is.
pub(crate) enum Place {
    /// At a server that does this with every call.
    Scripted(Reply),
    /// At this URL.
    Elsewhere(&'static str),
    /// At a server without TLS, by `https`.
    WithoutTls,
}

/// One way to fail, and what follows when a provider fails like this.
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) timeouts: Value,
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    /// The least and the most that `Retry-After` may say; absent: there is none.
    pub(crate) retry_after: Option<(u64, u64)>,
    /// What stands in brackets after the provider's name.
    pub(crate) phrase: &'static str,
    /// How each try ended.
    pub(crate) outcome: &'static str,
    pub(crate) tries: usize,
    /// Whether the breaker counts it.
    pub(crate) blamed: bool,
    /// Whether the provider is left alone for as long as it has asked.
    pub(crate) cools: bool,
    /// Whether the next candidate is tried.
    pub(crate) followed: bool,
    /// Whether some of an answer came before.
    pub(crate) begun: bool,
    /// Whether tokens are booked.
    pub(crate) booked: bool,
}

impl Fault {
    /// The provider fails without a word of an answer: tried twice, blamed, followed by the next candidate.
    pub(crate) fn of(place: Place, phrase: &'static str) -> Self {
        Self {
            place,
            timeouts: json!({}),
            status: 502,
            code: "all_providers_failed",
            retry_after: None,
            phrase,
            outcome: "unavailable",
            tries: 2,
            blamed: true,
            cools: false,
            followed: true,
            begun: false,
            booked: false,
        }
    }

    pub(crate) fn scripted(reply: Reply, phrase: &'static str) -> Self {
        Self::of(Place::Scripted(reply), phrase)
    }

    /// What comes is not what the protocol says.
    pub(crate) fn malformed(reply: Reply, phrase: &'static str) -> Self {
        Self { outcome: "malformed", ..Self::scripted(reply, phrase) }
    }

    /// The provider is too slow.
    pub(crate) fn slow(reply: Reply, phrase: &'static str) -> Self {
        let timeouts = json!({"firstToken": "150ms", "stall": "150ms", "total": "400ms"});
        Self { timeouts, outcome: "timeout", tries: 1, ..Self::scripted(reply, phrase) }
    }

    /// The provider finds the request at fault.
    pub(crate) fn rejected(reply: Reply, phrase: &'static str) -> Self {
        Self {
            status: 400,
            code: "provider_rejected",
            outcome: "rejected",
            tries: 1,
            blamed: false,
            followed: false,
            ..Self::scripted(reply, phrase)
        }
    }

    /// The provider cannot be used as it is configured.
    pub(crate) fn misconfigured(status: u16, phrase: &'static str) -> Self {
        let (code, outcome) = match status {
            404 => ("provider_model_not_found", "not_found"),
            _ => ("provider_unauthorized", "unauthorized"),
        };
        let fault = Self::scripted(Reply::refusal(status, &[]), phrase);
        Self { code, outcome, tries: 1, blamed: false, ..fault }
    }

    /// The provider asks for patience without saying how long.
    pub(crate) fn impatient(reply: Reply) -> Self {
        Self { outcome: "rate_limited", blamed: false, ..Self::scripted(reply, "429") }
    }

    /// The provider asks for patience of about so many seconds.
    pub(crate) fn patient(header: &'static str, value: &str, (least, most): (u64, u64)) -> Self {
        let reply = Reply::refusal(429, &[(header, value)]);
        Self { tries: 1, cools: true, retry_after: Some((least, most)), ..Self::impatient(reply) }
    }

    /// The same after some of an answer.
    pub(crate) fn after_text(self) -> Self {
        Self { begun: true, booked: true, ..self }
    }

    /// The server, where there is one, and the URL of the provider.
    pub(crate) async fn open(&self) -> (Option<ModelServer>, String) {
        match &self.place {
            Place::Scripted(reply) => {
                let server = ModelServer::start([reply.clone()]).await;
                let url = server.url();
                (Some(server), url)
            }
            Place::Elsewhere(url) => (None, (*url).to_owned()),
            Place::WithoutTls => {
                let server = ModelServer::good("never").await;
                let url = server.url().replace("http:", "https:");
                (Some(server), url)
            }
        }
    }
}
