//! `keystilectl serve` as the world meets it: a process, ports, certificates, signals; and
//! the command line through it.

mod backups;
mod banner;
mod bodies;
mod clocks;
mod discovery;
mod exports;
mod halted;
mod holders;
mod leaks;
mod listener;
mod load;
mod login;
mod pages;
mod policies;
mod proxies;
mod reach;
mod receiver;
mod remote;
mod replicas;
mod sessions;
mod tls;
mod trouble;
mod unreadable;
mod upgrades;
mod usage;
mod versions;
mod webhooks;
mod went_back;

use keystile_tests::{database, discovery_client as client, pki, server, support};
