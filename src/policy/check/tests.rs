use super::look::{Kind, MOST};
use super::*;
use crate::file as policy_file;
use keystile_core::policy::{Auth, HostPorts, Policy, RawPolicy, RawRoute};

fn found(text: &str) -> Findings {
    check(&policy_file::parse("policy.yaml", format!("version: 1\n{text}")).unwrap())
}

fn only(text: &str) -> String {
    let Findings { mut warnings, .. } = found(text);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    warnings.remove(0)
}

#[test]
fn the_policy_of_init_and_rules_meant_for_one_path_raise_no_alarm() {
    let quiet = check(&policy_file::parse("default", policy_file::DEFAULT.to_owned()).unwrap());
    assert_eq!(quiet, Findings::default());
    for text in [
        "routes:\n- {path: /healthz, auth: none}\n- {path: \"/{*rest}\", scopes: [r]}\n",
        "routes:\n- {path: /u, methods: [GET], scopes: [r]}\n- {path: /u, methods: [POST], auth: none}\n",
        "routes:\n- {path: /u, methods: [GET], auth: none}\n- {path: \"/{*rest}\", scopes: [r]}\n",
        "routes:\n- {path: /u, hosts: [a.e.com], scopes: [r]}\n",
    ] {
        assert_eq!(found(text), Findings::default(), "{text}");
    }
}

/// What `keystilectl render` prints has `ignore_port_in_host_matching`, so that the two belong together.
#[test]
fn the_policy_of_init_says_that_envoy_ignores_ports() {
    let default = policy_file::parse("default", policy_file::DEFAULT.to_owned()).unwrap();
    assert_eq!(default.raw.host_ports, HostPorts::Ignore);
    assert!(!default.policy.ports_count());
}

#[test]
fn exposed_keys_that_nobody_would_hear_of_are_warned_about() {
    let report = "report: {cluster: control}\n";
    let tls = "require_tls: true\n";
    let end = "exposed_keys: disable\n";
    assert!(only(&[end, report].concat()).contains("`require_tls: true`"));
    let warning = only(&[end, tls].concat());
    assert!(
        warning.contains("policy.yaml:2: `exposed_keys`"),
        "{warning}"
    );
    assert!(warning.contains("add `report`"), "{warning}");
    let silent = "report: {cluster: control, usage: false}\n";
    assert!(only(&[end, tls, silent].concat()).contains("add `report`"));
    assert!(only(&[end, tls, report].concat()).contains("write `require_enrolment: true`"));
    let enrolled = "require_enrolment: true\n";
    for quiet in [[end, tls, report, enrolled].concat(), tls.to_owned()] {
        assert_eq!(found(&quiet), Findings::default());
    }
}

#[test]
fn methods_that_fall_through_to_an_open_rule_are_listed_with_both_lines() {
    let text = "routes:\n- {path: \"/v1/users/{id}\", methods: [GET], scopes: [r]}\n- {path: \"/{*rest}\", auth: none}\n";
    let warning = only(text);
    assert_eq!(
        warning,
        "policy.yaml:3: `routes[0].methods`: `POST /v1/users/other` passes without a key by `routes[1]` `/{*rest}` \
         (line 4) (as do PUT, PATCH, DELETE, HEAD, all other methods), while `/v1/users/{id}` asks for a key with `r` \
         for GET only; leave `methods` out, or add a route `/v1/users/{id}` without `methods` that says what the \
         others need"
    );
    let same = only("routes:\n- {path: /u, methods: [GET, POST]}\n- {path: /u, auth: none}\n");
    assert!(same.contains("`PUT /u` passes without a key"), "{same}");
    assert!(same.contains("HEAD"), "{same}");
}

#[test]
fn an_optional_rule_counts_as_open() {
    let text = "routes:\n- {path: /u, methods: [GET]}\n- {path: \"/{*rest}\", auth: optional}\n";
    assert!(only(text).contains("`auth: optional`"), "{}", only(text));
}

#[test]
fn hosts_that_an_open_rule_serves_are_listed() {
    let text = "routes:\n- {path: \"/{*rest}\", hosts: [api.e.com], scopes: [r]}\n- {path: \"/{*rest}\", auth: none}\n";
    let warning = only(text);
    assert!(
        warning.starts_with("policy.yaml:3: `routes[0].hosts`: `"),
        "{warning}"
    );
    assert!(
        warning.contains(" at `other.invalid` passes without a key by `routes[1]`"),
        "{warning}"
    );
}

#[test]
fn the_bare_name_beside_a_wildcard_is_told_by_name() {
    let text = "routes:\n- {path: \"/{*rest}\", hosts: [\"*.corp.e.com\"], scopes: [r]}\n- {path: \"/{*rest}\", auth: none}\n";
    let warning = only(text);
    assert!(
        warning.contains(" at `corp.e.com` (`*.corp.e.com` does not include the name itself)"),
        "{warning}"
    );
}

#[test]
fn any_key_for_the_other_methods_of_a_scoped_path_is_listed() {
    let routes = "routes:\n- {path: /u, methods: [GET], scopes: [r]}\n";
    assert_eq!(found(routes), Findings::default());
    let warning = only(&format!("{routes}unmatched: authenticated\n"));
    assert!(
        warning.contains(
            "`POST /u` passes with any key since no route matches and `unmatched` (line 4)"
        ),
        "{warning}"
    );
}

#[test]
fn options_that_preflights_pass_by_and_shadow_mode_are_listed() {
    let routes = "routes:\n- {path: /u, methods: [GET, OPTIONS], scopes: [r]}\n";
    let warning = only(&format!("preflight: allow\n{routes}"));
    assert!(
        warning.starts_with("policy.yaml:4: `routes[0].methods`: names `OPTIONS`"),
        "{warning}"
    );
    let warning = only(&format!("mode: shadow\n{routes}"));
    assert!(
        warning.starts_with("policy.yaml:2: `mode`: `shadow` lets every request"),
        "{warning}"
    );
}

#[test]
fn what_preflights_open_is_noted_and_no_warning() {
    let routes = "routes:\n- {path: /u, scopes: [r]}\n- {path: /v, methods: [GET]}\n- {path: /w, auth: none}\n";
    assert_eq!(found(routes), Findings::default());
    let Findings { warnings, notes } = found(&format!("preflight: allow\n{routes}"));
    assert_eq!(warnings, [""; 0]);
    assert_eq!(
        notes,
        [
            "policy.yaml:2: `preflight`: lets `OPTIONS` pass without a key at every path, if it has `Origin` and \
             `Access-Control-Request-Method`, as in `OPTIONS /u`, while `routes[0]` `/u` (line 4) asks for a key \
             with `r`; the same holds for 1 other route; if the upstream answers `OPTIONS` with more than CORS \
             headers, write `preflight: deny`"
        ]
    );
    let open = "preflight: allow\nroutes:\n- {path: /w, auth: none}\n";
    assert_eq!(found(open), Findings::default());
}

#[test]
fn spellings_that_are_refused_beside_an_open_rule_are_noted() {
    let text =
        "routes:\n- {path: \"/admin/{*rest}\", scopes: [r]}\n- {path: \"/{*rest}\", auth: none}\n";
    let found = found(text);
    assert_eq!(found.warnings, [""; 0]);
    assert_eq!(found.notes.len(), 1);
    assert!(
        found.notes[0]
            .starts_with("policy.yaml:4: `routes[1]`: `/{*rest}` is open around `/admin/{*rest}`"),
        "{}",
        found.notes[0]
    );
    assert!(found.notes[0].contains("`/x/..%2Fadmin`"));
}

#[test]
fn thousands_of_routes_and_hosts_are_looked_at_within_the_bound() {
    let mut text = String::from("routes:\n- {path: \"/{*rest}\", auth: none}\n");
    for i in 0..700 {
        text.push_str(&format!(
            "- {{path: \"/a{i}/{{id}}\", methods: [GET], scopes: [r]}}\n- {{path: /b, hosts: [h{i}.e.com], methods: [PUT], scopes: [r]}}\n"
        ));
    }
    let file = policy_file::parse("policy.yaml", format!("version: 1\n{text}")).unwrap();
    let mut look = Look::at(&file.raw, &file.policy);
    look.scan();
    // One path more than the bound at most.
    assert!(look.asked <= MOST + 100, "{}", look.asked);
    assert!(look.seen.len() >= 700, "{}", look.seen.len());
}

mod property;
