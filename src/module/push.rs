//! What Envoy hands over at its start and with every push.

use std::sync::Arc;

use keystile_core::keyset::{Artefact, KeysetRefusal, Secrets, SigningKeys};
use keystile_core::policy::ClientCertificates;
use keystile_core::report::MAX_NODE;

use crate::abi::{Configuration, Level, log, tells_virtual_hosts};
use crate::config::Config;
use crate::metrics::FilterMetrics;
use crate::{clock, state, tick, tunnels};

/// Why a configuration is refused.
enum Refused {
    /// What every filter refuses.
    Refusal(KeysetRefusal),
    /// What this one cannot enforce.
    Unsupported(&'static str),
}

impl From<KeysetRefusal> for Refused {
    fn from(refusal: KeysetRefusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// Envoy has a configuration for a filter of this name. `None` refuses it: Envoy keeps the previous
/// one, or does not start.
///
/// The verdict depends on the bytes and the environment alone. What is too old is accepted and
/// judged afterwards, as in the WebAssembly filter.
pub fn new(host: &Configuration<'_>, name: &[u8], bytes: &[u8]) -> Option<Arc<Config>> {
    let started = clock::monotonic();
    clock::tick();
    let metrics = FilterMetrics::new(host);
    match load(bytes) {
        Ok(Loaded {
            artefact,
            keys,
            node,
        }) => {
            let name = String::from_utf8_lossy(name);
            let config = Config::new(host, &name, metrics, artefact.store());
            let loaded_us = clock::monotonic().saturating_sub(started) / 1000;
            state::remember(keys, node);
            state::take(host, &config, artefact, loaded_us);
            tunnels::pushed();
            tick::begin();
            // The control plane is told as soon as Envoy has it.
            config.wake();
            Some(config)
        }
        Err(refused) => {
            let (reason, why) = match refused {
                Refused::Refusal(refusal) => (refusal.reason(), refusal.to_string()),
                Refused::Unsupported(why) => ("unsupported", why.to_owned()),
            };
            metrics.push_refused(host, reason);
            let line = format!("keystile: configuration refused: {why}");
            log(Level::Warn, &line);
            None
        }
    }
}

/// Envoy has dropped a configuration, and all filters that were made from it are gone.
pub fn end(config: Arc<Config>) {
    config.give_up();
    state::end(&config);
    drop(config);
}

/// What a push brings.
struct Loaded {
    artefact: Artefact,
    /// What reports are signed with: this Envoy's own secret if it has one.
    keys: SigningKeys,
    /// Envoy's `node.id`.
    node: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "Envoy hands secrets over by environment; they are read once for each push"
)]
fn load(bytes: &[u8]) -> Result<Loaded, Refused> {
    let [shared, public, node_key] =
        Secrets::VARIABLES.map(|v| zeroize::Zeroizing::new(std::env::var(v).unwrap_or_default()));
    let Secrets {
        keys,
        node_key: own,
    } = Secrets::parse(&shared, &public, &node_key)?;
    let artefact = Artefact::load(&mut &*bytes, &keys, |_| {})?;
    let mut node = match &own {
        Some(own) => own.node().to_owned(),
        None => std::env::var("KEYSTILE_NODE").unwrap_or_default(),
    };
    node.truncate(node.floor_char_boundary(MAX_NODE));
    check(&artefact, &node)?;
    Ok(Loaded {
        artefact,
        keys: own.map_or(keys, |own| SigningKeys::new(vec![own.signing_key()])),
        node,
    })
}

/// Refuses what modules cannot enforce, rather than ignore it.
fn check(artefact: &Artefact, node: &str) -> Result<(), Refused> {
    let report = match artefact {
        Artefact::Keyset(keyset) => &keyset.policy.report,
        Artefact::Overlay(overlay) => &overlay.report,
    };
    if report.is_some() && node.is_empty() {
        return Err(Refused::Unsupported(
            "the policy asks for reports (`report`), and Envoy does not tell modules who it is. Set the environment variable `KEYSTILE_NODE` to Envoy's `node.id`, or enroll it with `keystilectl node enroll`",
        ));
    }
    let certificates = match artefact {
        Artefact::Keyset(keyset) => {
            if keyset.policy.router.names_virtual_hosts() && !tells_virtual_hosts() {
                return Err(Refused::Unsupported(
                    "the policy names `virtual_hosts`, and only Envoy 1.40 and later tell modules which one was chosen. Update Envoy, name `hosts` instead, or use keystile.wasm",
                ));
            }
            let asked = keyset.policy.client_certificates;
            keyset.certificates && asked == ClientCertificates::Validated
        }
        Artefact::Overlay(_) => false,
    };
    // Those keys alone are refused. To refuse all keys would hold back revocations as well.
    if certificates {
        log(
            Level::Warn,
            "keystile: some keys are bound to client certificates, and Envoy does not tell modules whether it has checked one: these keys are refused. If every listener rejects invalid certificates, write `client_certificates: presented` into the policy; otherwise use keystile.wasm",
        );
    }
    Ok(())
}
