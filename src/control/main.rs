//! `keystilectl`: owns clients, keys, plans and the audit log; issues keys; turns the
//! store into a signed keyset and hands it to Envoy.
//!
//! From the outside in:
//!
//! * [`cli`] and [`commands`]: what a person types, and what is printed for it;
//! * [`operation`]: one struct for each thing that can be asked, from which command line,
//!   REST, OpenAPI and the table of roles are made; [`remote`] asks a server for it;
//! * [`console`]: the same operations as pages, for people;
//! * [`registry`]: one function per operation, one transaction each, with its checks
//!   and its audit record;
//! * [`store`]: the only place that speaks SQL. A second database needs another
//!   [`store::Tx`] and nothing else;
//! * [`usage`]: what Envoys count, taken in, kept and asked for, in a database of its own;
//! * [`publish`] and [`ecds`]: rows to keyset, keyset to Envoy; [`proto`]: Envoy's messages;
//! * [`openapi_import`], [`policy_test`], [`policy_diff`]: a policy drafted, tried and
//!   compared, without a store; [`import`]: other systems' exports, read;
//! * [`world`]: clock, randomness, user and environment. Everything else takes them as
//!   arguments.
#![cfg_attr(target_family = "wasm", no_main)]
#![deny(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::todo,
    clippy::print_stdout,
    clippy::print_stderr
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::print_stdout
    )
)]

// The package is built for wasm as a whole, and nothing in here runs there.
#[cfg(not(target_family = "wasm"))]
#[path = "."]
mod native {
    pub mod audit;
    pub mod caller;
    pub mod cli;
    pub mod commands;
    pub mod console;
    pub mod delivery;
    pub mod desk;
    pub mod ecds;
    pub mod envoy;
    pub mod envoy_gateway;
    pub mod error;
    pub mod explain;
    pub mod exporter;
    pub mod file;
    pub mod foreign;
    pub mod home;
    pub mod import;
    pub mod import_lines;
    pub mod inspect;
    pub mod istio;
    pub mod kubernetes;
    pub mod manifest;
    pub mod nearest;
    pub mod openapi_import;
    pub mod operation;
    pub mod outbox;
    pub mod output;
    pub mod plural;
    pub mod policy_check;
    pub mod policy_diff;
    pub mod policy_file;
    pub mod policy_test;
    pub mod proto;
    pub mod reach;
    pub mod record;
    pub mod registry;
    pub mod remote;
    pub mod rotation;
    pub mod rules;
    pub mod scanner;
    pub mod scanning;
    pub mod seal;
    pub mod serve;
    pub mod store;
    pub mod system;
    pub mod token_record;
    pub mod usage;
    pub mod webhook;
    pub mod when;
    pub mod wire;
    pub mod words;
    pub mod world;
    pub mod yaml;
    pub mod zones;
}
#[cfg(not(target_family = "wasm"))]
use native::*;

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    cli::main()
}
