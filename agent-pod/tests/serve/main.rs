//! The binary as users run it: on a folder of manifests, and on mounted files as in a pod.

#[cfg(test)]
mod attention;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod bytes;
#[cfg(test)]
mod callers;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod files;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod import;
#[cfg(test)]
mod keyed_server;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod model_server;
#[cfg(test)]
mod patterns;
#[cfg(test)]
#[path = "../support/pod.rs"]
mod pod;

#[cfg(test)]
mod mounted;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod standalone;
#[cfg(test)]
mod start_up;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod teams;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod validate;
