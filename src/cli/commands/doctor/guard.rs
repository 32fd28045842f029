//! Whether what stands behind our filter refuses every request that the filter did not let in.

use serde_json::Value;

use super::dump::below;

/// The state that every filter of ours sets for what it lets in.
const PASS: &str = "wasm.keystile.pass";
/// The same in configurations of earlier versions. Followed by a name, what only the filter sets that
/// is called so.
const CLIENT: &str = "wasm.keystile.client";

/// Whether the filter `next` is the guard of ours, which is called `name`. Behind a `later` one of
/// several in a chain it has to ask for the state of that filter alone, because the first sets the others.
pub(super) fn is_guard(next: &Value, name: &str, later: bool) -> bool {
    let config = below(next, "/typed_config");
    let kind = below(config, "/@type").as_str().unwrap_or_default();
    if !kind.ends_with(".rbac.v3.RBAC") {
        return false;
    }
    let own = format!("{CLIENT}.{name}");
    let is_ours = |principal: &Value| {
        let key = below(principal, "/filter_state/key");
        *key == own.as_str() || !later && (*key == PASS || *key == CLIENT)
    };
    let policies = || {
        let all = below(config, "/rules/policies").as_object();
        all.into_iter().flat_map(|all| all.values())
    };
    let each = |policy: &Value, list: &str| -> Vec<Value> {
        let all = policy.get(list).and_then(Value::as_array);
        all.cloned().unwrap_or_default()
    };
    match below(config, "/rules/action").as_str() {
        // Refuses what lacks the state.
        Some("DENY") => policies().any(|policy| {
            let permissions = each(policy, "permissions");
            let principals = each(policy, "principals");
            permissions.iter().any(|p| *below(p, "/any") == true)
                && principals.iter().any(|p| is_ours(below(p, "/not_id")))
        }),
        // Lets in only what has it, as configurations of earlier versions do. Envoy leaves the first
        // value of an enumeration out.
        None | Some("ALLOW") => {
            let allowed: Vec<Value> = policies().flat_map(|p| each(p, "principals")).collect();
            !allowed.is_empty() && allowed.iter().all(is_ours)
        }
        Some(_) => false,
    }
}
