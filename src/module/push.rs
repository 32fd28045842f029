//! What Envoy hands over at its start and with every push.

use std::sync::Arc;

use keystile_core::keyset::{Artefact, Secrets, SigningKeys};
use keystile_core::policy::ClientCertificates;
use keystile_core::report::MAX_NODE;

use crate::abi::{Configuration, Level, log, tells_virtual_hosts};
use crate::config::Config;
use crate::metrics::FilterMetrics;
use crate::secrets::{SecretSource, Unusable, variable};
use crate::{clock, state, timer, tunnels};

/// Envoy has a configuration for a filter of this name. `None` refuses it: Envoy keeps the previous
/// one, or does not start.
///
/// The verdict depends on the bytes and the secrets alone. What is too old is accepted and judged
/// afterwards, as in the WebAssembly filter. If Envoy is still fetching the secrets, the verdict waits
/// for them, and every request is refused until then.
pub fn new(host: &Configuration<'_>, name: &[u8], bytes: &[u8]) -> Option<Arc<Config>> {
    let started = clock::monotonic();
    clock::tick();
    let metrics = FilterMetrics::new(host);
    let verdict = SecretSource::new(host).and_then(|secrets| {
        let loaded = secrets.read(host).map(|read| load(bytes, read?));
        Ok((secrets, loaded.transpose()?))
    });
    let (secrets, loaded) = match verdict {
        Ok(accepted) => accepted,
        Err(unusable) => {
            refused(host, &metrics, &unusable);
            return None;
        }
    };
    let name = String::from_utf8_lossy(name);
    let config = Config::new(host, &name, metrics, secrets);
    state::know(&config);
    match loaded {
        Some(loaded) => put_in_force(host, &config, loaded, started),
        None => {
            config.wait(bytes.to_vec());
            log(
                Level::Info,
                "keystile: Envoy is fetching the secret that `KEYSTILE_SECRET` names; every request is refused until it arrives",
            );
        }
    }
    timer::begin();
    // The control plane is told as soon as Envoy has it.
    config.wake();
    Some(config)
}

/// Looks whether the secrets of a configuration have arrived or changed: verifies what waits for
/// them, and signs reports with them from now on.
pub fn look_again(host: &Configuration<'_>, config: &Config) {
    if !config.secrets.can_change() {
        return;
    }
    let started = clock::monotonic();
    let Some(read) = config.secrets.read(host) else {
        return;
    };
    // Taken out, and not looked at: whoever looks for what waits holds the state's lock meanwhile.
    let Some(bytes) = config.take_unverified() else {
        match read {
            Ok(secrets) => {
                let (keys, node) = signing(secrets);
                state::remember(keys, node);
            }
            Err(unusable) => refused(host, &config.metrics, &unusable),
        }
        return;
    };
    match read.and_then(|secrets| load(&bytes, secrets)) {
        Ok(loaded) => {
            put_in_force(host, config, loaded, started);
            config.wake();
        }
        Err(unusable) => {
            config.wait(bytes);
            refused(host, &config.metrics, &unusable);
        }
    }
}

fn refused(host: &Configuration<'_>, metrics: &FilterMetrics, unusable: &Unusable) {
    let (reason, why) = match unusable {
        Unusable::Refusal(refusal) => (refusal.reason(), refusal.to_string()),
        Unusable::Unsupported(why) => ("unsupported", (*why).to_owned()),
    };
    metrics.push_refused(host, reason);
    let line = format!("keystile: configuration refused: {why}");
    log(Level::Warn, &line);
}

fn put_in_force(host: &Configuration<'_>, config: &Config, loaded: Loaded, started: u64) {
    let Loaded {
        artefact,
        keys,
        node,
    } = loaded;
    config.came_from(artefact.store());
    let loaded_us = clock::monotonic().saturating_sub(started) / 1000;
    state::remember(keys, node);
    state::take(host, config, artefact, loaded_us);
    tunnels::pushed();
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

fn load(bytes: &[u8], secrets: Secrets) -> Result<Loaded, Unusable> {
    let artefact = Artefact::load(&mut &*bytes, &secrets.keys, |_| {})?;
    let (keys, node) = signing(secrets);
    check(&artefact, &node)?;
    Ok(Loaded {
        artefact,
        keys,
        node,
    })
}

/// What reports are signed with, and whose they are.
fn signing(secrets: Secrets) -> (SigningKeys, String) {
    let Secrets {
        keys,
        node_key: own,
    } = secrets;
    let mut node = match &own {
        Some(own) => own.node().to_owned(),
        None => variable("KEYSTILE_NODE").to_string(),
    };
    node.truncate(node.floor_char_boundary(MAX_NODE));
    let keys = own.map_or(keys, |own| SigningKeys::new(vec![own.signing_key()]));
    (keys, node)
}

/// Refuses what modules cannot enforce, rather than ignore it.
fn check(artefact: &Artefact, node: &str) -> Result<(), Unusable> {
    let report = match artefact {
        Artefact::Keyset(keyset) => &keyset.policy.report,
        Artefact::Overlay(overlay) => &overlay.report,
    };
    if report.is_some() && node.is_empty() {
        return Err(Unusable::Unsupported(
            "the policy asks for reports (`report`), and Envoy does not tell modules who it is. Set the environment variable `KEYSTILE_NODE` to Envoy's `node.id`, or enroll it with `keystilectl node enroll`",
        ));
    }
    let certificates = match artefact {
        Artefact::Keyset(keyset) => {
            if keyset.policy.router.names_virtual_hosts() && !tells_virtual_hosts() {
                return Err(Unusable::Unsupported(
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
