use super::*;

fn mistakes(text: &str) -> Vec<String> {
    let error = parse("policy.yaml", text.to_owned()).err().unwrap();
    error.words(keystile_model::error::Surface::CommandLine)
}

#[test]
fn the_default_policy_holds_and_is_what_the_core_takes_for_default() {
    let file = parse("default", DEFAULT.to_owned()).ok().unwrap();
    assert!(!file.policy.plans.is_empty());
    assert!(!file.policy.routes.is_empty());
}

#[test]
fn unknown_fields_are_named_all_at_once_with_their_lines() {
    assert_eq!(
        mistakes("version: 1\nmod: shadow\nroutes:\n- path: /a\n  scope: [x]\n"),
        [
            "policy.yaml:2: `mod`: there is no such field; did you mean `mode`?",
            "policy.yaml:5: `routes[0].scope`: there is no such field; did you mean `scopes`?",
        ]
    );
}

#[test]
fn wrong_types_are_told_with_what_to_write() {
    assert_eq!(
        mistakes("version: 1\nplans:\n  free:\n    limits:\n    - {requests: many, per: 1m}\n"),
        [
            "policy.yaml:5: `plans.free.limits[0].requests`: this is the text \"many\"; write a whole number without quotes, 0 or more"
        ]
    );
    assert_eq!(
        mistakes("version: 1\nmode: off\n"),
        ["policy.yaml:2: `mode`: `off` is not one of its values; write enforce or shadow"]
    );
    assert_eq!(
        mistakes("version: 1\nroutes:\n- methods: [GET]\n"),
        ["policy.yaml:3: `routes[0]`: `path` is missing; add it, such as `path: /v1/users/{id}`"]
    );
    assert_eq!(
        mistakes("realm: api\n"),
        ["policy.yaml:1: `version` is missing; add it, such as `version: 1`"]
    );
    assert_eq!(
        mistakes("version: 1\nenvironments: live\n"),
        ["policy.yaml:2: `environments`: this is the text \"live\"; write a list, such as [a, b]"]
    );
    assert_eq!(
        mistakes("version: 1\nrequire_tls: \"yes\"\n"),
        ["policy.yaml:2: `require_tls`: this is the text \"yes\"; write true or false"]
    );
    assert_eq!(
        mistakes("version: 1\nrealm: 5\n"),
        [
            "policy.yaml:2: `realm`: this is integer `5`; write a text (put it in quotes if it looks like a number)"
        ]
    );
}

#[test]
fn mistakes_in_meaning_are_named_all_at_once_with_their_lines() {
    let found = mistakes(
        "version: 1\nplans:\n  free:\n    limits:\n    - requests: 0\n      per: 1m\nroutes:\n- path: /a\n- path: b\n- path: /a\n",
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("policy.yaml:5: `plans.free.limits[0].requests`: is 0, "),
        "{}",
        found[0]
    );
    assert!(
        found[1].starts_with("policy.yaml:9: `routes[1].path`: a path begins with `/`"),
        "{}",
        found[1]
    );
    assert!(
        found[2].starts_with(
            "policy.yaml:10: `routes[2]`: matches exactly the same requests as `routes[0]`"
        ),
        "{}",
        found[2]
    );
}

#[test]
fn a_time_zone_that_there_is_none_of_is_told_with_its_line() {
    let quota = |zone: &str| {
        format!(
            "version: 1\nplans:\n  free:\n    quota:\n      requests: 5\n      per: day\n      time_zone: {zone}\n"
        )
    };
    assert_eq!(
        mistakes(&quota("Europe/Bern")),
        [
            "policy.yaml:7: `plans.free.quota.time_zone`: there is no time zone `Europe/Bern`; write one such as `UTC` or `Europe/Berlin`"
        ]
    );
    for zone in [
        "UTC",
        "Europe/Berlin",
        "America/Argentina/Buenos_Aires",
        "Etc/GMT+5",
    ] {
        assert!(parse("policy.yaml", quota(zone)).is_ok(), "{zone}");
    }
}

#[test]
fn what_is_no_yaml_is_told_with_its_line() {
    let found = mistakes("version: 1\nroutes: [\n");
    assert!(found[0].starts_with("policy.yaml:"), "{}", found[0]);
    let found = mistakes("version: 1\nmode: shadow\nmode: enforce\n");
    assert!(found[0].starts_with("policy.yaml:3: "), "{}", found[0]);
    let found = mistakes("");
    assert!(found[0].starts_with("policy.yaml:1: "), "{}", found[0]);
    let found = mistakes("just words\n");
    assert!(found[0].starts_with("policy.yaml:1: "), "{}", found[0]);
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let all = vec![format!("*a{}", i - 1); 10].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{all}]\n"));
    }
    assert!(parse("policy.yaml", text).is_err());
}

#[test]
fn what_is_not_yaml_is_advised_by_the_kind_of_the_mistake() {
    for (text, advice) in [
        (
            "version: 1\nroutes:\n- {path: /v1/users/{id}}\n",
            "put a path with braces in quotes",
        ),
        ("version: 1\nroutes:\n\t- path: /a\n", "indent with spaces"),
        (
            "version: 1\nversion: 1\n",
            "`version` appears twice in this mapping; remove one of the two",
        ),
        // The words of a mistake of another kind decide nothing.
        (
            "version: 1\nrealm: \"flow mapping, tabs",
            "check the indentation and quotes",
        ),
    ] {
        let found = mistakes(text);
        assert!(
            found.len() == 1 && found[0].contains(advice),
            "{text:?}: {found:?}"
        );
    }
}

#[test]
fn the_fact_and_the_next_step_of_a_mistake_in_meaning_are_apart() {
    let text = "version: 1\nroutes:\n- path: /a/{x}{y}\n- {path: /b, methods: [get]}\n";
    let error = parse("policy.yaml", text.to_owned()).err().unwrap();
    for (fault, fact, next) in [
        (
            0,
            "segment `{x}{y}`: it is unclear",
            "write text between them",
        ),
        (1, "methods are case-sensitive", "write `GET`"),
    ]
    .map(|(n, fact, next)| (&error.faults()[n], fact, next))
    {
        let words = fault.next.words(keystile_model::error::Surface::Rest);
        assert!(
            fault.fact.starts_with(fact) && !fault.fact.contains(next),
            "{fault:?}"
        );
        assert!(words.starts_with(next), "{fault:?}");
    }
}

/// The lines of what is wrong.
fn wrong_lines(text: &str) -> Vec<(Option<u64>, String)> {
    let error = parse("policy.yaml", text.to_owned()).err().unwrap();
    let one = |f: &Fault| (f.line, f.field.as_deref().unwrap_or_default().to_owned());
    error.faults().iter().map(one).collect()
}

#[test]
fn mistakes_of_every_kind_are_told_in_one_run_in_the_order_of_the_file() {
    let found = wrong_lines(
        "version: 2
mod: shadow
mode: off
environments: [live, 5]
realm: api
realm: other
report: {cluster: \"two words\", every: 1h}
brute_force: {attempts: 0, per: soon}
plans:
  free: {limits: [{requests: many, per: 1m}, {requests: 0, per: fortnight}]}
  gold: {quota: {requests: 5, per: month, time_zone: Europe/Bern}}
routes:
- {path: users, methods: [get], hosts: [\"bad host\"], cost: 0}
- {methods: [GET], hosts: [\"*\"]}
- nonsense
- {path: /a, auth: maybe, limit: {requests: 1, per: 1s}, cost: 5}
- {path: /b, auth: none, scopes: [read]}
",
    );
    let expected = [
        (1, "version"),
        (2, "mod"),
        (3, "mode"),
        (4, "environments[1]"),
        (6, ""),
        (7, "report.cluster"),
        (7, "report.every"),
        (8, "brute_force.attempts"),
        (8, "brute_force.per"),
        (10, "plans.free.limits[0].requests"),
        (10, "plans.free.limits[1].requests"),
        (10, "plans.free.limits[1].per"),
        (11, "plans.gold.quota.time_zone"),
        (13, "routes[0].path"),
        (13, "routes[0].hosts[0]"),
        (13, "routes[0].methods[0]"),
        (13, "routes[0].cost"),
        (14, "routes[1].hosts[0]"),
        (14, "routes[1]"),
        (15, "routes[2]"),
        (16, "routes[3].cost"),
        (16, "routes[3].auth"),
        (17, "routes[4].auth"),
    ];
    let mut found: Vec<(u64, String)> = found.into_iter().map(|(l, f)| (l.unwrap(), f)).collect();
    let mut expected: Vec<(u64, String)> = expected
        .iter()
        .map(|(l, f)| (*l, (*f).to_owned()))
        .collect();
    let lines: Vec<u64> = found.iter().map(|(l, _)| *l).collect();
    assert!(lines.is_sorted(), "{found:#?}");
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn nothing_seems_wrong_because_of_another_mistake() {
    for (text, only) in [
        // Its methods may tell it apart from the other.
        (
            "routes:\n- {path: /a}\n- {path: /a, methods: GET}\n",
            "routes[1].methods",
        ),
        (
            "routes:\n- {path: /a, metods: [GET]}\n- {path: /a}\n",
            "routes[0].metods",
        ),
        (
            "routes:\n- {path: /a}\n- {path: /a, hosts: [\"no host\"]}\n",
            "routes[1].hosts[0]",
        ),
        (
            "routes:\n- {path: 5}\n- {path: 5.5}\n- {path: /a}\n- {path: /b}\n",
            "routes[0].path routes[1].path",
        ),
        (
            "routes:\n- {path: /a, cost: 5, limit: {requests: lots, per: 1s}}\n",
            "routes[0].limit.requests",
        ),
        (
            "routes:\n- {path: /a, cost: 5, limit: {requests: 1, per: 1s, burst: big}}\n",
            "routes[0].limit.burst",
        ),
        (
            "routes:\n- {path: /a, cost: 5, limit: 3}\n",
            "routes[0].limit",
        ),
        (
            "routes:\n- {path: /a, methods: {GET: 1}}\n- 7\n- {path: /a}\n",
            "routes[0].methods routes[1]",
        ),
        (
            "credentials:\n- {header: 7}\n- {heder: x}\n",
            "credentials[0].header credentials[1].heder",
        ),
        (
            "plans:\n  p.q: {limits: [{requests: x, per: 1s}, {requests: 2, per: y}]}\n",
            "plans.p.q plans.p.q.limits[0].requests plans.p.q.limits[1].per",
        ),
        (
            "plans:\n  p: {quota: {requests: 5, per: week, rolls_over: {day: 3}}}\n",
            "plans.p.quota.per",
        ),
        ("plans: [free]\nroutes: {path: /a}\n", "plans routes"),
    ] {
        let found = wrong_lines(&format!("version: 1\n{text}"));
        let mut fields: Vec<&str> = found.iter().map(|(_, f)| f.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(fields.join(" "), only, "{text}");
    }
}

#[test]
fn very_many_mistakes_in_a_large_file_end_in_bounded_time() {
    let routes: String = (0..20_000)
        .map(|i| format!("- {{path: /r{i}, cost: x, padding: {}}}\n", "y".repeat(80)))
        .collect();
    let error = parse("policy.yaml", format!("version: 1\nroutes:\n{routes}"));
    let count = error.err().unwrap().faults().len();
    assert!((20..100).contains(&count), "{count}");
}

#[test]
fn a_small_file_with_very_many_mistakes_is_read_a_bounded_number_of_times() {
    let routes = "- {path: /a, cost: x}\n".repeat(1500);
    let error = parse("policy.yaml", format!("version: 1\nroutes:\n{routes}"));
    let error = error.err().unwrap();
    assert_eq!(error.faults().len(), 101);
    assert!(error.to_string().contains("not all of them are named"));
}

#[test]
fn a_name_that_is_repeated_in_what_is_merged_is_refused() {
    for text in [
        "version: 1\nroutes: [{<<: {auth: none, auth: required}, path: /a}]\n",
        "version: 1\nroutes:\n- &a {path: /a, auth: none, auth: required}\n- {<<: *a, path: /b}\n",
    ] {
        let refused = parse("policy.yaml", text.to_owned()).err().unwrap();
        assert!(
            refused.to_string().contains("`auth` appears twice"),
            "{refused}"
        );
    }
}

/// Every policy of eight fields that are right or wrong: whatever else is wrong, each wrong field is
/// told.
#[test]
fn no_mistake_hides_another_wherever_they_are() {
    // Right and wrong values that have nothing to do with one another.
    let fields: [(&str, &str, &str); 8] = [
        ("realm", "api", "\"a\\\"b\""),
        ("brand", "ks", "Not_A_Brand"),
        ("mode", "enforce", "off"),
        ("require_tls", "true", "7"),
        ("not_after", "7d", "10s"),
        ("unmatched", "deny", "[]"),
        ("preflight", "deny", "yes"),
        ("identity", "{client: x-a}", "{client: host}"),
    ];
    for wrong in 0_u32..(1 << fields.len()) {
        let is_wrong = |i: usize| wrong & (1 << i) != 0;
        let mut text = "version: 1\n".to_owned();
        let mut expected = Vec::new();
        for (i, (name, right, bad)) in fields.iter().enumerate() {
            let value = if is_wrong(i) { bad } else { right };
            text.push_str(&format!("{name}: {value}\n"));
            if is_wrong(i) {
                expected.push(*name);
            }
        }
        match parse("policy.yaml", text) {
            Ok(_) => assert!(expected.is_empty(), "{expected:?}"),
            Err(e) => {
                let found: Vec<&str> = e.faults().iter().filter_map(Fault::base_field).collect();
                assert_eq!(found, expected);
            }
        }
    }
}
