//! Whole turns through the public interface, with scripted ports and a stopped clock.

mod fixture;
mod memory;
mod turn;
