//! The console and the portal as people meet them: the real server, a real browser.
//!
//! Screenshots land in `target/console/`, for looking at.

mod browser;
mod client;
mod idp;
mod oidc;
mod owner;
mod pages;
mod reading;
#[allow(dead_code)]
#[path = "../serve/server.rs"]
mod server;
mod settings;
#[allow(dead_code)]
#[path = "../control/support.rs"]
mod support;
mod usage;
