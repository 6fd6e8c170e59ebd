//! From `kubectl apply` to an answer, on a real cluster, each by public means only.
//!
//! What a test needs is said in `astromesh_e2e::settings`; `make e2e` provides it. The tests of `operator_failures` scale
//! and kill the operator of the default installation, so nothing may run beside them: run one test at a time.

#[cfg(test)]
mod support;

#[cfg(test)]
mod access;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod children;
#[cfg(test)]
mod deletion;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod edits;
#[cfg(test)]
mod fallback;
#[cfg(test)]
mod healing;
#[cfg(test)]
mod operator_failures;
#[cfg(test)]
mod permissions;
#[cfg(test)]
mod pods;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod references;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rollouts;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod standalone;
#[cfg(test)]
mod starts;
#[cfg(test)]
mod statuses;
#[cfg(test)]
mod teams;
#[cfg(test)]
mod truth;
#[cfg(test)]
mod validation;
