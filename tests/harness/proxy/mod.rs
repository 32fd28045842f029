//! What the tests stand on: an Envoy, an upstream, a client that may send anything.

mod client;
mod companion;
mod delta;
mod ecds;
mod envoy;
pub mod fault;
mod load;
pub mod proto;
mod push;
pub mod quiet;
pub mod raw;
mod server;
pub mod shell;
mod upstream;

pub use self::{
    client::{Client, Request, Response, get, request},
    companion::Companion,
    delta::Delta,
    ecds::EcdsFile,
    envoy::{Envoy, Setup, fresh_dir, minor, version},
    load::{Answer, Load, burst, count},
    push::Push,
    server::Server,
    upstream::{Reply, Seen, Upstream, echoed},
};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Long enough for a busy machine with two cores; a test that hangs says on what.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until there is an answer, which is how every test here waits.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let from = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(from.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The repository's root. Envoy is started there, as people start it.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A part that a script has to have put there.
pub fn part(path: &str, script: &str) -> PathBuf {
    let path = root().join(path);
    assert!(
        path.exists(),
        "{} is missing: run {script} first",
        path.display()
    );
    path
}
