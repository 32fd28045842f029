//! The Envoy filter: a thin shell around [`keystile_core::decide`]. It holds every hostcall of the
//! project, all of them in `host`, and everything that must outlive a configuration push (`vm`:
//! what is in force, metric ids); the context of one push only knows which store its configuration
//! came from.
//!
//! It never decides anything itself, never calls an SDK function that may panic, and never answers
//! a request without the core's verdict: if something fails, the request is refused.

#![cfg(target_family = "wasm")]

mod buckets;
mod clock;
mod entry;
mod floors;
mod given;
mod host;
mod marks;
mod metrics;
mod names;
mod peer;
mod quotas;
mod report;
mod request;
mod slots;
mod standing;
mod swap;
mod tunnels;
mod usage;
mod vm;

use std::time::Duration;

use proxy_wasm::traits::{Context, RootContext};

use host::Level;
use keystile_core::keyset::{Artefact, KeysetRefusal, Secrets};
use names::{STATE_CLIENT, STATE_KEY, STATE_PASS, STATE_REASON};

/// Soon after the start, so that the gauges exist early; then once a second.
const FIRST_TICK: Duration = Duration::from_millis(100);
/// After a push, because the control plane waits for the report.
const REPORT_TICK: Duration = Duration::from_millis(5);
const TICK: Duration = Duration::from_secs(1);

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|id| Box::new(Root::new(id)));
}}

struct Root {
    id: u32,
    ticked: bool,
}

impl Context for Root {
    fn on_done(&mut self) -> bool {
        // The host leaves the timers of old roots running.
        host::set_tick_period(Duration::ZERO);
        true
    }

    fn on_http_call_response(&mut self, token: u32, _: usize, body_size: usize, _: usize) {
        if !report::answered(token, body_size) {
            usage::answered(token, body_size);
        }
    }
}

impl RootContext for Root {
    /// The verdict depends only on the bytes and the environment. A `false` here that Envoy's
    /// canary did not see would silently leave the filter out of a worker, so that everything
    /// passes: for whatever may differ between VMs (older version, past not-after) the result is
    /// `true`, and it is judged afterwards.
    fn on_configure(&mut self, size: usize) -> bool {
        for name in [STATE_CLIENT, STATE_KEY, STATE_PASS] {
            host::declare_property(name, true);
        }
        host::declare_property(STATE_REASON, false);
        marks::named(self.id);
        host::set_tick_period(FIRST_TICK);
        self.ticked = false;
        clock::tick();
        let started = host::monotonic_ns();
        match load(size) {
            Ok(artefact) => {
                let loaded_us = host::monotonic_ns().saturating_sub(started) / 1000;
                let store = artefact.store();
                entry::configured(self.id, store);
                marks::declare(store);
                vm::take(self.id, artefact, loaded_us);
                slots::taken();
                usage::configured(store);
                if report::is_wanted(store) {
                    host::set_tick_period(REPORT_TICK);
                }
                tunnels::pushed(self.id);
                true
            }
            Err(refusal) => {
                metrics::push_refused(refusal.reason());
                host::log(
                    Level::Warn,
                    &format!("keystile: configuration rejected: {refusal}"),
                );
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if !self.ticked {
            self.ticked = true;
            host::set_tick_period(TICK);
        }
        clock::tick();
        metrics::tell();
        vm::tick();
        let living = slots::tick();
        report::tick(living);
        usage::tick();
        buckets::tick();
        tunnels::tick(self.id);
    }
}

impl Root {
    fn new(id: u32) -> Self {
        Self { id, ticked: false }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        vm::end(self.id);
        marks::end(self.id);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "Envoy hands secrets over by environment alone; they are read once for each push"
)]
#[inline(never)]
fn load(size: usize) -> Result<Artefact, KeysetRefusal> {
    let [shared, public, node_key] =
        Secrets::VARIABLES.map(|v| zeroize::Zeroizing::new(std::env::var(v).unwrap_or_default()));
    let Secrets { keys, node_key } = Secrets::parse(&shared, &public, &node_key)?;
    let mut source = host::PluginConfiguration { size };
    let artefact = Artefact::load(&mut source, &keys, |signed| {
        if let Ok(store) = signed.store().parse() {
            vm::make_room(store, signed);
        }
    })?;
    vm::remember_keys(keys, node_key);
    Ok(artefact)
}
