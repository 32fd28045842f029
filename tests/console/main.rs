//! The console and the portal as people meet them: the real server, a real browser.
//!
//! Screenshots land in `target/console/`, for looking at.

mod client;
mod going;
mod guide;
mod idp;
mod keys;
mod oidc;
mod owner;
mod pages;
mod settings;
mod usage;
mod webhooks;

use keystile_tests::{browser, reading, server, support};
