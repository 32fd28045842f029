//! What a listener decides by: names and numbers of two policies, and what was found corrupt.

use super::*;

fn policed(version: u64, policy: &str, rows: Vec<KeyRow>) -> Arc<Keyset> {
    let content = Content {
        version,
        policy: serde_json::from_str(policy).unwrap(),
        ..content(rows)
    };
    load(sealed(&content).as_bytes()).unwrap().into()
}

/// Plans and scopes have numbers, and each policy has its own.
#[test]
fn plans_and_scopes_of_a_key_are_those_of_the_same_name_under_another_policy() {
    let keys = policed(
        2,
        r#"{"version":1,
            "plans":{"free":{"limits":[{"requests":1,"per":"1m"}]},"gold":{"limits":[{"requests":2,"per":"1m"}]}},
            "routes":[{"path":"/a","scopes":["read:users"]},{"path":"/b","scopes":["write:users"]}]}"#,
        vec![row(1)],
    );
    let older = policed(
        1,
        r#"{"version":1,
            "plans":{"gold":{"limits":[{"requests":7,"per":"1m"}]},"late":{"limits":[{"requests":8,"per":"1m"}]}},
            "routes":[{"path":"/a","scopes":["admin"]},{"path":"/b","scopes":["read:users"]}]}"#,
        vec![],
    );
    let newest = InForce::new(Arc::clone(&keys));
    let by = newest
        .clone()
        .by(&older.rules(), None)
        .beside(newest.clone());
    let also = by.also().unwrap();
    for (view, requests, is_newest) in [(&newest, 2, true), (&by, 7, false), (also, 2, true)] {
        let Lookup::Found(entry) = view.lookup(&digest(1).prefix()) else {
            panic!("the key is lost");
        };
        let plan = view.plan(&entry).unwrap();
        assert_eq!((plan.name, plan.limits[0].requests), ("gold", requests));
        let number = |name: &str| view.policy().scope_number(name);
        let held = ["read:users", "write:users", "admin"]
            .map(|name| number(name).is_some_and(|number| view.holds(&entry, number)));
        assert_eq!(held, [true, false, false]);
        assert_eq!(view.policy_id() == newest.policy_id(), is_newest);
        assert!(view.also().is_none() == is_newest);
    }
    // A plan that the older policy lacks is that of the newest.
    let free = policed(3, POLICY_WITHOUT_GOLD, vec![]);
    let by = newest.clone().by(&free.rules(), None);
    let Lookup::Found(entry) = by.lookup(&digest(1).prefix()) else {
        panic!("the key is lost");
    };
    assert_eq!(by.plan(&entry).unwrap().limits[0].requests, 2);
    assert!(by.also().is_none());
}

const POLICY_WITHOUT_GOLD: &str = r#"{"version":1,"plans":{"free":{"limits":[{"requests":9,"per":"1m"}]}},
    "routes":[{"path":"/a","scopes":["read:users"]}]}"#;

#[test]
fn pages_are_found_corrupt_when_they_are_touched_and_counted_once() {
    let built = build(&content(vec![row(1)])).unwrap();
    let manifest: Manifest = serde_json::from_slice(&built.manifest).unwrap();
    let mut pages = built.pages.clone();
    *pages.last_mut().unwrap() ^= 1;
    for (pages, corrupt) in [(built.pages, 0), (pages, 1)] {
        let in_force = InForce::from(assemble(&manifest, pages).unwrap());
        assert_eq!(in_force.corrupt_pages(), 0);
        for _ in 0..3 {
            let _ = in_force.lookup(&digest(1).prefix());
            assert_eq!(in_force.corrupt_pages(), corrupt);
        }
        assert_eq!(in_force.lens(), (1, 0));
    }
}

#[test]
fn the_first_end_of_keys_and_policy_counts() {
    let keys = |not_after: &str| {
        let policy = format!(r#"{{"version":1,{not_after}"routes":[]}}"#);
        policed(2, &policy, vec![])
    };
    let (hour, never) = (keys(r#""not_after":"1h","#), keys(""));
    let other = policed(1, r#"{"version":1,"realm":"x","routes":[]}"#, vec![]);
    let end = hour.not_after.unwrap();
    for (keys, policy, want) in [
        (&never, None, None),
        (&never, Some(end + 5), Some(end + 5)),
        (&hour, None, Some(end)),
        (&hour, Some(end + 5), Some(end)),
        (&hour, Some(end - 5), Some(end - 5)),
    ] {
        let view = InForce::new(Arc::clone(keys)).by(&other.rules(), policy);
        assert_eq!(view.not_after(), want);
    }
}

type Change = fn(&mut KeyRow);

/// What is said of a key by a base whose overlay waits for its own.
fn seen(here: Change, waiting: Change) -> (bool, bool, Option<u64>, Option<u64>) {
    let [mut old, mut new] = [row(1), row(1)];
    here(&mut old);
    waiting(&mut new);
    let over = Base::from_built(&build(&content(vec![row(1)])).unwrap()).unwrap();
    let changes = Content {
        version: 44,
        ..content(vec![new])
    };
    let sealed = build_overlay(&changes, &over)
        .unwrap()
        .seal(&signing_key("new", 2), 0);
    let Ok(Artefact::Overlay(overlay)) = Artefact::load(&mut sealed.as_bytes(), &keys(), |_| {})
    else {
        panic!("an overlay");
    };
    let base = load(sealed_keyset(old).as_bytes()).unwrap();
    let in_force = InForce::from(base).under([overlay].into());
    let Lookup::Found(e) = in_force.lookup(&digest(1).prefix()) else {
        panic!("the key is lost");
    };
    (e.revoked, e.disabled, e.expires, e.overlap_end)
}

/// An overlay that waits for its base closes what it closes at once, and opens nothing.
#[test]
fn what_a_newer_overlay_takes_away_is_gone_and_what_it_gives_is_not_here_yet() {
    const LATE: u64 = 20_000_000;
    const EARLY: u64 = 19_000_000;
    let open = (false, false, None, None);
    assert_eq!(seen(|_| {}, |_| {}), open);
    assert_eq!(
        seen(|_| {}, |r| r.revoked = true),
        (true, false, None, None)
    );
    assert_eq!(
        seen(|_| {}, |r| r.disabled = true),
        (false, true, None, None)
    );
    assert_eq!(
        seen(|r| r.disabled = true, |_| {}),
        (false, true, None, None)
    );
    let set: [(Change, Change, u64); 4] = [
        (|_| {}, |r| r.expires = Some(LATE), LATE),
        (|r| r.expires = Some(LATE), |_| {}, LATE),
        (
            |r| r.expires = Some(EARLY),
            |r| r.expires = Some(LATE),
            EARLY,
        ),
        (
            |r| r.expires = Some(LATE),
            |r| r.expires = Some(EARLY),
            EARLY,
        ),
    ];
    for (here, waiting, end) in set {
        assert_eq!(seen(here, waiting), (false, false, Some(end), None));
    }
    let set: [(Change, Change, u64); 3] = [
        (|_| {}, |r| r.overlap_end = Some(LATE), LATE),
        (
            |r| r.overlap_end = Some(EARLY),
            |r| r.overlap_end = Some(LATE),
            EARLY,
        ),
        (
            |r| r.overlap_end = Some(LATE),
            |r| r.overlap_end = Some(EARLY),
            EARLY,
        ),
    ];
    for (here, waiting, end) in set {
        assert_eq!(seen(here, waiting), (false, false, None, Some(end)));
    }
}

fn sealed_keyset(row: KeyRow) -> String {
    sealed(&content(vec![row]))
}
