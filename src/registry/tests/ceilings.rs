//! What a caller that is bound to a client may give its keys.

use crate::key::{self, KeyDraft};
use keystile_model::caller::*;
use keystile_model::key::Rules;

const NOW: u64 = 1_800_000_000;

fn rules(change: impl FnOnce(&mut Rules)) -> Rules {
    let policy = keystile_policy::file::parse("p", keystile_policy::file::DEFAULT.to_owned())
        .unwrap()
        .policy;
    let mut rules = key::checked(KeyDraft::default(), &policy, NOW, |_| Ok(())).unwrap();
    change(&mut rules);
    rules
}

fn ceilings() -> Ceilings {
    Ceilings {
        scopes: vec!["read".to_owned(), "list".to_owned()],
        plans: vec!["free".to_owned()],
        max_expiry: Some(1000),
        max_keys: None,
    }
}

#[test]
fn a_range_of_mapped_addresses_is_that_of_ipv4_for_tokens_too() {
    let from = |range: &str, address: &str| {
        let grant = Grant {
            networks: vec![range.parse().unwrap()],
            ..Grant::nothing()
        };
        grant.admits(address.parse().unwrap())
    };
    assert!(from("::ffff:127.0.0.0/104", "127.0.0.1"));
    assert!(from("::ffff:127.0.0.0/104", "::ffff:127.0.0.1"));
    assert!(!from("::ffff:127.0.0.0/104", "128.0.0.1"));
    assert!(!from("::/0", "127.0.0.1"));
    assert!(!from("::/0", "::ffff:127.0.0.1"));
    assert!(from("::/0", "2001:db8::1"));
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
fn a_new_key_keeps_within_every_ceiling() {
    let good = |r: &mut Rules| {
        r.scopes = words(&["read"]);
        r.plan = Some("free".to_owned());
        r.expires = Some(NOW + 1000);
    };
    assert_eq!(ceilings().admit(&rules(good), None, NOW), Ok(()));
    type Case = (&'static str, fn(&mut Rules));
    let table: [Case; 5] = [
        (
            "this token may not give a key scope `write`; it may give read, list",
            |r| r.scopes = vec!["read".to_owned(), "write".to_owned()],
        ),
        (
            "this token may not give a key plan `gold`; it may give free",
            |r| r.plan = Some("gold".to_owned()),
        ),
        (
            "this token may not give a key limits of its own; ask somebody whose token may do this",
            |r| {
                let raw = keystile_model::rules::limit("1/1s").unwrap();
                r.limits = keystile_core::policy::checked_limits("l", &[raw]).unwrap();
            },
        ),
        (
            "keys that this token issues have to expire within 1000s; give `--expires 1000s` or less",
            |r| r.expires = Some(NOW + 1001),
        ),
        (
            "keys that this token issues have to expire within 1000s; give `--expires 1000s` or less",
            |r| r.expires = None,
        ),
    ];
    for (words, bad) in table {
        let rules = rules(|r| {
            good(r);
            bad(r);
        });
        let error = ceilings().admit(&rules, None, NOW).unwrap_err();
        assert_eq!(error.to_string(), words);
    }
}

#[test]
fn a_key_beyond_the_ceilings_is_renamed_and_shortened_but_never_widened() {
    let given = rules(|r| {
        r.scopes = words(&["read", "write"]);
        r.expires = Some(NOW + 500);
    });
    let after = |change: fn(&mut Rules)| {
        let mut after = given.clone();
        change(&mut after);
        ceilings().admit_change(&given, &after, Some("free"), NOW)
    };
    assert_eq!(after(|r| r.name = "mine".to_owned()), Ok(()));
    assert_eq!(after(|r| r.expires = Some(NOW + 400)), Ok(()));
    assert!(after(|r| r.expires = Some(NOW + 600)).is_err());
    assert!(after(|r| r.expires = None).is_err());
    assert!(after(|r| r.plan = Some("free".to_owned())).is_err());
    assert!(after(|r| r.cidrs = vec!["10.0.0.0/8".parse().unwrap()]).is_err());
    // Giving up what is beyond them is a change of rights too, and lasting.
    assert!(after(|r| r.scopes = vec!["read".to_owned()]).is_err());
}

#[test]
fn a_key_without_a_plan_of_its_own_has_its_clients_and_that_is_bounded_too() {
    let given = rules(|r| {
        r.plan = Some("free".to_owned());
        r.expires = Some(NOW + 500);
    });
    let bare = Rules {
        plan: None,
        ..given.clone()
    };
    let ceilings = ceilings();
    let change = |client_plan| ceilings.admit_change(&given, &bare, client_plan, NOW);
    assert_eq!(change(Some("free")), Ok(()));
    for plan in [Some("gold"), None] {
        assert!(change(plan).is_err(), "{plan:?}");
        assert!(ceilings.admit(&bare, plan, NOW).is_err(), "{plan:?}");
    }
    // Where no plan is named, the client's is the only one.
    let none = Ceilings {
        plans: Vec::new(),
        ..ceilings
    };
    assert_eq!(none.admit(&bare, Some("gold"), NOW), Ok(()));
    assert!(none.admit(&given, Some("gold"), NOW).is_err());
}

#[test]
fn only_a_token_of_the_role_client_is_bound() {
    for role in Role::ALL {
        let caller = Caller::Token(Grant {
            role,
            client: Some("acme".to_owned()),
            ..Grant::nothing()
        });
        let bound = role == Role::Client;
        assert_eq!(caller.bound().is_some(), bound, "{role}");
        assert_eq!(caller.unbound("do it").is_err(), bound, "{role}");
        assert!(caller.sees("acme"), "{role}");
        assert_eq!(caller.sees("other"), !bound, "{role}");
        let narrowed = if bound { "acme" } else { "other" };
        assert_eq!(caller.narrowed(Some("other")), Some(narrowed), "{role}");
        assert_eq!(caller.owner("x").is_ok(), role == Role::Owner, "{role}");
        assert_eq!(Role::from_word(role.as_str()), Some(role));
    }
}

#[test]
fn who_is_not_known_sees_no_client() {
    let nobody = Caller::Token(Grant::nothing());
    assert!(!nobody.sees("acme"));
    assert!(!nobody.sees(""));
    assert_eq!(nobody.narrowed(Some("acme")), Some(""));
    assert!(nobody.unbound("do it").is_err());
}

#[test]
fn a_token_bound_to_networks_is_good_from_these_only() {
    let grant = Grant {
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        ..Grant::nothing()
    };
    for (address, good) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("11.0.0.1", false),
        ("::1", false),
    ] {
        assert_eq!(grant.admits(address.parse().unwrap()), good, "{address}");
    }
    assert!(Grant::nothing().admits("11.0.0.1".parse().unwrap()));
}
