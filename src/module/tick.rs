//! What happens once a second on Envoy's main thread.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::abi::{Configuration, Stream};
use crate::answers::CalloutAnswer;
use crate::config::Config;
use crate::{buckets, clock, push, report, state, tunnels, usage};

/// The next request has to set the gauges: this Envoy cannot set them outside of one.
static IS_SHOWN_LATER: AtomicBool = AtomicBool::new(false);

/// A second has passed.
pub fn due(host: &Configuration<'_>, config: &Config) {
    clock::tick();
    push::look_again(host, config);
    if config.is_waiting() {
        return;
    }
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
