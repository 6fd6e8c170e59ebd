//! What every store guarantees, run on every backend, against real servers.

#[cfg(test)]
mod budgets;
#[cfg(test)]
mod conversations;
#[cfg(test)]
mod episodes;
mod files;
#[cfg(test)]
mod meanings;
#[cfg(test)]
mod newer;
#[cfg(test)]
mod places;
