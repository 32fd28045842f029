//! What happens once a second on Envoy's main thread. Filters have no timers, so a thread of our
//! own keeps the time and asks Envoy to call us.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::abi::{Configuration, Level, Stream, log};
use crate::answers::CalloutAnswer;
use crate::config::Config;
use crate::{buckets, clock, report, state, tunnels, usage};

const TICK: Duration = Duration::from_secs(1);

/// The next request has to set the gauges: this Envoy cannot set them outside of one.
static IS_SHOWN_LATER: AtomicBool = AtomicBool::new(false);

/// Starts the thread, once.
pub fn begin() {
    static THREAD: OnceLock<()> = OnceLock::new();
    if crate::abi::is_validation() {
        return;
    }
    THREAD.get_or_init(|| {
        let thread = std::thread::Builder::new().name("keystile-tick".to_owned());
        if thread.spawn(keep_time).is_err() {
            log(
                Level::Error,
                "keystile: no thread could be started: gauges, reports and the end of tunnels wait for the next push",
            );
        }
    });
}

fn keep_time() {
    loop {
        std::thread::sleep(TICK);
        state::wake();
    }
}

/// A second has passed.
pub fn due(host: &Configuration<'_>, config: &Config) {
    clock::tick();
    state::tick();
    let now = clock::now();
    buckets::tick(now.monotonic, now.wall);
    tunnels::tick();
    report::tick(host, config);
    usage::tick(host, config);
    if !config.metrics.show(host, &state::shown()) {
        IS_SHOWN_LATER.store(true, Ordering::Relaxed);
    }
}

/// Does within a request what Envoy 1.38 can do nowhere else.
pub fn within(config: &Config, stream: &Stream<'_>) {
    if IS_SHOWN_LATER.load(Ordering::Relaxed) && IS_SHOWN_LATER.swap(false, Ordering::Relaxed) {
        config.metrics.show_within(stream, &state::shown());
    }
}

/// An answer to something that was sent from this configuration arrived, or none will.
pub fn answered(
    host: &Configuration<'_>,
    config: &Config,
    call: u64,
    answer: Option<&CalloutAnswer>,
) {
    let call = (config.id, call);
    if !report::answered(call, answer.map_or(0, |a| a.status)) {
        usage::answered(host, config, call, answer);
    }
}
