//! One Envoy, compared with what the control plane says.

use keystile_core::policy::HostPorts;

use super::admin::EnvoyAdmin;
use super::chain::{Chain, ChainFilter};
use super::plane::Plane;
use super::symptom::Symptoms;

/// The oldest Envoy that runs the WebAssembly filter, and the native module.
const OLDEST: (u32, u32) = (1, 36);
const OLDEST_NATIVE: (u32, u32) = (1, 38);
/// Seconds by which clocks may differ: reports of an Envoy beyond this prove nothing.
const SKEW: u64 = 60;
/// Days before a certificate expires in which that is said.
const DAYS: u64 = 14;

pub(super) fn look(envoy: &EnvoyAdmin, plane: &Plane, now: u64, found: &mut Symptoms) {
    let ours: Vec<(&Chain, &ChainFilter)> = envoy
        .chains
        .iter()
        .flat_map(|c| c.filters.iter().map(move |f| (c, f)))
        .collect();
    if ours.is_empty() {
        found.wrong(
            "no listener has the filter, so no key is checked here: take the configuration from `keystilectl render`",
        );
        return;
    }
    let all = envoy.chains.iter();
    for open in all.filter(|c| c.filters.is_empty()) {
        found.note(format!(
            "listener `{}` has no filter of Keystile's: whatever it leads to is open to everybody",
            open.listener
        ));
    }
    version(envoy, &ours, found);
    for (chain, filter) in &ours {
        guarded(chain, filter, found);
    }
    for chain in envoy.chains.iter().filter(|c| !c.filters.is_empty()) {
        place(chain, plane, found);
    }
    // Each of them is named.
    let mut lacks = false;
    for (_, filter) in &ours {
        lacks |= lacks_variable(filter, plane, found);
    }
    in_force(envoy, plane, lacks, found);
    reports(envoy, plane, found);
    around(envoy, now, found);
}

fn version(envoy: &EnvoyAdmin, ours: &[(&Chain, &ChainFilter)], found: &mut Symptoms) {
    let mut numbers = envoy
        .version
        .split('.')
        .map_while(|n| n.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        return;
    };
    let native = ours.iter().any(|(_, filter)| filter.native);
    let oldest = if native { OLDEST_NATIVE } else { OLDEST };
    if (major, minor) < oldest {
        found.wrong(format!(
            "Envoy {} is older than {}.{}, the oldest that is supported: update it",
            envoy.version, oldest.0, oldest.1
        ));
    }
}

fn guarded(chain: &Chain, filter: &ChainFilter, found: &mut Symptoms) {
    if !filter.native && !filter.guarded {
        found.wrong(format!(
            "the filter `{}` of listener `{}` has no guard behind it: if the filter fails on a worker, every request there passes. Put `keystile-guard` right behind it, as `keystilectl render` does",
            filter.name, chain.listener
        ));
    }
}

fn place(chain: &Chain, plane: &Plane, found: &mut Symptoms) {
    let listener = &chain.listener;
    if chain.ignores_ports.is_none() {
        found.note(format!(
            "the routes of listener `{listener}` are not in Envoy's dump, so neither its ports nor the settings of its routes were checked"
        ));
    }
    for name in &chain.overridden {
        found.wrong(format!(
            "a route of listener `{listener}` has settings of its own for `{name}` (`typed_per_filter_config`), which can switch it off there: take them out, and open routes in the policy"
        ));
    }
    if !chain.normalizes {
        found.wrong(format!(
            "listener `{listener}` has no `normalize_path: true`, so the upstream may get another path than the one that is judged: add it, and `merge_slashes: true`"
        ));
    }
    let counts = plane.policy.host_ports == HostPorts::Unknown;
    match chain.ignores_ports {
        Some(false) if !counts => found.wrong(format!(
            "the policy has `host_ports: ignore`, and the routes of listener `{listener}` do tell ports apart: set `ignore_port_in_host_matching: true` there, or leave `host_ports` out"
        )),
        Some(true) if counts => found.note(format!(
            "the routes of listener `{listener}` ignore ports, and the policy does not say so: `host_ports: ignore` refuses fewer requests"
        )),
        _ => {}
    }
    if !chain.remote_address {
        found.note(format!(
            "listener `{listener}` has no `use_remote_address: true`, so callers can write the address that networks of keys and `brute_force` go by: set it, with `xff_num_trusted_hops` behind a proxy"
        ));
    }
}

/// Whether a VM cannot see the key that it needs.
fn lacks_variable(filter: &ChainFilter, plane: &Plane, found: &mut Symptoms) -> bool {
    let Some(names) = &filter.environment else {
        return false;
    };
    let name = plane.variable_name();
    let lacks = !names.iter().any(|n| n == name);
    if lacks {
        found.wrong(format!(
            "the VM of the filter `{}` may not read {name}, so no keyset is taken: add it to `host_env_keys`, as a push of this version does",
            filter.name
        ));
    }
    lacks
}

fn in_force(envoy: &EnvoyAdmin, plane: &Plane, explained: bool, found: &mut Symptoms) {
    let mut versions: Vec<u64> = envoy.values("keystile_keyset_version").collect();
    versions.sort_unstable();
    versions.dedup();
    let rejected = envoy.sum("update_rejected");
    let cause = match (rejected, explained) {
        (0, _) | (_, true) => String::new(),
        _ => format!("; {}", plane.likely()),
    };
    match *versions.as_slice() {
        [] | [0] if rejected == 0 => found.wrong(
            "no keyset is in force, so every request is refused, and no push was rejected: run `keystilectl push`, or see `keystilectl fleet`",
        ),
        [] | [0] => found.wrong(format!(
            "no keyset is in force, so every request is refused: {rejected} pushes were rejected, and Envoy's log says why{cause}"
        )),
        [version] if version < plane.version && rejected > 0 => found.wrong(format!(
            "version {version} is in force, and {} is the newest: {rejected} pushes were rejected, and Envoy's log says why{cause}",
            plane.version
        )),
        [version] if version < plane.version => found.wrong(format!(
            "version {version} is in force, and {} is the newest: run `keystilectl push`, or see `keystilectl fleet`",
            plane.version
        )),
        [version] if version > plane.version => found.wrong(format!(
            "version {version} is in force, which is newer than this store's {}: it comes from another store, or from before a restore",
            plane.version
        )),
        [_] => {}
        _ => found.wrong(format!(
            "workers, or filters of different stores, have different versions in force ({versions:?}): wait a second and look again; if workers of one filter stay so, look at Envoy's log"
        )),
    }
    if envoy.sum("keystile_overlay_without_base") > 0 {
        found.wrong(
            "an overlay is here without its base: the server sends it again, so see `keystilectl fleet`; from a file, push the whole keyset",
        );
    }
    if envoy.sum("keystile_corrupt_pages_total") > 0 {
        found.wrong(
            "pages of the keyset are not those that were signed, and their keys are refused: push it again, and have the machine's memory checked",
        );
    }
}

fn reports(envoy: &EnvoyAdmin, plane: &Plane, found: &mut Symptoms) {
    let Some(report) = &plane.policy.report else {
        return;
    };
    if !envoy.clusters.contains(&report.cluster) {
        found.wrong(format!(
            "the policy reports to the cluster `{}`, which this Envoy does not have, so nothing is proved or counted: add it (`keystilectl render envoy --control`), or leave `report` out",
            report.cluster
        ));
        return;
    }
    let enrolled = plane.enrolled.contains(&envoy.node);
    if plane.policy.require_enrolment && !enrolled {
        found.wrong(format!(
            "node `{}` is not enrolled, so its reports are refused: run `keystilectl node enroll {}`",
            envoy.node, envoy.node
        ));
    }
    let unsent = envoy.sum("keystile_reports_unsent_total");
    let waiting = envoy.sum("keystile_usage_waiting_batches");
    if unsent > 0 || waiting > 1 {
        found.note(format!(
            "{unsent} reports were not taken, and {waiting} batches of usage wait: if that goes on, see whether `{}` answers, and, if the node is enrolled, whether KEYSTILE_NODE_KEY is set",
            report.cluster
        ));
    }
}

fn around(envoy: &EnvoyAdmin, now: u64, found: &mut Symptoms) {
    if let Some(clock) = envoy.clock {
        let off = clock.abs_diff(now);
        if off > SKEW {
            let word = if clock < now { "behind" } else { "ahead of" };
            found.wrong(format!(
                "the clock of Envoy's machine is {off} s {word} this one's, so expiry, quotas and reports are off: correct it"
            ));
        }
    }
    if let Some(why) = &envoy.unread {
        found.note(format!("certificates were not checked: {why}"));
    }
    if let Some(days) = envoy.certificate_days.filter(|d| *d < DAYS) {
        found.wrong(format!(
            "a certificate of this Envoy expires within {days} days: renew it"
        ));
    }
}
