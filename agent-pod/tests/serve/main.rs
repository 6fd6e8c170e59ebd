//! The binary as users run it: on a folder of manifests, and on mounted files as in a pod.

mod harness;
mod model_server;

mod mounted;
mod standalone;
mod stop;
mod validate;
