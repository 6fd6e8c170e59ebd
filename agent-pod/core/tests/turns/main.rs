//! Whole turns through the public interface, with scripted ports and a stopped clock.

#[cfg(test)]
mod chat;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod memory;
mod routing;
mod turn;
