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
mod callers;
#[cfg(test)]
mod circuit;
#[cfg(test)]
mod deadlines;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod needs;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod patience;
#[cfg(test)]
mod setting_aside;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod strategies;
