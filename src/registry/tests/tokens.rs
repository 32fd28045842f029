//! Tokens: who may give them, and what they are good for.

use super::*;

#[test]
fn a_token_is_good_for_its_holder_until_its_end() {
    let mut b = Bench::new();
    let (text, grant) = token(&mut b, token::TokenDraft::plain("ci", Role::Issuer));
    assert!(text.starts_with("kst_issuer_"), "{}", text.len());
    assert_eq!(check(&mut b, &text, HERE, NOON), Ok(grant));
    let end = NOON + token::LIFETIME;
    assert!(check(&mut b, &text, HERE, end - 1).is_ok());
    assert_eq!(check(&mut b, &text, HERE, end), Err(TokenError::Expired));
}

#[test]
fn what_is_nearly_a_token_is_none() {
    let mut b = Bench::new();
    let (text, grant) = token(&mut b, token::TokenDraft::plain("ci", Role::Auditor));
    let key = b.issue(&system::at(NOON), 1)[0]
        .text
        .expose_secret()
        .to_owned();
    for bad in [
        "",
        "kst_",
        &key,
        &text[..text.len() - 1],
        &text.replace("kst_", "ks_"),
    ] {
        assert_eq!(check(&mut b, bad, HERE, NOON), Err(TokenError::Malformed));
    }
    // With a checksum that fits, as who made it up would have it.
    let brand = "kst".parse().unwrap();
    let other = keystile_core::key::generate(
        &brand,
        &"auditor".parse().unwrap(),
        system::at(NOON).entropy,
    )
    .unwrap();
    assert_eq!(
        check(&mut b, other.text.expose_secret(), HERE, NOON),
        Err(TokenError::Unknown)
    );
    // The right id with another secret.
    b.sql(&format!(
        "UPDATE token SET id = {} WHERE id = {}",
        other.id.as_u64(),
        grant.id.as_u64()
    ));
    assert_eq!(
        check(&mut b, other.text.expose_secret(), HERE, NOON),
        Err(TokenError::Unknown)
    );
    assert_eq!(check(&mut b, &text, HERE, NOON), Err(TokenError::Unknown));
}

#[test]
fn a_token_is_good_from_its_networks_only() {
    let mut b = Bench::new();
    let wanted = token::TokenDraft {
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        ..token::TokenDraft::plain("ci", Role::Owner)
    };
    let (text, _) = token(&mut b, wanted);
    assert!(check(&mut b, &text, HERE, NOON).is_ok());
    assert_eq!(
        check(&mut b, &text, "192.0.2.1", NOON),
        Err(TokenError::Network)
    );
}

#[test]
fn a_revoked_token_and_one_of_a_deleted_client_are_good_for_nothing() {
    let mut b = Bench::new();
    let (first, grant) = token(&mut b, token::TokenDraft::plain("one", Role::Client));
    let (second, _) = token(&mut b, token::TokenDraft::plain("two", Role::Client));
    let world = system::at(NOON);
    token::revoke(&mut b.store, &world, grant.id).unwrap();
    token::revoke(&mut b.store, &world, grant.id).unwrap();
    assert_eq!(check(&mut b, &first, HERE, NOON), Err(TokenError::Revoked));
    assert!(check(&mut b, &second, HERE, NOON).is_ok());
    client::delete(&mut b.store, &world, "acme", true).unwrap();
    assert_eq!(check(&mut b, &second, HERE, NOON), Err(TokenError::Revoked));
    // Another client of that name does not inherit them.
    b.client("acme");
    assert_eq!(check(&mut b, &second, HERE, NOON), Err(TokenError::Revoked));
    assert_eq!(b.verify(), Ok(()));
}

#[test]
fn owners_manage_all_tokens_and_issuers_those_of_clients() {
    for role in Role::ALL {
        for wanted in Role::ALL {
            let mut b = Bench::new();
            let (_, grant) = token(&mut b, token::TokenDraft::plain("boss", role));
            let world = system::by(NOON, grant);
            let (_, victim) = token(&mut b, token::TokenDraft::plain("victim", wanted));
            let may = role == Role::Owner || (role == Role::Issuer && wanted == Role::Client);
            let made = token::create(
                &mut b.store,
                &world,
                token::TokenDraft::plain("new", wanted),
            );
            assert_eq!(made.is_ok(), may, "{role} makes {wanted}");
            let revoked = token::revoke(&mut b.store, &world, victim.id);
            assert_eq!(revoked.is_ok(), may, "{role} revokes {wanted}");
            let mut sees = false;
            let look = |t: keystile_model::token_record::TokenRecord| {
                sees |= t.grant.id == victim.id;
                true
            };
            let looked = b
                .store
                .read(|tx| token::each(tx, &world.caller, None, look));
            looked.unwrap();
            let found = b
                .store
                .read(|tx| token::known(tx, &world.caller, victim.id));
            assert_eq!(found.is_ok(), sees);
            assert_eq!(sees, may || role == Role::Auditor, "{role} sees {wanted}");
        }
    }
}

#[test]
fn a_token_that_makes_no_sense_is_refused() {
    let mut b = Bench::new();
    token(&mut b, token::TokenDraft::plain("taken", Role::Owner));
    let mut create = |change: fn(&mut token::TokenDraft), role| {
        let mut draft = token::TokenDraft::plain("new", role);
        change(&mut draft);
        words(token::create(&mut b.store, &system::at(NOON), draft))
    };
    let ceilings = |d: &mut token::TokenDraft| d.ceilings.max_keys = Some(1);
    for (role, change, said) in [
        (
            Role::Owner,
            (|d| d.name = "taken".to_owned()) as fn(&mut token::TokenDraft),
            "there is a token `taken` already",
        ),
        (
            Role::Owner,
            |d| d.name = "a b".to_owned(),
            "`a b` is not a valid name",
        ),
        (
            Role::Owner,
            |d| d.expires = Some(NOON),
            "expired from the start",
        ),
        (
            Role::Owner,
            |d| d.client = Some("acme".to_owned()),
            "is not bound to a client",
        ),
        (Role::Owner, ceilings, "has no ceilings"),
        (Role::Client, |d| d.client = None, "is bound to one"),
        (
            Role::Client,
            |d| d.client = Some("nobody".to_owned()),
            "there is no client `nobody`",
        ),
        (
            Role::Client,
            |d| d.ceilings.plans = vec!["none".to_owned()],
            "the policy has no plan `none`",
        ),
        (
            Role::Client,
            |d| d.ceilings.scopes = vec!["a b".to_owned()],
            "`a b` is not a scope",
        ),
    ] {
        let found = create(change, role);
        assert!(found.contains(said), "{found}");
    }
}

#[test]
fn the_last_use_of_a_token_is_remembered_once_a_minute() {
    let mut b = Bench::new();
    let (text, grant) = token(&mut b, token::TokenDraft::plain("ci", Role::Owner));
    assert!(token::is_use_due(&grant, NOON));
    token::used(&mut b.store, &system::at(NOON), grant.id).unwrap();
    let grant = check(&mut b, &text, HERE, NOON).unwrap();
    assert_eq!(grant.last_used, Some(NOON));
    assert!(!token::is_use_due(&grant, NOON + 59));
    assert!(token::is_use_due(&grant, NOON + 60));
}
