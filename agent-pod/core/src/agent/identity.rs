//! Which run it is.

use crate::access::Caller;
use crate::peer::Family;
use crate::ports::Environment;
use crate::service::RunOptions;

/// Which run this is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Id of the run.
    pub run_id: String,
    /// The session.
    pub session_id: String,
    /// Whose calls of a tool count together: the session that the caller has named, else the caller. A fresh session
    /// would have made no call before.
    pub counted_as: String,
    /// Id of the trace.
    pub trace_id: String,
    /// How many agents have called each other to get here.
    pub depth: u32,
    /// The runs that are begun for the same call.
    pub family: Family,
}

impl Identity {
    /// A run in the session that its caller has named, else in a fresh one.
    pub(super) fn new(environment: &dyn Environment, named: Option<String>, options: &RunOptions) -> Self {
        let counted_as = match (&named, &options.caller) {
            (Some(session), _) => format!("session:{session}"),
            (None, Some(Caller { namespace, service_account })) => format!("caller:{namespace}/{service_account}"),
            (None, None) => "anonymous".to_owned(),
        };
        Self {
            run_id: environment.fresh_id(),
            session_id: named.unwrap_or_else(|| environment.fresh_id()),
            counted_as,
            trace_id: options.trace_id.clone().unwrap_or_else(|| environment.fresh_trace_id()),
            depth: options.depth,
            family: options.family.clone(),
        }
    }
}
