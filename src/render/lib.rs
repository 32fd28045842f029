//! Prints configurations for Envoy, Istio, Envoy Gateway, Kubernetes and Helm; and makes the resource in
//! which a keyset is sent to Envoy ([`ecds`]), with the few messages of Envoy's API that the
//! companion uses ([`proto`]).
//!
//! Text and values only: never reads a file or a store, never talks to an Envoy or a cluster, and
//! never holds a key's text.

pub mod chosen;
pub mod ecds;
pub mod envoy;
pub mod envoy_gateway;
pub mod istio;
pub mod kubernetes;
pub mod manifest;
pub mod proto;
