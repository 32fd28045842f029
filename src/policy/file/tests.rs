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
