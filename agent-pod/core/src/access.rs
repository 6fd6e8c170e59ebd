//! Who may call an agent: a pure decision over a verified caller.

use crate::error::{ErrorCode, RunError};

/// A caller whose token has been verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Namespace of its service account.
    pub namespace: String,
    /// Name of its service account.
    pub service_account: String,
}

/// What the names of agents' service accounts end with: the operator gives each agent one of its own, `<name>-agent`.
const AGENT_SUFFIX: &str = "-agent";

impl Caller {
    /// The service account of an agent.
    #[must_use]
    pub fn agent(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), service_account: format!("{name}{AGENT_SUFFIX}") }
    }

    /// Whether it is the service account of an agent, by its name: what only agents may say of a run is taken from these
    /// alone. Whoever may create pods in a namespace can run them under such an account, as under any other.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.service_account.strip_suffix(AGENT_SUFFIX).is_some_and(|name| !name.is_empty())
    }
}

/// How a call arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// From this machine, by the loopback interface.
    Loopback,
    /// From elsewhere.
    Network,
}

/// Who may call an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessPolicy {
    /// Everybody.
    Open,
    /// Everybody on this machine; nobody else. The default of standalone mode.
    LoopbackOnly,
    /// These service accounts.
    ServiceAccounts(Vec<AllowedCaller>),
}

/// A service account, or every one of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedCaller {
    /// The namespace.
    pub namespace: String,
    /// The service account; absent: every one of the namespace.
    pub service_account: Option<String>,
}

/// Verifies tokens offline.
pub trait TokenVerifier: Send + Sync {
    /// The caller that `token` proves.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] with the reason, which never repeats any of the token.
    fn verify(&self, token: &str) -> Result<Caller, RunError>;
}

impl AccessPolicy {
    /// Whether a call may pass, and whose it is where the policy asks for that. `token` is the bearer token of the call,
    /// verified only where the policy needs it.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`] without a token that verifies, [`ErrorCode::Forbidden`] for a caller that is not
    /// let in.
    pub fn check(
        &self,
        arrival: Arrival,
        token: Option<&str>,
        verifier: &dyn TokenVerifier,
    ) -> Result<Option<Caller>, RunError> {
        match self {
            Self::Open => Ok(None),
            Self::LoopbackOnly if arrival == Arrival::Loopback => Ok(None),
            Self::LoopbackOnly => Err(RunError::new(
                ErrorCode::Unauthenticated,
                "this agent answers on the loopback interface only; set spec.access to let others in",
            )),
            Self::ServiceAccounts(allowed) => {
                let token = token.ok_or_else(|| {
                    RunError::new(
                        ErrorCode::Unauthenticated,
                        "a token is needed: send `Authorization: Bearer` with a service-account token of audience `astromesh`",
                    )
                })?;
                let caller = verifier.verify(token)?;
                if allowed.iter().any(|entry| entry.admits(&caller)) {
                    Ok(Some(caller))
                } else {
                    Err(forbidden(&caller))
                }
            }
        }
    }
}

impl AllowedCaller {
    fn admits(&self, caller: &Caller) -> bool {
        self.namespace == caller.namespace
            && self.service_account.as_ref().is_none_or(|account| account == &caller.service_account)
    }
}

fn forbidden(caller: &Caller) -> RunError {
    RunError::new(
        ErrorCode::Forbidden,
        format!(
            "service account `{}` of namespace `{}` may not call this agent; list it in the agent's spec.access.allowed",
            caller.service_account, caller.namespace
        ),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("support-agent", true)]
    #[case("agent", false)]
    #[case("-agent", false)]
    #[case("support-agents", false)]
    #[case("agent-support", false)]
    #[case("support-Agent", false)]
    #[case("default", false)]
    fn an_agent_is_known_by_its_service_account(#[case] service_account: &str, #[case] expected: bool) {
        let caller = Caller { namespace: "shop".to_owned(), service_account: service_account.to_owned() };
        assert_eq!(caller.is_agent(), expected);
    }

    #[test]
    fn the_account_of_an_agent_is_one() {
        assert!(Caller::agent("shop", "support").is_agent());
    }
}
