//! Whatever the order of pushes, the newest word about a key counts.

use super::*;
use crate::keyset::{Entry, SigningKey};

const KEYS: u64 = 4;
const FIRST: u64 = 10;

/// What happens to a key in one version of the store.
#[derive(Clone, Copy, Debug)]
enum Event {
    Revoked,
    Disabled,
    Enabled,
    Ends(u64),
    Endless,
}

/// One event per version after [`FIRST`].
type History = Vec<(u64, Event)>;

fn rows(history: &History, version: u64) -> Vec<KeyRow> {
    let mut rows: Vec<_> = (0..KEYS).map(row).collect();
    for (key, event) in history.iter().take((version - FIRST) as usize) {
        let row = &mut rows[*key as usize];
        match event {
            Event::Revoked => row.revoked = true,
            Event::Disabled => row.disabled = true,
            Event::Enabled => row.disabled = false,
            Event::Ends(at) => row.expires = Some(20_000_000 + at),
            Event::Endless => row.expires = None,
        }
    }
    rows
}

/// The keys that an artefact speaks of: all, or those that changed since its base.
fn spoken_of(history: &History, version: u64, over: Option<u64>) -> Vec<u64> {
    match over {
        None => (0..KEYS).collect(),
        Some(base) => {
            let since = &history[(base - FIRST) as usize..(version - FIRST) as usize];
            let mut keys: Vec<_> = since.iter().map(|(key, _)| *key).collect();
            keys.sort_unstable();
            keys.dedup();
            keys
        }
    }
}

fn artefact(history: &History, version: u64, over: Option<u64>) -> Built {
    let all = rows(history, version);
    match over {
        None => build(&content(version, all)).unwrap(),
        Some(base) => {
            let under = build(&content(base, rows(history, base))).unwrap();
            let keys = spoken_of(history, version, over);
            let changed = keys.iter().map(|k| all[*k as usize].clone()).collect();
            build_overlay(
                &content(version, changed),
                &Base::from_built(&under).unwrap(),
            )
            .unwrap()
        }
    }
}

/// What becomes of the room that a push makes.
#[derive(Clone, Copy, Debug)]
enum Room {
    /// It is small.
    None,
    /// It is large.
    Made,
    /// It is large, and its pages turn out not to be what was signed.
    MadeInVain,
}

#[derive(Clone, Debug)]
enum Act {
    Push(u32, u64, Option<prop::sample::Index>, Room),
    /// Another VM has something as new as this, counted from what is in force.
    Floor(u64),
    Settle,
    End(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let room =
        prop_oneof![3 => Just(Room::None), 1 => Just(Room::Made), 1 => Just(Room::MadeInVain)];
    let push = (
        0..3u32,
        FIRST..FIRST + 16,
        any::<Option<prop::sample::Index>>(),
        room,
    );
    prop_oneof![
        12 => push.prop_map(|(id, version, over, room)| Act::Push(id, version, over, room)),
        1 => (0..4u64).prop_map(Act::Floor),
        2 => Just(Act::Settle),
        1 => (0..3u32).prop_map(Act::End),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Revoked),
        3 => Just(Event::Disabled),
        2 => Just(Event::Enabled),
        2 => (0..100u64).prop_map(Event::Ends),
        1 => Just(Event::Endless),
    ]
}

/// As the filter does it. `None` if the artefact turned out to be damaged.
fn give(h: &mut Holding, id: u32, built: &Built, floor: u64, room: Room) -> Option<Arrival> {
    let bytes = built.seal_raw(&key() as &SigningKey, 1);
    let keys = SigningKeys::new(vec![key()]);
    let artefact = Artefact::load(&mut &bytes[..], &keys, |signed| match room {
        Room::None => h.make_room(signed, floor),
        Room::Made | Room::MadeInVain => h.let_go(signed, floor),
    });
    let artefact = artefact.ok().unwrap();
    (!matches!(room, Room::MadeInVain)).then(|| h.configure(id, artefact, floor, false))
}

/// Whether an entry is at least as closed as a row says.
fn is_no_wider(entry: &Entry<'_>, row: &KeyRow) -> bool {
    let ends = row
        .expires
        .is_none_or(|at| entry.expires.is_some_and(|e| e <= at));
    (entry.revoked || entry.disabled || !(row.revoked || row.disabled)) && ends
}

/// The naive model: everything that was ever seen, and the newest of it that speaks of a key.
#[derive(Default)]
struct Seen(Vec<(u64, Option<u64>)>);

impl Seen {
    fn newest_about(&self, history: &History, key: u64) -> Option<u64> {
        let speaks = |(version, over): &&(u64, Option<u64>)| {
            spoken_of(history, *version, *over).contains(&key)
        };
        self.0
            .iter()
            .filter(speaks)
            .map(|(version, _)| *version)
            .max()
    }
}

fn check(h: &Holding, history: &History, seen: &Seen) -> Result<(), TestCaseError> {
    let newest = seen.0.iter().map(|(version, _)| *version).max();
    for key in 0..KEYS {
        let Some(version) = seen.newest_about(history, key) else {
            continue;
        };
        let row = &rows(history, version)[key as usize];
        for id in 0..3 {
            if let Ok(view) = h.decides(id)
                && let Lookup::Found(entry) = view.lookup(&digest(key).prefix())
            {
                let word = format!("listener {id}, key {key}, as version {version} has it");
                prop_assert!(is_no_wider(&entry, row), "{word}");
            }
        }
        if let Some(i) = h.in_force()
            && Some(i.version()) == newest
            && let Lookup::Found(entry) = i.lookup(&digest(key).prefix())
        {
            let now = &rows(history, i.version())[key as usize];
            let are = (entry.revoked, entry.disabled, entry.expires);
            prop_assert_eq!(are, (now.revoked, now.disabled, now.expires));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..crate::seeded() })]

    /// A keyset that is older than the floor is not seen: it is refused as a whole, unless it
    /// comes in force with an overlay that waits for it.
    #[test]
    fn no_listener_lets_in_what_the_newest_artefact_that_speaks_of_it_closes(
        history in proptest::collection::vec((0..KEYS, event()), 16),
        acts in proptest::collection::vec(act(), 1..30),
    ) {
        let (mut h, mut seen, mut floor) = (Holding::default(), Seen::default(), 0);
        for act in acts {
            let before = h.version();
            match act {
                Act::Push(id, version, over, room) => {
                    let over = over.map(|i| FIRST + i.index((version - FIRST + 1) as usize) as u64);
                    let built = artefact(&history, version, over);
                    let taken = give(&mut h, id, &built, floor, room);
                    let is_below = over.is_none() && version < floor && taken != Some(Arrival::InForce);
                    if taken.is_some() && !is_below {
                        seen.0.push((version, over));
                    }
                }
                Act::Floor(ahead) => floor = floor.max(h.version() + ahead),
                Act::Settle => h.settle(),
                Act::End(id) => _ = h.end(id),
            }
            let now = h.version();
            prop_assert!(now == 0 || now == before || now >= floor, "{now} under {floor}");
            check(&h, &history, &seen)?;
            // The host raises it with every version that comes in force.
            floor = floor.max(now);
        }
    }
}

/// The history of one key that is revoked in version 12.
fn revoked_in_12() -> History {
    let mut history = vec![(1, Event::Enabled); 30];
    history[1] = (0, Event::Revoked);
    history
}

fn closed(h: &Holding) -> Option<bool> {
    match h.decides(1).ok()?.lookup(&digest(0).prefix()) {
        Lookup::Found(entry) => Some(entry.revoked),
        _ => None,
    }
}

#[test]
fn a_waiting_overlay_that_gives_way_to_one_over_a_later_base_is_heeded_on() {
    let history = revoked_in_12();
    let push = |h: &mut Holding, version, over| {
        give(h, 1, &artefact(&history, version, over), 10, Room::None)
    };
    let mut h = Holding::default();
    push(&mut h, 10, None);
    assert_eq!(push(&mut h, 12, Some(11)), Some(Arrival::WithoutBase));
    assert_eq!(closed(&h), Some(true));
    push(&mut h, 15, Some(14));
    assert_eq!((closed(&h), state(&h)), (Some(true), (10, 10, 15)));
    push(&mut h, 11, Some(10));
    assert_eq!((closed(&h), state(&h)), (Some(true), (11, 10, 15)));
    push(&mut h, 14, None);
    assert_eq!((closed(&h), state(&h)), (Some(true), (15, 14, 0)));
    assert!(h.heeded.is_empty());
}

#[test]
fn an_overlay_that_says_nothing_new_takes_no_newer_ones_place() {
    let history = revoked_in_12();
    let push = |h: &mut Holding, version, over| {
        give(h, 1, &artefact(&history, version, over), 10, Room::None)
    };
    let mut h = Holding::default();
    push(&mut h, 11, None);
    push(&mut h, 15, Some(14));
    assert_eq!(push(&mut h, 11, Some(10)), Some(Arrival::InForce));
    assert_eq!(state(&h), (11, 11, 15));
    push(&mut h, 14, None);
    assert_eq!(state(&h), (15, 14, 0));
}

#[test]
fn an_older_overlay_that_comes_late_is_heeded_too() {
    let history = revoked_in_12();
    for floor in [10, 14] {
        let mut h = Holding::default();
        let mut push = |version, over, floor| {
            give(
                &mut h,
                1,
                &artefact(&history, version, over),
                floor,
                Room::None,
            )
        };
        push(10, None, 10);
        push(15, Some(14), 10);
        push(13, Some(11), floor);
        assert_eq!(
            (closed(&h), state(&h)),
            (Some(true), (10, 10, 15)),
            "{floor}"
        );
    }
}

#[test]
fn more_overlays_than_can_be_kept_close_until_what_is_as_new_arrives() {
    let history = revoked_in_12();
    let push = |h: &mut Holding, version, over| {
        give(h, 1, &artefact(&history, version, over), 10, Room::None)
    };
    let mut h = Holding::default();
    push(&mut h, 10, None);
    for version in 12..12 + MAX_HEEDED as u64 {
        push(&mut h, version, Some(version - 1));
        assert_eq!(closed(&h), Some(true), "{version}");
    }
    let last = 12 + MAX_HEEDED as u64;
    push(&mut h, last, Some(last - 1));
    assert_eq!((closed(&h), state(&h)), (None, (0, 0, last)));
    assert_eq!(push(&mut h, last - 2, None), Some(Arrival::Older(last)));
    assert_eq!(closed(&h), None);
    push(&mut h, last - 1, None);
    assert_eq!((closed(&h), state(&h)), (Some(true), (last, last - 1, 0)));
}
