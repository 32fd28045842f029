//! `keystilectl serve` as the world meets it: a process, ports, certificates, signals; and
//! the command line through it.

mod backups;
mod discovery;
mod exports;
mod leaks;
mod listener;
mod load;
mod pki;
// A client needs a part of it.
#[allow(dead_code)]
#[path = "../harness/discovery_client.rs"]
mod client;
mod proxies;
mod reach;
mod receiver;
mod remote;
mod server;
#[allow(dead_code)]
#[path = "../control/support.rs"]
mod support;
mod tls;
mod usage;
mod versions;
mod webhooks;
