//! The doors, by their public interface, in front of scripted agents.

#[cfg(test)]
mod client;
#[cfg(test)]
mod fake;

#[cfg(test)]
mod access;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod bytes;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod chat_streams;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod handshakes;

mod memory;
#[cfg(test)]
mod run;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tools;
