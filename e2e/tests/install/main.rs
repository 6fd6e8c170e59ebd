//! The packaged charts: installed, upgraded, uninstalled, and installed for some namespaces only.
//!
//! Each test ends with the default installation as it was: the releases `astromesh-crds` and `astromesh` in
//! `astromesh-system`. Nothing may run beside them: run one test at a time.

#[cfg(test)]
mod lease;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod namespaces;
#[cfg(test)]
mod releases;
#[cfg(test)]
mod values;
