use std::collections::BTreeSet;

use super::*;

#[test]
fn a_ttl_is_a_duration_or_the_moment_itself() {
    let mut found = found(
        System::Kong,
        vector!("kong/db-export.yaml"),
        &How::default(),
    );
    assert_eq!(found.keys.len(), 4);
    for until in [
        "kong-until-2031-5e8a1f0c",
        "kong-an-hour-long-3c6a8d1b",
        "kong-in-milliseconds-9f4e",
    ] {
        assert_eq!(
            key(&found, until).expires,
            "2031-06-23T16:53:20Z",
            "{until}"
        );
    }
    assert!(left(&found, "`initech`, key 5", "not a number of seconds"));
    found.leave_ended(1_790_000_000);
    assert_eq!(found.keys.len(), 3);
    assert!(left(&found, "`initech`, key 2", "has expired"));
    assert_eq!(found.left.len(), 2, "{:?}", found.left);
}

#[test]
fn shared_settings_anchors_and_members_that_stand_in_their_group_count() {
    let found = found(
        System::Kong,
        vector!("kong/shared-configs.yaml"),
        &How::default(),
    );
    let limits = |name: &str| key(&found, name).limits.clone();
    assert_eq!(
        limits("kong-initech-5e8a1f0c7b2d"),
        ["4/1m@client", "90/1h@client"]
    );
    assert_eq!(limits("kong-vandelay-2a7c5e9d0b1f"), ["8/1m@client"]);
    assert_eq!(limits("kong-globex-6b2d9f4c1a8e"), ["20/1m@client"]);
    assert_eq!(found.clients["hooli"].plan.as_deref(), Some("silver"));
    assert_eq!(found.plans["silver"].limits[0].requests, 4);
    assert!(left(
        &found,
        "`wayne`",
        "`_config: gone` names no shared configuration"
    ));
    assert_eq!(found.left.len(), 1, "{:?}", found.left);
}

#[test]
fn what_is_narrowed_to_a_service_or_a_route_is_not_made_general() {
    let found = found(System::Kong, vector!("kong/narrowed.yaml"), &How::default());
    assert_eq!(
        key(&found, "kong-initech-5e8a1f0c7b2d").limits,
        ["700/1m@client"]
    );
    assert!(left(&found, "`initech`", "for service `exports` alone"));
    assert!(left(
        &found,
        "`initech`",
        "service or route `exports` alone"
    ));
    assert!(left(
        &found,
        "`mallory`, key 1",
        "`request-termination` at service or route `big` restricts it"
    ));
    assert_eq!(found.keys.len(), 1);
    assert!(!found.clients.contains_key("mallory"));
}

#[test]
fn a_deny_list_is_no_allow_list_and_who_is_denied_stays_out() {
    let found = found(System::Kong, vector!("kong/denied.yaml"), &How::default());
    assert!(left(&found, "`shop`", "denies banned"));
    assert!(left(
        &found,
        "`shop`",
        "as consumer `visitors` (`anonymous`)"
    ));
    assert!(left(&found, "`shop`", "`key_in_body`"));
    assert!(left(&found, "`inner`", "allows staff, silver"));
    assert!(left(
        &found,
        "`mallory`, key 1",
        "in group `banned`, which is denied"
    ));
    assert_eq!(
        key(&found, "kong-hooli-3c6a8d1b9f4e").scopes,
        ["friends", "silver", "staff"]
    );
    assert_eq!(found.keys.len(), 1);
    assert!(
        !found.left.keys().any(|p| p.contains("allows :")),
        "{:?}",
        found.left
    );
}

#[test]
fn a_month_is_one_of_the_calendar() {
    let found = found(System::Kong, vector!("kong/month.yaml"), &How::default());
    let plan = &found.plans[found.clients["initech"].plan.as_ref().unwrap()];
    assert_eq!(plan.quota.as_ref().unwrap().requests, 20_000);
    assert_eq!(
        key(&found, "kong-initech-5e8a1f0c7b2d").limits,
        ["3/1s@client", "900/1d@client"]
    );
    assert!(left(&found, "`hooli`", "no yearly quota"));
    assert_eq!(found.clients["hooli"].plan, None);
}

#[test]
fn fields_and_plugins_that_nobody_knows_are_named_with_their_place() {
    let text = r#"
_format_version: "3.0"
consumers:
- username: initech
  blocked_until: 2030-01-01
  plugins:
  - {name: our-own-guard, config: {secret: x}}
  - {name: rate-limiting, config: {minute: 5, fortnight: 9}}
  keyauth_credentials:
  - {key: kong-initech-5e8a1f0c7b2d, only_from: office}
guards: [{name: night}]
"#;
    let found = found(System::Kong, text, &How::default());
    for (place, problem) in [
        (
            "file:4: consumer `initech`",
            "field `blocked_until` is not known",
        ),
        ("`initech`", "plugin `our-own-guard`"),
        ("`initech`", "field `fortnight` is not known"),
        ("`initech`, key 1", "field `only_from` is not known"),
        ("file", "field `guards` is not known"),
    ] {
        assert!(left(&found, place, problem), "{problem}: {:?}", found.left);
    }
}

#[test]
fn lists_may_be_missing_null_or_empty_and_files_may_share_them() {
    let one = "_format_version: '3.0'\nconsumers:\n- {username: a, plugins: null, acls: [], groups: g}\nconsumer_groups:\n- {name: g, plugins: [{name: rate-limiting, config: {minute: 5}}]}\n---\nkeyauth_credentials:\n- {consumer: a, key: kong-of-a-5e8a1f0c7b2d}\n";
    let two = "keyauth_credentials:\n- {consumer: a, key: kong-of-a-3c6a8d1b9f4e}\n";
    let files: Vec<ExportFile> = files(one).into_iter().chain(files(two)).collect();
    let found = read(System::Kong, &files, &How::default()).unwrap();
    assert_eq!(found.clients["a"].plan.as_deref(), Some("g"));
    assert_eq!(
        (found.keys.len(), found.left.len()),
        (2, 0),
        "{:?}",
        found.left
    );
}

#[test]
fn a_limit_of_nothing_shuts_its_consumer_out() {
    let text = "consumers:\n- {username: a, keyauth_credentials: [{key: kong-of-a-5e8a1f0c7b2d}], plugins: [{name: rate-limiting, config: {minute: 0}}]}\n";
    let found = found(System::Kong, text, &How::default());
    assert!(found.keys.is_empty() && left(&found, "`a`, key 1", "limit of 0"));
}

#[test]
fn a_consumer_is_named_by_id_or_username_and_never_by_its_custom_id() {
    let text = "\
consumers:
- {username: bob, custom_id: alice, id: '7'}
- {username: alice}
- {username: '7'}
- {custom_id: zoe}
- {custom_id: bob, id: c-4, keyauth_credentials: [{key: kong-other-bob-5e8a1f0c7b2d}]}
keyauth_credentials:
- {consumer: alice, key: kong-alice-5e8a1f0c7b2d}
- {consumer: bob, key: kong-bob-5e8a1f0c7b2d}
- {consumer: '7', key: kong-seven-5e8a1f0c7b2d}
- {consumer: zoe, key: kong-zoe-5e8a1f0c7b2d}
- {consumer: {custom_id: alice}, key: kong-custom-5e8a1f0c7b2d}
acls:
- {consumer: alice, group: readers}
- {consumer: bob, group: admins}
plugins:
- {name: request-termination, consumer: alice}
";
    let found = found(System::Kong, text, &How::default());
    assert_eq!(key(&found, "kong-bob-5e8a1f0c7b2d").client, "bob");
    assert_eq!(key(&found, "kong-bob-5e8a1f0c7b2d").scopes, ["admins"]);
    assert_eq!(key(&found, "kong-seven-5e8a1f0c7b2d").client, "bob");
    assert_eq!(found.keys.len(), 2, "alice is shut out");
    let twice = "\
consumers:
- {username: a, keyauth_credentials: [{key: kong-a-one-5e8a1f0c7b2d}]}
- {username: a, keyauth_credentials: [{key: kong-a-two-5e8a1f0c7b2d}]}
- {username: b, custom_id: c, keyauth_credentials: [{key: kong-b-5e8a1f0c7b2d9f4e}]}
keyauth_credentials: [{consumer: a, key: kong-a-three-5e8a1f0c7b2d}]
plugins:
- {name: rate-limiting, consumer: a, config: {minute: 5}}
- {name: request-termination, consumer: {custom_id: c}}
";
    let several = super::found(System::Kong, twice, &How::default());
    for one in ["kong-a-one-5e8a1f0c7b2d", "kong-a-two-5e8a1f0c7b2d"] {
        assert_eq!(key(&several, one).limits, ["5/1m@client"], "{one}");
    }
    assert!(left(
        &several,
        "keyauth_credentials[0]",
        "appears here twice"
    ));
    assert!(left(&several, "plugins[1]", "names no consumer"));
    for place in ["keyauth_credentials[3]", "keyauth_credentials[4]"] {
        assert!(left(&found, place, "names no consumer"), "{place}");
    }
    assert!(left(
        &found,
        "`bob`",
        "has the name that is another consumer's"
    ));
    let nested = "consumers:\n- {custom_id: zoe, keyauth_credentials: [{key: kong-zoe-5e8a1f0c7b2d}], plugins: [{name: rate-limiting, config: {minute: 5}}]}\n";
    let found = super::found(System::Kong, nested, &How::default());
    assert_eq!(key(&found, "kong-zoe-5e8a1f0c7b2d").limits, ["5/1m@client"]);
}

const CLOSING: &str = r#"
FILE
consumers:
- username: initech
  keyauth_credentials: [{key: kong-initech-5e8a1f0c7b2d}]
  CONSUMER
consumer_groups:
- {name: gold GROUP}
services:
- {name: shop SERVICE}
"#;

#[test]
fn what_closes_any_object_of_a_consumer_keeps_it_out() {
    let cases = [
        ("FILE", "disabled: true"),
        ("CONSUMER", "acls: [{group: x, disabled: true}]"),
        ("CONSUMER", "groups: [{name: gold, suspended: true}]"),
        (
            "CONSUMER",
            "plugins: [{name: rate-limiting, config: {minute: 5}, locked: true}]",
        ),
        (
            "CONSUMER",
            "plugins: [{name: rate-limiting, config: {minute: 5, blocked: true}}]",
        ),
        (
            "GROUP",
            ", enabled: false, consumers: [{username: initech}]",
        ),
        ("GROUP", ", consumers: [{username: initech, banned: true}]"),
        (
            "FILE",
            "consumer_group_consumers: [{consumer: initech, consumer_group: gold, revoked: true}]",
        ),
        (
            "FILE",
            "acls: [{consumer: initech, group: x, archived: true}]",
        ),
        (
            "FILE",
            "acls: [{consumer: {username: initech, frozen: true}, group: x}]",
        ),
        ("CONSUMER", "acls: [{group: x}]\nSERVICE"),
    ];
    for (at, more) in cases {
        let (more, service) = match more.strip_suffix("\nSERVICE") {
            Some(more) => (
                more,
                ", plugins: [{name: acl, config: {deny: [evil, {name: x}]}}]",
            ),
            None => (more, ""),
        };
        let mut text = CLOSING.replace("SERVICE", service).replace(at, more);
        for rest in ["FILE", "CONSUMER", "GROUP"] {
            text = text.replace(rest, "");
        }
        let found = found(System::Kong, &text, &How::default());
        assert!(found.keys.is_empty() && found.clients.is_empty(), "{text}");
        let out = "client `initech` and its keys are left out";
        assert!(left(&found, "`initech`", out), "{more}: {:?}", found.left);
    }
    let open = CLOSING.replace("CONSUMER", "groups: [gold]");
    let open = ["FILE", "GROUP", "SERVICE"]
        .iter()
        .fold(open, |text, at| text.replace(at, ""));
    assert_eq!(found(System::Kong, &open, &How::default()).keys.len(), 1);
}

#[test]
fn of_a_deny_list_that_can_be_read_in_part_that_part_denies() {
    let text = "\
services: [{name: shop, plugins: [{name: acl, config: {deny: [evil, {name: x}]}}]}]
consumers:
- {username: evil, acls: [{group: evil}], keyauth_credentials: [{key: kong-evil-5e8a1f0c7b2d}]}
- {username: good, acls: [{group: good}], keyauth_credentials: [{key: kong-good-5e8a1f0c7b2d}]}
- {username: none, keyauth_credentials: [{key: kong-none-5e8a1f0c7b2d}]}
";
    let found = found(System::Kong, text, &How::default());
    assert_eq!(found.keys.len(), 1);
    assert_eq!(key(&found, "kong-none-5e8a1f0c7b2d").client, "none");
    assert!(left(&found, "`shop`", "denies what cannot be read"));
    assert!(left(&found, "`good`", "denies what cannot be read"));
}

#[test]
fn of_two_plugins_limits_for_one_period_the_stricter_counts() {
    let text = "\
consumer_groups:
- name: gold
  plugins:
  - {name: rate-limiting, config: {minute: 1000, month: 9000}}
  - {name: rate-limiting-advanced, config: {limit: [10], window_size: [60]}}
  - {name: rate-limiting, config: {month: 8000}}
consumers:
- username: initech
  groups: [{name: gold}]
  keyauth_credentials: [{key: kong-initech-5e8a1f0c7b2d}]
  plugins:
  - {name: rate-limiting, config: {second: 100}}
  - {name: rate-limiting-advanced, config: {limit: [1], window_size: [1]}}
";
    let found = found(System::Kong, text, &How::default());
    assert_eq!(
        key(&found, "kong-initech-5e8a1f0c7b2d").limits,
        ["1/1s@client"]
    );
    let gold = &found.plans["gold"];
    assert_eq!((gold.limits.len(), gold.limits[0].requests), (1, 10));
    assert_eq!(gold.quota.as_ref().unwrap().requests, 8000);
    let both = "plugins `rate-limiting` and `rate-limiting-advanced`";
    let named = |(note, at): (&String, &BTreeSet<String>)| {
        note.contains(both) && at.iter().any(|a| a.contains("`initech`"))
    };
    assert!(found.noted.iter().any(named), "{:?}", found.noted);
}

#[test]
fn a_credential_that_stands_twice_has_the_stricter_state() {
    let text = "\
consumers:
- username: initech
  keyauth_credentials:
  - {key: kong-twice-5e8a1f0c7b2d}
  - {key: kong-twice-5e8a1f0c7b2d, ttl: 3600, created_at: 1700000000}
  - {key: kong-twice-5e8a1f0c7b2d, ttl: 60, created_at: 1800000000}
  - {key: kong-closed-5e8a1f0c7b2d}
  - {key: kong-closed-5e8a1f0c7b2d, revoked: true}
  - {key: kong-unknown-5e8a1f0c7b2d}
  - {key: kong-unknown-5e8a1f0c7b2d, ttl: 60}
  - {key: kong-others-5e8a1f0c7b2d}
  - {key: kong-same-5e8a1f0c7b2d}
- username: hooli
  keyauth_credentials: [{key: kong-others-5e8a1f0c7b2d}]
keyauth_credentials:
- {key: kong-same-5e8a1f0c7b2d, consumer: initech}
";
    let found = found(System::Kong, text, &How::default());
    let twice = key(&found, "kong-twice-5e8a1f0c7b2d");
    assert_eq!(twice.expires, "2023-11-14T23:13:20Z");
    assert_eq!(key(&found, "kong-same-5e8a1f0c7b2d").client, "initech");
    assert_eq!(found.keys.len(), 2);
    assert!(left(&found, "`initech`, key 4", "appears twice"));
    assert!(left(&found, "`initech`, key 6", "appears twice"));
    assert!(left(&found, "`hooli`, key 1", "of several consumers"));
    assert!(left(&found, "`initech`, key 8", "of several consumers"));
}
