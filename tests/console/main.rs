//! The console and the portal as people meet them: the real server, a real browser.
//!
//! Screenshots land in `target/console/`, for looking at.

mod browser;
mod client;
mod owner;
mod pages;
#[allow(dead_code)]
#[path = "../serve/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../control/support.rs"]
mod support;
mod usage;
