//! From what a log says to what happened and what to do.

use super::line::LogLine;

/// What happened, and what to do.
pub struct Cause {
    /// The fact.
    pub what: String,
    /// The next step.
    pub next: String,
}

/// What a line says, as far as the line alone tells.
pub fn cause(line: &LogLine) -> Cause {
    let (what, next) = match line.refusal() {
        // Where keys were imported, anything may be one.
        Some(("unknown_api_key", _)) if line.claimed_key().is_none() => (
            "this Envoy's keyset does not have what was sent as a key; it may also be a key that was not copied whole",
            ours("unknown_api_key", "").1,
        ),
        Some((code, detail)) => ours(code, detail),
        None => envoys(line),
    };
    let key = line.known_key().map(|id| id.to_string());
    let next = next.replace("ID", key.as_deref().unwrap_or("ID"));
    let next = next.replace("CLIENT", plain(line.client.as_deref()).unwrap_or("CLIENT"));
    Cause {
        what: what.to_owned(),
        next: next.replace("PATH", plain(line.path.as_deref()).unwrap_or("PATH")),
    }
}

/// What may stand in a command: callers choose it, and somebody will paste it into a shell.
fn plain(text: Option<&str>) -> Option<&str> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._~-".contains(&b);
    text.filter(|text| text.bytes().all(is_plain) && !text.starts_with('-'))
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn ours(code: &str, detail: &str) -> (&'static str, &'static str) {
    match (code, detail) {
        ("missing_api_key", _) => (
            "no key was sent in any of the places where the policy looks for one",
            "compare the caller's request with `credentials` in `keystilectl policy show`",
        ),
        ("malformed_api_key", "checksum") => (
            "what was sent is as long as a key, but its checksum is wrong: it was mistyped",
            "have the caller copy the key again; `keystilectl explain --key - --path PATH`, with the text on stdin, says what is wrong with it",
        ),
        ("malformed_api_key", _) => (
            "what was sent does not have the form of a key: it was not copied whole, or belongs to something else",
            "have the caller copy the key again; `keystilectl explain --key - --path PATH`, with the text on stdin, says what is missing",
        ),
        ("multiple_api_keys", _) => (
            "the request carried several different keys",
            "have the caller send one: look for an old key in another header, in the query and in cookies",
        ),
        ("unknown_api_key", _) => (
            "the key is whole, but this Envoy's keyset does not have it: it is one of another store, was removed, or is newer than the last push",
            "`keystilectl explain --key - --path PATH`, with the key on stdin, says whether the store has it; if so, push, and see `keystilectl doctor --envoy-admin URL`",
        ),
        ("expired_api_key", "rotated") => (
            "the key was replaced by a newer one, and its grace period is over",
            "have the client use the newer key: `keystilectl key list --client CLIENT`",
        ),
        ("expired_api_key", _) => (
            "the key had expired",
            "`keystilectl key rotate ID` makes its successor; `keystilectl key update ID --expires 30d` and a push let it live on",
        ),
        ("inactive_api_key", _) => (
            "the key was not valid yet",
            "`keystilectl key show ID` says when it becomes valid; `keystilectl key update ID --no-not-before` and a push make it valid at once",
        ),
        ("disabled_api_key", _) => (
            "the key is disabled",
            "`keystilectl key show ID` says why; `keystilectl key enable ID` and a push let it in again",
        ),
        ("revoked_api_key", _) => (
            "the key is revoked, for good",
            "`keystilectl key show ID` says when and why; `keystilectl key issue CLIENT` makes another",
        ),
        ("insufficient_scope", _) => (
            "the key lacks a scope that the route requires",
            "`keystilectl key show ID` says which it holds; `keystilectl key update ID --scope …`, listing every scope that it should have, and a push change that",
        ),
        ("route_denied", _) => (
            "no route of the policy matches this method, host and path",
            "if one should, add it to the policy: `keystilectl policy show`, `policy check`, `policy apply`, and a push",
        ),
        ("address_denied", _) => (
            "the key may not be used from this address",
            "`keystilectl key show ID` says from which; if the address is a proxy's, set `xff_num_trusted_hops` in Envoy",
        ),
        ("certificate_denied", "absent") => (
            "the key is bound to a client certificate, and the connection had none",
            "have the caller connect with its certificate; `keystilectl key show ID` says which it may be",
        ),
        ("certificate_denied", "unproven") => (
            "Envoy does not say that the client certificate was validated, so it does not count",
            "give the listener a `validation_context` with the authority of these certificates",
        ),
        ("certificate_denied", _) => (
            "the key is bound to another client certificate",
            "`keystilectl key show ID` says to which; `keystilectl key update ID --certificate …` and a push change that",
        ),
        ("origin_denied", _) => (
            "the key may not be used from the web origin of this request, or the request named none",
            "`keystilectl key show ID` says from which; `keystilectl key update ID --origin …` and a push change that",
        ),
        ("environment_denied", _) => (
            "the key is one of an environment that the policy does not accept here",
            "have the client use a key of the right environment: `keystilectl key list --client CLIENT`",
        ),
        ("tls_required", _) => (
            "the request came over plain HTTP, and the policy requires TLS: whoever reads the network has the key",
            "have the client use `https`, and replace the key: `keystilectl key rotate ID`",
        ),
        ("ambiguous_host" | "ambiguous_path", _) => (
            "servers could understand the host or the path in several ways, to which different rules apply",
            "have the caller send it plainly, or make the rules agree: `keystilectl explain` says where they differ",
        ),
        ("rate_limited", _) => (
            "the bucket was empty: the client called faster than its limit allows",
            "`keystilectl usage --client CLIENT` shows since when; a larger plan, `keystilectl client update CLIENT --plan …`, and a push give it more",
        ),
        ("quota_exceeded", _) => (
            "the quota of the day or month is used up",
            "`keystilectl quota show ID` shows it; `keystilectl quota reset ID` and a push give it back",
        ),
        ("too_many_attempts", _) => (
            "many unknown keys came from this address before, so it has to wait; good keys are let in from there all the same",
            "if this is a caller with a wrong key, have them stop and copy it again; otherwise somebody is guessing, and needs no answer",
        ),
        ("keyset_unavailable", "past_not_after") => (
            "the keyset is older than the policy's `not_after` allows, so nothing is decided by it: nothing newer has arrived",
            "push (`keystilectl push --ecds-file FILE`) or, with a server, see `keystilectl fleet` for why this Envoy is cut off",
        ),
        ("keyset_unavailable", "overlay_without_base") => (
            "this worker has the changes to a keyset, but not the keyset",
            "with a server it comes by itself within seconds: see `keystilectl fleet`; from a file, push",
        ),
        ("keyset_unavailable", "corrupt_page") => (
            "a page of the keyset in this Envoy's memory is not the one that was signed",
            "push again, and have the machine's memory checked",
        ),
        ("keyset_unavailable", _) => (
            "no keyset is in force in this worker",
            "`keystilectl doctor --envoy-admin URL` says why; then push",
        ),
        ("internal_error", _) => (
            "the filter made a mistake, caught it, and refused the request",
            "look at Envoy's log for the line that says where, and report it",
        ),
        _ => (
            "a refusal that this version of `keystilectl` does not know",
            "use the version that the filter came with",
        ),
    }
}

/// What is not a refusal of the filter's.
fn envoys(line: &LogLine) -> (&'static str, &'static str) {
    let reason = line.reason.as_deref().unwrap_or_default();
    let has_flag = |flag: &str| {
        let flags = line.flags.as_deref().unwrap_or_default();
        flags.split(',').any(|f| f == flag)
    };
    if reason.starts_with("rbac_access_denied_matched_policy[keystile") {
        return (
            "the guard refused it: the filter was left out of this worker, or did not see the request",
            "look for `keystile` in Envoy's log, and run `keystilectl doctor --envoy-admin URL`",
        );
    }
    if has_flag("NFCF") {
        return (
            "Envoy has no configuration of the filter: no keyset has arrived, or none was accepted",
            "`keystilectl doctor --envoy-admin URL` says why: no push, or signing keys that are missing in Envoy's environment",
        );
    }
    if reason.starts_with("wasm") {
        return (
            "the filter has crashed in this request; Envoy makes it anew for the next",
            "look at Envoy's log for what it says of `wasm`, and report it",
        );
    }
    if reason == "via_upstream" {
        return (
            "Keystile let the request in, and the answer is the upstream's own",
            "look at the upstream's log, with the id of the request",
        );
    }
    if has_flag("NR") || reason == "route_not_found" {
        return (
            "Envoy has no route for this host and path",
            "look at `virtual_hosts` in Envoy's configuration",
        );
    }
    match line.status {
        Some(502..=504) => (
            "Envoy did not reach the upstream, or got no answer from it",
            "look at the upstream, and at its cluster in `/clusters` of Envoy's admin interface",
        ),
        _ => (
            "Envoy answered by itself, and not for Keystile",
            "look the flags and the reason up in Envoy's documentation of access logs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_core::decide::Denial;

    #[test]
    fn every_code_of_the_filter_has_a_cause_of_its_own() {
        let (unknown, _) = ours("nothing", "");
        for denial in Denial::CODES {
            let (what, next) = ours(denial.code(), "");
            assert_ne!(what, unknown, "{}", denial.code());
            assert!(!next.is_empty());
        }
    }

    #[test]
    fn the_next_step_names_the_key_and_the_client() {
        let line = LogLine {
            reason: Some("keystile:quota_exceeded".to_owned()),
            key: Some("0Ab3dEfGh1".to_owned()),
            client: Some("acme".to_owned()),
            ..LogLine::default()
        };
        assert!(cause(&line).next.contains("quota reset 0Ab3dEfGh1"));
        let line = LogLine {
            reason: Some("keystile:revoked_api_key".to_owned()),
            ..line
        };
        assert!(cause(&line).next.contains("key issue acme"));
    }

    #[test]
    fn nothing_that_a_shell_would_run_stands_in_the_next_step() {
        for text in [
            "/a`touch x`",
            "/a;reboot",
            "/$(id)",
            "/a b",
            "--help",
            "/a\nb",
            "'",
        ] {
            let line = LogLine {
                reason: Some("keystile:malformed_api_key:checksum".to_owned()),
                path: Some(text.to_owned()),
                ..LogLine::default()
            };
            let next = cause(&line).next;
            assert!(
                next.contains("--path PATH`") && !next.contains(text),
                "{next}"
            );
            let line = LogLine {
                reason: Some("keystile:environment_denied".to_owned()),
                client: Some(text.to_owned()),
                ..LogLine::default()
            };
            assert!(cause(&line).next.contains("--client CLIENT`"), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_called_whole_only_if_that_is_known() {
        let of = |key: Option<&str>| {
            let line = LogLine {
                reason: Some("keystile:unknown_api_key".to_owned()),
                key: key.map(str::to_owned),
                ..LogLine::default()
            };
            cause(&line).what
        };
        assert!(of(Some("unverified:0Ab3dEfGh1")).contains("is whole"));
        assert!(of(None).contains("not copied whole"));
    }
}
