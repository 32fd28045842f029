//! A request as it arrives, and the ways in which servers behind Envoy may read it.

pub mod certificate;
pub mod credential;
pub mod glance;
pub mod headers;
pub mod host;
pub(crate) mod name;
pub mod overrides;
pub mod path;
pub mod route;
pub(crate) mod watched;
