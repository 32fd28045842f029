//! The filter in the real Envoy, started from the configurations under `envoy/`.
//!
//! `scripts/test envoy` builds what these tests run against; by itself `cargo test
//! --test envoy` takes whatever lies in `target/dist`.
#![cfg(not(target_family = "wasm"))]

mod attempts;
mod beside;
mod callers;
mod certificates;
mod closed;
mod decisions;
mod dev;
mod doctor;
mod drafts;
mod exposed;
mod faults;
mod gateway;
mod grpc;
mod hops;
mod hostile;
mod hosts;
mod identity;
mod istio;
mod journey;
mod keeper;
mod limits;
mod listeners;
mod live;
mod metrics;
mod modes;
mod module;
mod monitoring;
mod mutual_tls;
mod outage;
mod overlay;
mod pushes;
mod quick_start;
mod readings;
mod redirects;
mod refused;
mod replicas;
mod restore;
mod revocation;
mod runbook;
mod secrets;
mod templates;
mod tls;
mod trailers;
mod traps;
mod trust;
mod tunnels;
mod two_filters;
mod usage;
mod usage_served;
mod usage_shown;

use keystile_tests::{browser, database, door, fixture, pki, proxy as support, reading};
