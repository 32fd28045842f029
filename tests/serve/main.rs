//! `keystilectl serve` as the world meets it: a process, ports, certificates, signals; and
//! the command line through it.

mod listener;
mod remote;
mod server;
#[allow(dead_code)]
#[path = "../control/support.rs"]
mod support;
mod tls;
