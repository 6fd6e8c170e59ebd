//! Whole turns through the public interface, with scripted ports and a stopped clock.

#[cfg(test)]
mod budgets;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod guardrails;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod output;
#[cfg(test)]
mod patterns;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod turn;
