//! The original's formats in, manifests and a report out.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod carried;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod properties;
