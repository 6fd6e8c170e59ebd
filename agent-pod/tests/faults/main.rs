//! The binary in front of model servers that fail in every way there is: what the caller sees, what the server saw, and
//! what was booked.

#[cfg(test)]
mod fault;
#[cfg(test)]
mod model_server;
#[cfg(test)]
#[path = "../support/pod.rs"]
mod pod;
#[cfg(test)]
mod reply;
#[cfg(test)]
mod world;

#[cfg(test)]
mod circuit;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod patience;
