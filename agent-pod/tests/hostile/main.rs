//! The binary against what bad luck and attackers send it: under 256 MiB of memory and one CPU, while `/livez` is polled.
//!
//! `make hostile` runs it. `AGENT_POD` names the program, best one of the profile `image`; otherwise it is the debug build, for
//! which every bound of time is ten times as long.

#[cfg(test)]
mod at_once;
#[cfg(test)]
mod bytes;
#[cfg(test)]
mod cgroup;
#[cfg(test)]
mod client;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod held;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod operating;
#[cfg(test)]
mod pod;
#[cfg(test)]
mod prober;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod recursion;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod speaking;
#[cfg(test)]
mod work;
