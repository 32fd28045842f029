//! The chains of HTTP filters in Envoy's configuration: where our filter and its guard stand, and
//! how hosts and paths are read before.

use serde_json::Value;

use super::dump::{below, part};
use super::guard::is_guard;

/// A connection manager with its filters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The name of its listener.
    pub listener: String,
    /// Our filters in it; several are one behind the other.
    pub filters: Vec<ChainFilter>,
    /// Dots in paths are resolved before the filter.
    pub normalizes: bool,
    /// The connection's address counts, and not what callers say.
    pub remote_address: bool,
    /// Whether ports in hosts are ignored; unknown if the routes come from elsewhere.
    pub ignores_ports: Option<bool>,
    /// Filters of ours, and guards, that a route has settings of its own for.
    pub overridden: Vec<String>,
}

/// Our filter in a chain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ChainFilter {
    /// Its name.
    pub name: String,
    /// It is the native module, which cannot be left out.
    pub native: bool,
    /// The next filter asks for our mark.
    pub guarded: bool,
    /// Names of the environment variables that its VM may read; unknown without a VM, and before
    /// its first configuration.
    pub environment: Option<Vec<String>>,
}

/// All of them, of all listeners.
pub(super) fn chains(dump: &Value) -> Vec<Chain> {
    let mut out = Vec::new();
    let Some(all) = part(dump, ".ListenersConfigDump") else {
        return out;
    };
    let listed = |list: &str| {
        all.get(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let fixed = listed("static_listeners").map(|l| below(l, "/listener"));
    let moving = listed("dynamic_listeners").map(|l| below(l, "/active_state/listener"));
    for listener in fixed.chain(moving) {
        let name = below(listener, "/name").as_str().unwrap_or("unnamed");
        managers(listener, &mut |manager| {
            out.push(chain(name, manager, dump));
        });
    }
    out
}

/// Calls `each` with every connection manager below a value.
fn managers<'d>(value: &'d Value, each: &mut impl FnMut(&'d Value)) {
    match value {
        Value::Object(map) => {
            let kind = map.get("@type").and_then(Value::as_str);
            if kind.is_some_and(|k| k.ends_with(".HttpConnectionManager")) {
                each(value);
                return;
            }
            map.values().for_each(|v| managers(v, each));
        }
        Value::Array(all) => all.iter().for_each(|v| managers(v, each)),
        _ => {}
    }
}

fn chain(listener: &str, manager: &Value, dump: &Value) -> Chain {
    let all = below(manager, "/http_filters")
        .as_array()
        .into_iter()
        .flatten();
    let filters: Vec<&Value> = all.filter(|f| *below(f, "/disabled") != true).collect();
    let (mut ours, mut named) = (Vec::new(), Vec::new());
    for (at, one) in filters.iter().enumerate() {
        if !is_ours(one, dump) {
            continue;
        }
        let next = filters.get(at + 1).copied();
        let found = filter(one, next, !ours.is_empty(), dump);
        named.push(found.name.clone());
        if found.guarded {
            let guard = next.and_then(|n| below(n, "/name").as_str());
            named.extend(guard.map(str::to_owned));
        }
        ours.push(found);
    }
    let mut overridden = Vec::new();
    if let Some(routes) = routes(manager, dump) {
        overrides(routes, &named, &mut overridden);
    }
    Chain {
        listener: listener.to_owned(),
        filters: ours,
        overridden,
        normalizes: *below(manager, "/normalize_path") == true,
        remote_address: *below(manager, "/use_remote_address") == true,
        ignores_ports: routes(manager, dump)
            .map(|r| *below(r, "/ignore_port_in_host_matching") == true),
    }
}

/// The route configuration of a manager, if Envoy has it.
fn routes<'d>(manager: &'d Value, dump: &'d Value) -> Option<&'d Value> {
    if let Some(own) = manager.get("route_config") {
        return Some(own);
    }
    let name = below(manager, "/rds/route_config_name").as_str()?;
    let all = below(part(dump, ".RoutesConfigDump")?, "/dynamic_route_configs").as_array()?;
    let mut configs = all.iter().map(|r| below(r, "/route_config"));
    configs.find(|r| *below(r, "/name") == name)
}

/// Which of these filters some virtual host or route has settings for.
fn overrides(value: &Value, named: &[String], found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Object(own)) = map.get("typed_per_filter_config") {
                let new = named.iter().filter(|name| own.contains_key(*name));
                for name in new {
                    if !found.contains(name) {
                        found.push(name.clone());
                    }
                }
            }
            map.values().for_each(|v| overrides(v, named, found));
        }
        Value::Array(all) => all.iter().for_each(|v| overrides(v, named, found)),
        _ => {}
    }
}

/// The filter's configuration, wherever it comes from.
fn configuration<'d>(filter: &'d Value, dump: &'d Value) -> Option<&'d Value> {
    if let Some(own) = filter.get("typed_config") {
        return Some(own);
    }
    let all = below(part(dump, ".EcdsConfigDump")?, "/ecds_filters").as_array()?;
    let mut filters = all.iter().map(|f| below(f, "/ecds_filter"));
    let found = filters.find(|f| below(f, "/name") == below(filter, "/name"))?;
    found.get("typed_config")
}

/// Whether it is one of those that decide; the name alone says it where nothing has arrived yet.
fn is_ours(filter: &Value, dump: &Value) -> bool {
    let config = configuration(filter, dump);
    match config {
        Some(c) => {
            // A module's name may carry its version, and the filter's is the layer's.
            let module = below(c, "/dynamic_module_config/name").as_str();
            *below(c, "/config/root_id") == "keystile"
                || module.is_some_and(|m| m.starts_with("keystile"))
        }
        None => {
            let name = below(filter, "/name").as_str().unwrap_or_default();
            filter.get("config_discovery").is_some() && name.starts_with("keystile")
        }
    }
}

fn filter(ours: &Value, next: Option<&Value>, later: bool, dump: &Value) -> ChainFilter {
    let name = below(ours, "/name").as_str().unwrap_or_default();
    let config = configuration(ours, dump);
    let names = below(ours, "/config_discovery/type_urls");
    let kind = config.map_or_else(|| names.to_string(), |c| below(c, "/@type").to_string());
    let native = kind.contains(".DynamicModuleFilter");
    let guarded = next.is_some_and(|next| is_guard(next, name, later));
    let variables = config.map(|c| below(c, "/config/vm_config/environment_variables"));
    let environment = variables.filter(|_| !native).map(|v| {
        let host = below(v, "/host_env_keys").as_array().into_iter().flatten();
        let host = host.filter_map(Value::as_str).map(str::to_owned);
        let own = below(v, "/key_values").as_object().into_iter().flatten();
        host.chain(own.map(|(name, _)| name.clone())).collect()
    });
    ChainFilter {
        name: name.to_owned(),
        native,
        guarded,
        environment,
    }
}
