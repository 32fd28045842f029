//! Filters have no timers, so a thread of our own keeps the time and asks Envoy to call us on its
//! main thread.

use std::sync::OnceLock;
use std::thread::Thread;
use std::time::Duration;

use crate::abi::{Level, log};
use crate::{clock, state};

const TICK: Duration = Duration::from_secs(1);
/// How often to look for a secret while a configuration waits for it: requests wait, too.
const PEEK: Duration = Duration::from_millis(10);

/// Starts the thread, once.
pub fn begin() {
    static THREAD: OnceLock<Option<Thread>> = OnceLock::new();
    if crate::abi::is_validation() {
        return;
    }
    THREAD.get_or_init(|| {
        let thread = std::thread::Builder::new().name("keystile-tick".to_owned());
        let spawned = thread.spawn(keep_time);
        if spawned.is_err() {
            log(
                Level::Error,
                "keystile: no thread could be started: gauges, reports and the end of tunnels wait for the next push",
            );
        }
        spawned.ok().map(|handle| handle.thread().clone())
    });
    if let Some(Some(thread)) = THREAD.get() {
        // A configuration may wait for a secret.
        thread.unpark();
    }
}

fn keep_time() {
    let mut passed = Duration::ZERO;
    loop {
        let pause = match state::wake_waiting() {
            true => PEEK,
            false => TICK.saturating_sub(passed),
        };
        let before = clock::monotonic();
        std::thread::park_timeout(pause);
        passed += Duration::from_nanos(clock::monotonic().saturating_sub(before));
        if passed >= TICK {
            passed = Duration::ZERO;
            state::wake();
        }
    }
}
