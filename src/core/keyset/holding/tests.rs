use proptest::prelude::*;

use super::*;
use crate::keyset::overlay::tests::{content, digest, key, row};
use crate::keyset::{Base, Built, KeyRow, Lookup, SigningKeys, build, build_overlay};

/// The keyset of a version: one key, revoked from version 15 on.
fn base(version: u64) -> Built {
    build(&content(version, vec![at(version)])).unwrap()
}

fn at(version: u64) -> KeyRow {
    KeyRow {
        revoked: version >= 15,
        ..row(1)
    }
}

fn overlay(version: u64, over: u64) -> Built {
    let base = Base::from_built(&base(over)).unwrap();
    build_overlay(&content(version, vec![at(version)]), &base).unwrap()
}

/// As the filter does it: room is made while it is loaded.
fn push(holding: &mut Holding, built: &Built, floor: u64) -> Arrival {
    let bytes = built.seal_raw(&key(), 1);
    let keys = SigningKeys::new(vec![key()]);
    let artefact = Artefact::load(&mut &bytes[..], &keys, |signed| {
        holding.make_room(signed, floor);
    });
    holding.take(artefact.ok().unwrap(), floor)
}

/// The version in force, that of the base, and that of the overlay that waits.
fn state(h: &Holding) -> (u64, u64, u64) {
    let base = h.in_force().map_or(0, |i| i.base().version);
    (h.version(), base, h.waiting().map_or(0, |w| w.version))
}

#[test]
fn a_base_and_then_its_overlay_come_in_force_one_after_the_other() {
    let mut h = Holding::default();
    assert_eq!(push(&mut h, &base(10), 0), Arrival::InForce);
    assert_eq!(state(&h), (10, 10, 0));
    assert_eq!(push(&mut h, &overlay(12, 10), 0), Arrival::InForce);
    assert_eq!(state(&h), (12, 10, 0));
}

#[test]
fn an_overlay_before_its_base_waits_and_nothing_is_in_force() {
    let mut h = Holding::default();
    assert_eq!(push(&mut h, &overlay(12, 10), 0), Arrival::WithoutBase);
    assert_eq!(state(&h), (0, 0, 12));
    assert_eq!(h.report().unwrap().cluster, "control");
    assert_eq!(push(&mut h, &base(10), 0), Arrival::InForce);
    assert_eq!(state(&h), (12, 10, 0));
}

#[test]
fn a_base_below_the_floor_comes_in_force_with_an_overlay_alone() {
    let mut h = Holding::default();
    assert!(!h.lies_ready());
    assert_eq!(push(&mut h, &base(10), 12), Arrival::Older(12));
    assert_eq!((state(&h), h.base_version()), ((0, 0, 0), 10));
    assert!(h.lies_ready());
    assert_eq!(push(&mut h, &overlay(11, 10), 12), Arrival::Older(12));
    assert_eq!(push(&mut h, &overlay(12, 10), 12), Arrival::InForce);
    assert_eq!(state(&h), (12, 10, 0));
    assert!(!h.lies_ready());
    let mut h = Holding::default();
    assert_eq!(push(&mut h, &overlay(12, 10), 12), Arrival::WithoutBase);
    assert_eq!(push(&mut h, &base(10), 12), Arrival::InForce);
    assert_eq!(state(&h), (12, 10, 0));
}

#[test]
fn the_same_base_again_leaves_its_overlay_in_force() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    push(&mut h, &overlay(15, 10), 0);
    for floor in [0, 15, 20] {
        assert_eq!(push(&mut h, &base(10), floor), Arrival::InForce);
        assert_eq!(state(&h), (15, 10, 0), "floor {floor}");
    }
}

#[test]
fn a_newer_base_stands_alone_until_its_own_overlay_comes() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    push(&mut h, &overlay(15, 10), 0);
    assert_eq!(push(&mut h, &base(20), 15), Arrival::InForce);
    assert_eq!(state(&h), (20, 20, 0));
    assert_eq!(push(&mut h, &overlay(19, 10), 15), Arrival::Older(20));
    assert_eq!(push(&mut h, &overlay(21, 10), 15), Arrival::WithoutBase);
    assert_eq!(state(&h), (20, 20, 21));
    assert_eq!(push(&mut h, &overlay(22, 20), 15), Arrival::InForce);
    assert_eq!(state(&h), (22, 20, 0));
}

#[test]
fn while_a_new_base_is_on_its_way_what_is_in_force_stays() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    push(&mut h, &overlay(15, 10), 0);
    assert_eq!(push(&mut h, &overlay(21, 20), 15), Arrival::WithoutBase);
    assert_eq!(state(&h), (15, 10, 21));
    assert_eq!(push(&mut h, &base(20), 15), Arrival::InForce);
    assert_eq!(state(&h), (21, 20, 0), "together");
}

#[test]
fn an_overlay_of_another_base_that_says_nothing_newer_misses_none() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    push(&mut h, &overlay(20, 10), 0);
    assert_eq!(push(&mut h, &overlay(20, 20), 20), Arrival::InForce);
    assert_eq!(state(&h), (20, 10, 0));
    assert_eq!(push(&mut h, &base(20), 20), Arrival::InForce);
    assert_eq!(state(&h), (20, 20, 0));
}

#[test]
fn a_base_older_than_what_is_in_force_comes_with_the_overlay_that_went_before_it() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    push(&mut h, &overlay(20, 10), 0);
    assert_eq!(push(&mut h, &overlay(20, 15), 20), Arrival::InForce);
    assert_eq!(state(&h), (20, 10, 0));
    assert_eq!(push(&mut h, &base(15), 20), Arrival::InForce);
    assert_eq!(state(&h), (20, 15, 0));
}

#[test]
fn an_older_base_is_not_taken_and_not_kept_beside_what_is_in_force() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    push(&mut h, &overlay(15, 10), 0);
    assert_eq!(push(&mut h, &base(12), 0), Arrival::Older(15));
    assert_eq!((state(&h), h.base_version()), ((15, 10, 0), 10));
}

#[test]
fn of_two_overlays_that_wait_the_newer_is_kept_and_no_older_base_opens_before_it() {
    let mut h = Holding::default();
    push(&mut h, &overlay(21, 20), 0);
    push(&mut h, &overlay(19, 18), 0);
    assert_eq!(state(&h), (0, 0, 21));
    assert_eq!(push(&mut h, &base(18), 0), Arrival::Older(21));
    assert_eq!(state(&h), (0, 0, 21));
    assert_eq!(push(&mut h, &base(20), 0), Arrival::InForce);
    assert_eq!(state(&h), (21, 20, 0));
}

/// Base 5 lacks what versions 7 and 9 revoked, and the overlay tells of the latter alone.
#[test]
fn an_older_base_does_not_come_in_force_while_a_newer_overlay_waits() {
    let mut h = Holding::default();
    push(&mut h, &overlay(14, 13), 0);
    assert_eq!(push(&mut h, &base(10), 0), Arrival::Older(14));
    assert!(h.in_force().is_none());
    assert_eq!(push(&mut h, &overlay(14, 10), 0), Arrival::InForce);
    assert_eq!(state(&h), (14, 10, 0), "with an overlay of its own it does");
}

#[test]
fn what_a_waiting_overlay_revokes_is_revoked_already() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    let revoked = |h: &Holding| match h.in_force().unwrap().lookup(&digest(1).prefix()) {
        Lookup::Found(entry) => entry.revoked,
        _ => panic!("the key is lost"),
    };
    assert!(!revoked(&h));
    assert_eq!(push(&mut h, &overlay(16, 14), 0), Arrival::WithoutBase);
    assert_eq!(state(&h), (10, 10, 16));
    assert!(revoked(&h));
    push(&mut h, &overlay(11, 10), 0);
    assert_eq!(state(&h), (11, 10, 16));
    assert!(revoked(&h), "also after another push");
}

#[test]
fn an_overlay_that_adds_nothing_to_its_base_takes_no_other_overlays_place() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    push(&mut h, &overlay(20, 10), 0);
    assert_eq!(push(&mut h, &overlay(20, 15), 20), Arrival::InForce);
    assert_eq!(push(&mut h, &overlay(20, 20), 20), Arrival::InForce);
    assert_eq!(push(&mut h, &base(15), 20), Arrival::InForce);
    assert_eq!(state(&h), (20, 15, 0));
}

#[test]
fn of_two_overlays_of_one_base_that_wait_the_newer_says_all() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    let disabled = |h: &Holding| match h.in_force().unwrap().lookup(&digest(1).prefix()) {
        Lookup::Found(entry) => entry.disabled,
        _ => panic!("the key is lost"),
    };
    for (version, is_disabled) in [(12, true), (13, false)] {
        let row = KeyRow {
            disabled: is_disabled,
            ..row(1)
        };
        let over = Base::from_built(&base(11)).unwrap();
        let built = build_overlay(&content(version, vec![row]), &over).unwrap();
        assert_eq!(push(&mut h, &built, 0), Arrival::WithoutBase);
        assert_eq!(disabled(&h), is_disabled, "version {version}");
    }
}

/// Overlays that wait are all heeded while they fit into memory: the newest, and what lies behind.
#[test]
fn where_overlays_that_wait_are_too_large_to_heed_nothing_is_in_force() {
    for (too_much, stays) in [(0, true), (1, false), (1 << 20, false)] {
        let mut h = Holding::default();
        push(&mut h, &base(10), 0);
        let built = overlay(14, 11);
        let manifest = serde_json::from_slice(&built.manifest).unwrap();
        let mut pages = built.pages;
        // Of two pages, which have a mark each.
        pages.reserve_exact(MAX_HEEDED_BYTES + too_much - 2 - pages.len());
        let large = Overlay::new(&manifest, pages).unwrap();
        assert_eq!(large.pages_bytes(), MAX_HEEDED_BYTES + too_much);
        let taken = h.take(Artefact::Overlay(Arc::new(large)), 0);
        assert_eq!(taken, Arrival::WithoutBase);
        assert!(
            h.in_force().is_some(),
            "the newest is kept whatever its size"
        );
        push(&mut h, &overlay(17, 16), 0);
        assert_eq!(h.in_force().is_some(), stays, "{too_much} bytes too much");
    }
}

/// What a base's manifest says of itself, with a heap of so many bytes.
fn announced(version: u64, heap: u32) -> Signed {
    let bytes = base(version).seal_raw(&key(), 1);
    let keys = SigningKeys::new(vec![key()]);
    let mut found = None;
    let loaded = Artefact::load(&mut &bytes[..], &keys, |signed| {
        found = Some(signed.clone());
    });
    assert!(loaded.is_ok());
    let Some(Signed::Keyset(mut manifest, name)) = found else {
        panic!("not a keyset");
    };
    (manifest.keys, manifest.heap) = (0, heap);
    Signed::Keyset(manifest, name)
}

/// Two bases do not fit into memory at once, unless they are small.
#[test]
fn room_is_made_for_a_large_base_that_comes_in_force_and_for_nothing_else() {
    // With the digests of 255 pages, a mebibyte.
    let small = 254 * 4096 + 32;
    assert_eq!(announced(12, small).pages_size().unwrap(), SMALL);
    for (version, heap, floor, stays) in [
        (12, small, 0, true),
        (12, small + 1, 0, false),
        (10, small + 1, 0, false),
        (9, small + 1, 0, true),
        (12, small + 1, 12, false),
        (12, small + 1, 13, true),
    ] {
        let mut h = Holding::default();
        push(&mut h, &base(10), 0);
        h.make_room(&announced(version, heap), floor);
        assert_eq!(h.in_force().is_some(), stays, "{version} {heap} {floor}");
        assert_eq!(h.base_version(), if stays { 10 } else { 0 });
    }
}

#[test]
fn the_base_that_room_was_made_for_comes_in_force_beside_an_overlay_that_waits() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    push(&mut h, &overlay(21, 20), 0);
    h.make_room(&announced(12, 1 << 30), 0);
    assert!(h.in_force().is_none());
    assert_eq!(push(&mut h, &base(12), 0), Arrival::InForce);
    assert_eq!(state(&h), (12, 12, 21));
}

#[test]
fn an_overlay_makes_no_room() {
    let mut h = Holding::default();
    push(&mut h, &base(10), 0);
    let bytes = overlay(12, 10).seal_raw(&key(), 1);
    let keys = SigningKeys::new(vec![key()]);
    let loaded = Artefact::load(&mut &bytes[..], &keys, |signed| {
        let Signed::Overlay(manifest) = signed else {
            panic!("not an overlay");
        };
        let mut manifest = manifest.clone();
        manifest.heap = 1 << 30;
        h.make_room(&Signed::Overlay(manifest), 0);
    });
    assert!(loaded.is_ok());
    assert_eq!(state(&h), (10, 10, 0));
}

proptest! {
    #![proptest_config(crate::seeded())]

    /// Bases and overlays in any order, with a floor that other VMs may have raised.
    #[test]
    fn in_whatever_order_they_come_no_version_goes_back_and_no_revocation_is_undone(
        pushes in proptest::collection::vec((any::<Option<prop::sample::Index>>(), 10u64..20, 0u64..3), 1..20),
    ) {
        let mut h = Holding::default();
        let (mut floor, mut newest) = (0, 0);
        for (over, version, ahead) in pushes {
            let built = match over {
                None => base(version),
                Some(i) => overlay(version, 10 + i.index((version - 9) as usize) as u64),
            };
            let before = h.version();
            let taken = push(&mut h, &built, floor);
            prop_assert!(h.version() >= before);
            prop_assert!(h.version() == before || h.version() >= floor);
            prop_assert!(taken != Arrival::InForce || h.version() >= version);
            prop_assert!(h.waiting().is_none_or(|w| w.version > h.version()));
            // The naive model: the key is revoked if any artefact that was ever here says so.
            newest = newest.max(version);
            if let Some(i) = h.in_force() {
                let Lookup::Found(e) = i.lookup(&digest(1).prefix()) else {
                    return Err(TestCaseError::fail("the key is lost"));
                };
                let (least, most) = (i.version() >= 15, newest >= 15);
                prop_assert!(e.revoked >= least && e.revoked <= most);
                // An overlay names every row that changed, and `at` changes none before 15.
                prop_assert!(e.revoked || h.waiting().is_none_or(|w| w.version < 15));
            }
            floor = floor.max(h.version() + ahead);
        }
    }
}

mod listeners;
mod revocations;
