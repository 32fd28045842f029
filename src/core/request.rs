//! A request as it comes, and the readings that whoever is behind makes of it.

pub mod certificate;
pub mod credential;
pub mod glance;
pub mod headers;
pub mod host;
pub mod overrides;
pub mod path;
pub mod route;
