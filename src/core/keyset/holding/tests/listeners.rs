//! Whose policy decides.

use super::*;
use crate::decide::Unavailable;
use crate::keyset::Content;

/// The keyset of a version, under a policy of this realm.
fn of_realm(version: u64, realm: &str) -> Content {
    let mut content = content(version, vec![at(version)]);
    content.policy.realm = realm.to_owned();
    content
}

fn realm(version: u64, realm: &str) -> Built {
    build(&of_realm(version, realm)).unwrap()
}

fn give(h: &mut Holding, id: u32, built: &Built, floor: u64) -> Arrival {
    let bytes = built.seal_raw(&key(), 1);
    let keys = SigningKeys::new(vec![key()]);
    let artefact = Artefact::load(&mut &bytes[..], &keys, |signed| h.make_room(signed, floor));
    h.configure(id, artefact.ok().unwrap(), floor, false)
}

/// By which policy a listener decides, whether the newest one counts as well, and the keys'
/// version.
fn by(h: &Holding, id: u32) -> Option<(&str, bool, u64)> {
    let i = h.decides(id).ok()?;
    Some((i.policy().realm.as_str(), i.also().is_some(), i.version()))
}

#[test]
fn each_listener_decides_by_the_policy_that_it_was_given_and_by_the_newest_keys() {
    let mut h = Holding::default();
    give(&mut h, 1, &realm(10, "strict"), 0);
    give(&mut h, 2, &realm(11, "trial"), 0);
    assert_eq!(by(&h, 1), Some(("strict", false, 11)));
    assert_eq!(by(&h, 2), Some(("trial", false, 11)));
    let realms: Vec<_> = h.policies().map(|p| p.realm.as_str()).collect();
    assert_eq!(realms, ["trial", "strict", "trial"]);
    give(&mut h, 2, &realm(15, "trial"), 0);
    let Lookup::Found(entry) = h.decides(1).unwrap().lookup(&digest(1).prefix()) else {
        panic!("the key is lost");
    };
    assert!(entry.revoked, "on the other listener, too");
    assert!(h.end(1));
    assert_eq!(by(&h, 1), None);
    assert!(!h.end(2));
}

#[test]
fn while_room_is_made_no_listener_has_anything_to_decide_by() {
    let mut h = Holding::default();
    give(&mut h, 1, &realm(10, "strict"), 0);
    h.make_room(&announced(12, 1 << 30), 0);
    assert_eq!(h.decides(1).err(), Some(Unavailable::None));
    give(&mut h, 2, &realm(12, "strict"), 0);
    assert_eq!(by(&h, 1), Some(("strict", false, 12)));
}

/// Envoy keeps a root for its streams: that one has a keyset here does not make it anybody's own.
#[test]
fn a_keyset_that_is_here_is_no_ones_own_unless_that_is_known() {
    let mut h = Holding::default();
    give(&mut h, 1, &realm(10, "older"), 0);
    give(&mut h, 2, &realm(11, "newest"), 11);
    assert_eq!(give(&mut h, 3, &realm(10, "older"), 11), Arrival::Older(11));
    assert_eq!(by(&h, 3), Some(("older", true, 11)));
    assert_eq!(by(&h, 1), Some(("older", false, 11)));
    h.end(1);
    let known = realm(10, "older").seal_raw(&key(), 1);
    let keys = SigningKeys::new(vec![key()]);
    let artefact = Artefact::load(&mut &known[..], &keys, |_| {}).ok().unwrap();
    assert_eq!(h.configure(4, artefact, 11, true), Arrival::Older(11));
    assert_eq!(by(&h, 4), Some(("older", false, 11)));
}

#[test]
fn a_listener_that_steps_back_opens_nothing_from_then_on_that_the_newest_policy_does_not() {
    let mut h = Holding::default();
    let (ten, eleven) = (realm(10, "older"), realm(11, "newer"));
    give(&mut h, 1, &ten, 0);
    assert_eq!(h.alone(1), None, "it is the newest");
    give(&mut h, 2, &eleven, 11);
    assert_eq!(h.alone(1), Some(Base::from_built(&ten).unwrap().name()));
    assert_eq!(h.alone(2), None);
    // In the moment in which it keeps its keys, too.
    h.step_back(1);
    assert_eq!(by(&h, 1), Some(("older", true, 11)));
    assert_eq!((h.alone(1), h.own(1)), (None, None));
    give(&mut h, 3, &realm(12, "newest"), 11);
    let i = h.decides(1).unwrap();
    let also = i.also().map(|also| also.policy().realm.as_str());
    assert_eq!((i.policy().realm.as_str(), also), ("older", Some("newest")));
}

#[test]
fn an_older_file_opens_nothing_that_the_newest_policy_does_not() {
    let mut h = Holding::default();
    give(&mut h, 2, &realm(11, "newest"), 0);
    assert_eq!(give(&mut h, 1, &realm(10, "older"), 11), Arrival::Older(11));
    assert_eq!(by(&h, 1), Some(("older", true, 11)));
    h.end(2);
    assert_eq!(by(&h, 1), Some(("older", true, 11)));
    give(&mut h, 1, &realm(12, "renewed"), 11);
    assert_eq!(by(&h, 1), Some(("renewed", false, 12)));
}

#[test]
fn a_keyset_is_a_listeners_own_while_it_has_it_and_opens_nothing_by_its_age() {
    let mut h = Holding::default();
    let (ten, eleven) = (realm(10, "older"), realm(11, "newest"));
    let names = [&ten, &eleven].map(|built| Base::from_built(built).unwrap().name().clone());
    assert!(!h.has(&names[0]) && !h.has(&names[1]));
    give(&mut h, 2, &eleven, 0);
    give(&mut h, 1, &ten, 11);
    assert_eq!(
        [h.own(1), h.own(2), h.own(3)],
        [None, Some(&names[1]), None]
    );
    assert!(h.has(&names[0]) && h.has(&names[1]));
    h.end(1);
    assert!(!h.has(&names[0]) && h.has(&names[1]));
}

#[test]
fn base_and_overlay_decide_by_their_own_policy_beside_a_third_listener() {
    let mut h = Holding::default();
    let theirs = of_realm(10, "pair");
    let over = Base::from_built(&build(&theirs).unwrap()).unwrap();
    let overlay = |version| build_overlay(&of_realm(version, "pair"), &over).unwrap();
    give(&mut h, 1, &realm(10, "pair"), 0);
    give(&mut h, 2, &overlay(12), 0);
    assert_eq!(by(&h, 2), Some(("pair", false, 12)));
    give(&mut h, 3, &realm(13, "open"), 0);
    assert_eq!(by(&h, 2), Some(("pair", false, 13)));
    assert_eq!(by(&h, 3), Some(("open", false, 13)));
    // Its base's keys made room for the third listener's; its policy is still here.
    assert_eq!(give(&mut h, 4, &overlay(16), 13), Arrival::WithoutBase);
    h.end(2);
    assert_eq!(by(&h, 4), Some(("pair", false, 13)));
    assert_eq!(give(&mut h, 1, &realm(10, "pair"), 13), Arrival::InForce);
    assert_eq!(by(&h, 4), Some(("pair", false, 16)));
    assert_eq!(by(&h, 3), Some(("open", false, 16)));
}

#[test]
fn an_overlay_whose_base_was_never_here_is_not_decided_about_by_a_stranger() {
    let mut h = Holding::default();
    give(&mut h, 1, &realm(10, "strict"), 0);
    give(&mut h, 2, &realm(11, "open"), 0);
    let over = Base::from_built(&realm(12, "pair")).unwrap();
    let overlay = build_overlay(&of_realm(13, "pair"), &over).unwrap();
    assert_eq!(give(&mut h, 3, &overlay, 0), Arrival::WithoutBase);
    assert_eq!(by(&h, 3), None);
    give(&mut h, 4, &realm(12, "pair"), 0);
    assert_eq!(by(&h, 3), Some(("pair", false, 13)));
    assert_eq!(by(&h, 1), Some(("strict", false, 13)));
}

/// That one lets in only what the newest policy also allows.
#[test]
fn an_overlay_that_waits_in_the_place_of_an_older_one_opens_no_more_than_that() {
    let mut h = Holding::default();
    let pair = realm(10, "pair");
    let over = Base::from_built(&pair).unwrap();
    give(&mut h, 1, &pair, 0);
    give(&mut h, 2, &realm(12, "newest"), 0);
    let older = build_overlay(&of_realm(11, "pair"), &over).unwrap();
    assert_eq!(give(&mut h, 3, &older, 12), Arrival::Older(12));
    assert_eq!(by(&h, 3), Some(("pair", true, 12)));
    let over = Base::from_built(&realm(13, "other")).unwrap();
    let waits = build_overlay(&of_realm(14, "other"), &over).unwrap();
    assert_eq!(give(&mut h, 4, &waits, 12), Arrival::WithoutBase);
    assert_eq!(by(&h, 4), Some(("pair", true, 12)));
    give(&mut h, 5, &realm(13, "other"), 12);
    assert_eq!(by(&h, 4), Some(("other", false, 14)));
}

/// A root that is replaced serves a moment longer. What it serves by is what one push brought,
/// less what the newest takes away.
#[test]
fn a_listener_keeps_its_keys_until_it_settles_and_hears_of_revocations_at_once() {
    let scoped = |version: u64, scope: &str, revoked: bool| {
        let mut content = of_realm(version, scope);
        for row in &mut content.rows {
            row.scopes = vec![scope.to_owned()];
            row.revoked = revoked;
        }
        build(&content).unwrap()
    };
    let entry = |h: &Holding| {
        let i = h.decides(1).unwrap();
        match i.lookup(&digest(1).prefix()) {
            Lookup::Found(entry) => Some((
                i.scopes()[usize::from(entry.scopes().next().unwrap())].clone(),
                entry.revoked,
            )),
            _ => None,
        }
    };
    let mut h = Holding::default();
    give(&mut h, 1, &scoped(1, "old", false), 0);
    give(&mut h, 2, &scoped(2, "new", false), 0);
    assert_eq!(entry(&h), Some(("old".to_owned(), false)));
    give(&mut h, 3, &scoped(3, "new", true), 0);
    assert_eq!(entry(&h), Some(("old".to_owned(), true)));
    h.settle();
    assert_eq!(entry(&h), Some(("new".to_owned(), true)));
    let mut without = of_realm(4, "new");
    without.rows.clear();
    give(&mut h, 2, &build(&without).unwrap(), 0);
    assert_eq!(entry(&h), None, "what newer keys do not know is closed");
}
