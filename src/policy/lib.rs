//! The policy file, `policy.yaml`: read with the line of every mistake, checked for what is left
//! open, compared with another, tested with cases, drafted from an OpenAPI document; and one
//! request explained as the filter decides it.
//!
//! Never looks into a store: keys and signing keys are arguments.

pub mod cases;
pub mod check;
pub mod diff;
pub mod explain;
pub mod file;
pub mod openapi;
pub mod wrong_key;
pub mod yaml;
pub mod zones;
