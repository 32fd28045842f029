use std::net::IpAddr;

use keystile_core::key::KeyId;

use crate::audit;
use crate::bench::{Bench, NOON};
use crate::client;
use crate::import;
use crate::key;
use crate::policy;
use crate::signing;
use crate::token::{self, TokenError, authenticate};
use keystile_model::caller::{Ceilings, Grant, Role};
use keystile_model::error::Result;
use keystile_model::world::World;
use keystile_store::Query;
use keystile_system as system;

mod ceilings;
mod lifetimes;
mod store;
mod tokens;

const HERE: &str = "10.0.0.1";

/// A token's text and what it is good for.
fn token(b: &mut Bench, draft: token::TokenDraft) -> (String, Grant) {
    let (text, token) = token::create(&mut b.store, &system::at(NOON), draft).unwrap();
    (text.expose_secret().to_owned(), token.grant)
}

fn check(b: &mut Bench, text: &str, from: &str, at: u64) -> std::result::Result<Grant, TokenError> {
    let address: IpAddr = from.parse().unwrap();
    b.store
        .read(|tx| Ok(authenticate(tx, text, address, at)))
        .unwrap()
}

/// `acme` with three keys, `other` with one, and a token of `acme`.
struct Clients {
    b: Bench,
    own: Vec<KeyId>,
    foreign: KeyId,
    world: World,
}

fn clients(ceilings: Ceilings) -> Clients {
    let mut b = Bench::new();
    b.client("other");
    let own = b
        .issue(&system::at(NOON), 3)
        .iter()
        .map(|i| i.key.id)
        .collect();
    let plain = key::KeyDraft::default();
    let (foreign, _) =
        key::issue(&mut b.store, &system::at(NOON), "other", plain, 1, |_| {}).unwrap();
    let wanted = token::TokenDraft {
        ceilings,
        ..token::TokenDraft::plain("acme-self", Role::Client)
    };
    let (_, grant) = token(&mut b, wanted);
    Clients {
        b,
        own,
        foreign: foreign[0].key.id,
        world: system::by(NOON, grant),
    }
}

fn words<T>(result: Result<T>) -> String {
    result.err().map_or_else(String::new, |e| e.to_string())
}

#[test]
fn the_audit_log_tells_all_of_a_key_but_the_key_with_its_fields_in_order() {
    let mut b = Bench::new();
    let id = b.issue(&system::at(NOON), 1)[0].key.id;
    let mut key = b.store.read(|tx| tx.key(id)).unwrap().unwrap();
    let few = r#"{"client":"acme","environment":"live","scopes":[],"type":"secret"}"#;
    assert_eq!(key.audit_text(), few);
    key.rules.name = "a \"name\"".to_owned();
    key.rules.plan = Some("gold".to_owned());
    key.rules.scopes = vec!["read:users".to_owned()];
    let limit = keystile_model::rules::limit("5/1m:9@client").unwrap();
    key.rules.limits = keystile_core::policy::checked_limits("limit", &[limit]).unwrap();
    key.rules.expires = Some(NOON);
    key.rules.not_before = Some(NOON);
    key.rules.cidrs = vec!["10.0.0.0/8".parse().unwrap()];
    key.rules.deny_cidrs = vec!["10.1.0.0/16".parse().unwrap()];
    key.rules.origins = vec!["https://a.example".to_owned()];
    key.rules.certificates = vec!["dns:a.example".to_owned()];
    key.rules.labels = [("team".to_owned(), "red".to_owned())].into();
    key.rules.rotate_every = Some(86_400);
    key.rules.grace = Some(3600);
    key.overlap_end = Some(NOON);
    key.imported = true;
    key.disabled = true;
    key.revoked = Some(NOON);
    key.reason = "leaked".to_owned();
    key.rotated_from = Some(id);
    let noon = keystile_model::when::rfc3339(NOON);
    let all = serde_json::json!({
        "certificates": ["dns:a.example"], "cidrs": ["10.0.0.0/8"], "client": "acme", "deny_cidrs": ["10.1.0.0/16"], "disabled": true,
        "environment": "live", "expires": noon, "grace": "1h", "imported": true,
        "labels": {"team": "red"}, "limits": ["5/1m:9@client"], "name": "a \"name\"",
        "not_before": noon, "origins": ["https://a.example"], "plan": "gold", "reason": "leaked",
        "revoked": noon, "rotate_every": "1d", "rotated_from": id.to_string(),
        "scopes": ["read:users"], "type": "secret", "works_until": noon,
    });
    assert_eq!(key.audit_text(), all.to_string());
}

#[test]
fn a_client_is_told_of_foreign_keys_what_it_is_told_of_none() {
    let mut c = clients(Ceilings::default());
    let none: KeyId = "zzzzzzzzzz".parse().unwrap();
    type Try = fn(&mut Clients, KeyId) -> String;
    let table: [(&str, Try); 6] = [
        ("show", |c, id| {
            let caller = c.world.caller.clone();
            words(c.b.store.read(|tx| key::find(tx, &caller, id)))
        }),
        ("update", |c, id| {
            let patch = key::KeyPatch::default();
            words(key::update(&mut c.b.store, &c.world, id, patch))
        }),
        ("disable", |c, id| {
            words(key::set_disabled(&mut c.b.store, &c.world, id, true))
        }),
        ("enable", |c, id| {
            words(key::set_disabled(&mut c.b.store, &c.world, id, false))
        }),
        ("revoke", |c, id| {
            let own = c.own[0];
            words(key::revoke_all(&mut c.b.store, &c.world, &[own, id], ""))
        }),
        ("rotate", |c, id| {
            words(key::rotate(&mut c.b.store, &c.world, id, 0, None))
        }),
    ];
    for (what, attempt) in table {
        let foreign = c.foreign;
        let said = attempt(&mut c, foreign);
        assert_eq!(
            said,
            format!("there is no key `{foreign}`; see `keystilectl key list` for the ids"),
            "{what}"
        );
        assert_eq!(
            said.replace(&foreign.to_string(), ""),
            attempt(&mut c, none).replace(&none.to_string(), ""),
            "{what}"
        );
    }
    let keys = c.b.store.read(|tx| tx.keys()).unwrap();
    assert!(
        keys.iter().all(|k| k.revoked.is_none() && !k.disabled),
        "nothing was changed"
    );
}

#[test]
fn a_client_lists_its_own_keys_and_no_others() {
    let mut c = clients(Ceilings::default());
    let caller = c.world.caller.clone();
    for of in [None, Some("acme")] {
        let keys = c.b.store.read(|tx| listed(tx, &caller, of)).unwrap();
        assert_eq!(keys.len(), 3);
        assert!(keys.iter().all(|k| k.client == "acme"));
    }
    let mut other = |name| words(c.b.store.read(|tx| listed(tx, &caller, Some(name))));
    assert_eq!(
        other("other"),
        other("nobody").replace("nobody", "other"),
        "a foreign client is as good as none"
    );
    for (cursor, names) in [("", vec!["acme"]), ("acme", Vec::new())] {
        let mut seen = Vec::new();
        let each = |client: keystile_model::record::Client| {
            seen.push(client.name);
            Ok(true)
        };
        let listed = c.b.store.read(|tx| client::each(tx, &caller, cursor, each));
        listed.unwrap();
        assert_eq!(seen, names);
    }
    let query = Query::default();
    let log =
        c.b.store
            .read(|tx| audit::page(tx, &caller, query, true, 100));
    assert!(log.unwrap().records.iter().all(|r| r.client == "acme"));
    let query = Query {
        client: Some("other".to_owned()),
        ..Query::default()
    };
    let log =
        c.b.store
            .read(|tx| audit::page(tx, &caller, query, true, 100));
    assert!(log.unwrap().records.iter().all(|r| r.client == "acme"));
}

#[test]
fn a_client_changes_nothing_that_is_not_its_keys() {
    let mut c = clients(Ceilings::default());
    let before = c.b.store.read(|tx| Ok(tx.meta())).unwrap();
    let Clients { b, world, .. } = &mut c;
    let store = &mut b.store;
    let file =
        keystile_policy::file::parse("p", keystile_policy::file::DEFAULT.to_owned()).unwrap();
    let how = import::ImportOptions {
        create_clients: true,
        any_scope: true,
        dry_run: false,
    };
    let refusals = [
        words(client::create(store, world, client::ClientDraft::default())),
        words(client::update(
            store,
            world,
            "acme",
            client::ClientPatch::default(),
        )),
        words(client::delete(store, world, "acme", true)),
        words(import::import(store, world, Vec::new(), how)),
        words(policy::apply(store, world, &file)),
        words(signing::rotate(store, world, None)),
        words(signing::retire(store, world, "k")),
        words(token::create(
            store,
            world,
            token::TokenDraft::plain("x", Role::Client),
        )),
        words(audit::prune(store, world, NOON + 1)),
    ];
    for said in refusals {
        assert!(
            said.starts_with("a token of the role `client` may not "),
            "{said}"
        );
    }
    assert_eq!(c.b.store.read(|tx| Ok(tx.meta())).unwrap(), before);
}

#[test]
fn a_client_issues_within_its_ceilings() {
    let mut c = clients(Ceilings {
        scopes: vec!["read".to_owned()],
        plans: vec!["free".to_owned()],
        max_expiry: Some(1000),
        max_keys: Some(5),
    });
    let mut issue = |client: &str, scopes: &[&str], plan: Option<&str>, expires, n| {
        let draft = key::KeyDraft {
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            plan: plan.map(str::to_owned),
            expires,
            ..key::KeyDraft::default()
        };
        words(key::issue(
            &mut c.b.store,
            &c.world,
            client,
            draft,
            n,
            |_| {},
        ))
    };
    const FREE: Option<&str> = Some("free");
    let end = Some(NOON + 1000);
    assert!(issue("acme", &["write"], FREE, end, 1).contains("may not give a key scope `write`"));
    assert!(issue("acme", &[], Some("gold"), end, 1).contains("may not give a key plan `gold`"));
    assert!(issue("acme", &[], FREE, None, 1).contains("expire within 1000s"));
    assert!(issue("acme", &[], None, end, 1).contains("would have no limits"));
    assert!(issue("other", &[], None, end, 1).contains("there is no client `other`"));
    assert!(issue("acme", &[], FREE, end, 3).contains("may have 5 keys at once, and has 3"));
    assert_eq!(issue("acme", &["read"], FREE, end, 2), "");
    assert!(issue("acme", &[], FREE, end, 1).contains("may have 5 keys at once, and has 5"));
    // One that was revoked makes room.
    let own = c.own[0];
    key::revoke_all(&mut c.b.store, &c.world, &[own], "").unwrap();
    let draft = key::KeyDraft {
        plan: FREE.map(str::to_owned),
        expires: end,
        ..key::KeyDraft::default()
    };
    assert!(key::issue(&mut c.b.store, &c.world, "acme", draft, 1, |_| {}).is_ok());
}

#[test]
fn a_client_brings_back_no_key_that_has_ended() {
    let mut c = clients(Ceilings {
        max_keys: Some(4),
        ..Ceilings::default()
    });
    let draft = key::KeyDraft {
        expires: Some(NOON + 2),
        ..key::KeyDraft::default()
    };
    let issued = key::issue(&mut c.b.store, &c.world, "acme", draft, 1, |_| {});
    let made: Vec<_> = issued.unwrap().0.iter().map(|made| made.key.id).collect();
    let later = |world: &World, seconds: u64| World {
        now: keystile_model::world::Moment::from_ms((NOON + seconds) * 1000),
        ..world.clone()
    };
    let longer = || key::KeyPatch {
        expires: Some(None),
        ..key::KeyPatch::default()
    };
    let (before, after) = (later(&c.world, 1), later(&c.world, 2));
    let mut update = |world: &World| words(key::update(&mut c.b.store, world, made[0], longer()));
    let said = update(&after);
    assert!(said.contains("may not revive it"), "{said}");
    assert_eq!(update(&before), "");
    // Whoever is not bound to the client may.
    assert_eq!(update(&system::at(NOON + 2)), "");
}

#[test]
fn a_client_rotates_its_keys_but_none_that_was_switched_off() {
    let mut c = clients(Ceilings {
        max_expiry: Some(1000),
        max_keys: Some(2),
        ..Ceilings::default()
    });
    let (first, second) = (c.own[0], c.own[1]);
    let mut rotate = |world: &World, id, expires| {
        words(key::rotate(&mut c.b.store, world, id, 100, Some(expires)))
    };
    assert!(rotate(&c.world, first, None).contains("expire within 1000s"));
    assert_eq!(rotate(&c.world, first, Some(NOON + 900)), "");
    assert!(
        rotate(&c.world, second, Some(NOON + 900)).contains("has 4 keys"),
        "no heap of keys that give way"
    );
    key::set_disabled(&mut c.b.store, &system::at(NOON), second, true).unwrap();
    let said = words(key::rotate(
        &mut c.b.store,
        &c.world,
        second,
        0,
        Some(Some(NOON + 900)),
    ));
    assert!(said.contains("may not rotate a disabled key"), "{said}");
    let said = words(key::set_disabled(&mut c.b.store, &c.world, second, false));
    assert!(
        said.contains("may not enable a disabled key again"),
        "{said}"
    );
    // It may switch off.
    key::set_disabled(&mut c.b.store, &c.world, c.own[2], true).unwrap();
}

fn listed(
    tx: &keystile_store::Tx<'_>,
    caller: &keystile_model::caller::Caller,
    of: Option<&str>,
) -> Result<Vec<keystile_model::record::Key>> {
    let mut out = Vec::new();
    key::each(tx, caller, of, None, |k| {
        out.push(k);
        true
    })?;
    Ok(out)
}
