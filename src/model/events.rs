//! The events: the actions that the audit log can hold. A webhook names those that it wants.

use crate::nearest::nearest;

/// Every action, sorted: what operations do, or were refused to do, and what the server does by
/// itself.
pub const EVENTS: &[&str] = &[
    "anomaly.new-network",
    "anomaly.revoked-key-tried",
    "anomaly.rotated-key-used",
    "anomaly.scope-denials",
    "anomaly.spike",
    "audit.checkpoint",
    "audit.export",
    "audit.list",
    "audit.prune",
    "audit.verify",
    "backup.end",
    "backup.make",
    "backup.read",
    "client.create",
    "client.delete",
    "client.list",
    "client.show",
    "client.update",
    "console.form",
    "console.sign_in",
    "explain",
    "fleet.forget",
    "fleet.list",
    "fleet.wait",
    "guide.show",
    "import.take",
    "key.disable",
    "key.due",
    "key.enable",
    "key.expiring",
    "key.exposed",
    "key.fetch",
    "key.hand-over",
    "key.import",
    "key.issue",
    "key.leak",
    "key.list",
    "key.lost",
    "key.revoke",
    "key.revoke_all",
    "key.rotate",
    "key.show",
    "key.update",
    "keyset.build",
    "keyset.diff",
    "keyset.inspect",
    "keyset.renew",
    "keyset.rise",
    "keyset.show",
    "keyset.versions",
    "master-key.rotate",
    "node.enroll",
    "node.list",
    "node.revoke",
    "overview.show",
    "plan.list",
    "policy.apply",
    "policy.check",
    "policy.compare",
    "policy.history",
    "policy.rollback",
    "policy.show",
    "quota.reset",
    "quota.show",
    "report.send",
    "server.refused",
    "session.end",
    "session.list",
    "signing-key.create",
    "signing-key.demote",
    "signing-key.list",
    "signing-key.retire",
    "signing-key.rotate",
    "store.backup",
    "store.copy",
    "store.create",
    "store.restore",
    "token.accept",
    "token.create",
    "token.list",
    "token.revoke",
    "token.show",
    "usage.anomalies",
    "usage.configure",
    "usage.forget",
    "usage.quota",
    "usage.send",
    "usage.settings",
    "usage.show",
    "webhook.create",
    "webhook.delete",
    "webhook.deliveries",
    "webhook.give-up",
    "webhook.list",
    "webhook.pause",
    "webhook.resend",
    "webhook.resume",
    "webhook.show",
    "webhook.test",
];

/// Whether there is an event of that name.
pub fn is_event(action: &str) -> bool {
    EVENTS.binary_search(&action).is_ok()
}

/// Whether a pattern (`key.revoke`, `key.*`, `*`) means an event.
pub fn means(pattern: &str, action: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(head) => action.starts_with(head),
        None => action == pattern,
    }
}

/// Whether a pattern means any event at all.
pub fn is_pattern(pattern: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(noun) => EVENTS
            .iter()
            .any(|e| e.split_once('.').is_some_and(|(n, _)| n == noun)),
        None => pattern == "*" || is_event(pattern),
    }
}

/// The pattern that a mistyped one was probably meant to be.
pub fn nearest_pattern(pattern: &str) -> Option<String> {
    match pattern.strip_suffix(".*") {
        Some(noun) => {
            let nouns = EVENTS.iter().filter_map(|e| e.split_once('.'));
            nearest(noun, nouns.map(|(noun, _)| noun)).map(|noun| format!("{noun}.*"))
        }
        None => nearest(pattern, EVENTS.iter().copied()).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_sorted_and_each_is_there_once() {
        assert!(EVENTS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_pattern_means_something_or_is_none() {
        for good in [
            "*",
            "key.*",
            "key.hand-over",
            "signing-key.rotate",
            "explain",
        ] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in [
            "",
            "key",
            "key.",
            ".*",
            "Key.issue",
            "key.*.x",
            "**",
            "keys.*",
            "key.revoked",
            "ke*",
        ] {
            assert!(!is_pattern(bad), "{bad}");
        }
        assert_eq!(
            nearest_pattern("key.revoked").as_deref(),
            Some("key.revoke")
        );
        assert_eq!(nearest_pattern("keys.*").as_deref(), Some("key.*"));
        assert_eq!(nearest_pattern("something.else"), None);
    }
}
