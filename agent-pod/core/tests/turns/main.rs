//! Whole turns through the public interface, with scripted ports and a stopped clock.

#[cfg(test)]
mod budgets;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod episodes;
#[cfg(test)]
mod execute;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod guardrails;
#[cfg(test)]
mod meanings;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod output;
#[cfg(test)]
mod patterns;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod swarm;
#[cfg(test)]
mod team;
#[cfg(test)]
mod teams;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod turn;
