//! Any edits, over any base.

use super::*;

/// A change to a key: what any of the companion's verbs may do.
#[derive(Clone, Debug)]
struct Edit {
    pub(super) key: u64,
    flags: [bool; 4],
    times: [Option<u64>; 3],
    pub(super) scopes: Vec<String>,
    gold: Option<bool>,
    pub(super) test: bool,
    nets: Vec<(bool, u32, u8)>,
}

fn edit() -> impl Strategy<Value = Edit> {
    let time = proptest::option::of(T..T + 100);
    (
        0u64..40,
        any::<[bool; 4]>(),
        [time.clone(), time.clone(), time],
        proptest::sample::subsequence(vec!["read:users".to_owned(), "write:users".into()], 0..=2),
        any::<Option<bool>>(),
        any::<bool>(),
        proptest::collection::vec((any::<bool>(), any::<u32>(), 0u8..=32), 0..3),
    )
        .prop_map(|(key, flags, times, scopes, gold, test, nets)| Edit {
            key,
            flags,
            times,
            scopes,
            gold,
            test,
            nets,
        })
}

fn edited(e: &Edit) -> KeyRow {
    let nets = |allow: bool| {
        let side = e.nets.iter().filter(|n| n.0 == allow);
        side.map(|&(_, address, prefix_len)| Network {
            address: std::net::Ipv4Addr::from(address).into(),
            prefix_len,
        })
        .collect()
    };
    KeyRow {
        disabled: e.flags[0],
        revoked: e.flags[1],
        publishable: e.flags[2],
        foreign: e.flags[3],
        expires: e.times[0],
        not_before: e.times[1],
        overlap_end: e.times[2],
        scopes: e.scopes.clone(),
        plan: e.gold.map(|g| if g { "gold" } else { "free" }.to_owned()),
        environment: if e.test { "test" } else { "live" }.parse().unwrap(),
        allow: nets(true),
        deny: nets(false),
        ..row(e.key)
    }
}

fn applied(rows: &mut Vec<KeyRow>, edits: &[Edit]) {
    for e in edits {
        let new = edited(e);
        match rows.iter_mut().find(|r| r.id == new.id) {
            Some(old) => *old = new,
            None => rows.push(new),
        }
    }
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn base_and_overlay_together_say_what_a_keyset_of_the_later_content_says(
        first in proptest::collection::vec(edit(), 0..60),
        later in proptest::collection::vec(edit(), 0..60),
    ) {
        let mut rows = Vec::new();
        applied(&mut rows, &first);
        let base = build(&content(1, rows.clone())).unwrap();
        let mut changed = Vec::new();
        applied(&mut changed, &later);
        applied(&mut rows, &later);
        let whole = InForce::new(keyset(&build(&content(2, rows)).unwrap()));
        let changes = build_overlay(&content(2, changed), &Base::from_built(&base).unwrap()).unwrap();
        let both = InForce::with(keyset(&base), overlay(&changes)).unwrap();
        prop_assert_eq!(both.version(), whole.version());
        prop_assert_eq!(both.not_after(), whole.not_after());
        for n in 0..45 {
            // Nothing here is old enough to be dropped from a keyset but what is revoked
            // and has expired: of that an overlay still says so.
            match (told(&both, n), told(&whole, n)) {
                (Some(_), None) => {
                    let Lookup::Found(e) = both.lookup(&digest(n).prefix()) else {
                        return Err(TestCaseError::fail("found and not found"));
                    };
                    prop_assert!(e.revoked && e.expires.is_some_and(|t| t <= T + 2));
                }
                (both, whole) => prop_assert_eq!(both, whole),
            }
        }
    }

    #[test]
    fn any_changed_byte_of_an_overlay_is_refused_or_corrupts_its_page_alone(
        at: prop::sample::Index, x in 1u8..,
    ) {
        let base = build(&content(1, (0..10).map(row).collect())).unwrap();
        let changed = (0..5).map(|n| KeyRow { revoked: true, ..row(n) });
        let built = build_overlay(&content(2, changed.collect()), &Base::from_built(&base).unwrap()).unwrap();
        let mut bytes = built.seal_raw(&key(), 1);
        let i = at.index(bytes.len());
        bytes[i] ^= x;
        if let Ok(Artefact::Overlay(o)) = load(&bytes) {
            let both = InForce::with(keyset(&base), o).unwrap();
            for n in 0..5 {
                if let Lookup::Found(e) = both.lookup(&digest(n).prefix()) {
                    prop_assert!(e.revoked, "key {} is open again", n);
                }
            }
        }
    }
}
