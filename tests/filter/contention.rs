//! Buckets that several workers take from at once. Envoy's workers interleave as they like; here the test chooses.

use serde_json::json;

use crate::fixture::{Edge, Store, by_header};
use crate::host::{Process, Status};

const CONTENDED: &str = "keystile_contended_buckets_total";

/// The level of the only rule that is stored; who has paid there may follow.
fn level(value: &[u8]) -> u64 {
    let Some((_, [level, ..])) = value.as_chunks::<8>().0.split_at_checked(3) else {
        panic!("{} bytes", value.len());
    };
    u64::from_be_bytes(*level)
}

/// The level of a rule of so many requests, in so many seconds, with such a burst.
fn stored_level(rule: [u64; 3], level: u64) -> Vec<u8> {
    let numbers = rule.into_iter().chain([level]);
    numbers.flat_map(u64::to_be_bytes).collect()
}

/// Lost swaps after which the filter gives up.
const TRIES: u32 = 64;

#[test]
fn a_limit_of_n_admits_exactly_n_over_several_vms_in_any_order() {
    for seed in 1..=6u32 {
        let (store, key) = Store::limited(
            json!([{"requests": 50, "per": "1m"}, {"requests": 70, "per": "1h", "by": "client"}]),
        );
        let process = Process::new();
        let mut vms: Vec<Edge> = (0..4).map(|_| Edge::beside(&process, &store)).collect();
        let mut state = seed;
        let admitted = (0..90).filter(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let vm = (state >> 24) as usize % vms.len();
            vms[vm].code(&key) == "ok"
        });
        assert_eq!(admitted.count(), 50, "seed {seed}");
    }
}

#[test]
fn lost_swaps_are_made_up_for() {
    let (store, key) = Store::limited(json!([{"requests": 5, "per": "1m"}]));
    let mut edge = Edge::start(&store);
    edge.tick();
    for lost in [1, 2, TRIES - 1, 1, 1] {
        edge.process.borrow_mut().lose_swaps = lost;
        assert_eq!(edge.code(&key), "ok", "{lost} lost");
    }
    assert_eq!(edge.code(&key), "rate_limited", "each was charged once");
    assert_eq!(edge.counter(CONTENDED), 0);
}

#[test]
fn after_too_many_lost_swaps_a_request_is_refused_and_never_let_in() {
    let (store, key) = Store::limited(json!([{"requests": 5, "per": "1m"}]));
    let mut edge = Edge::start(&store);
    edge.tick();
    edge.process.borrow_mut().lose_swaps = u32::MAX;
    let answer = edge.ask(&by_header(&key));
    assert_eq!(answer.code(), "rate_limited");
    assert_eq!(answer.reply().status, 429);
    assert_eq!(answer.field("retry-after").as_deref(), Some("1"));
    assert!(!answer.passes_guard());
    assert_eq!(edge.counter(CONTENDED), 1);
    assert_eq!(edge.buckets(), []);
    let tried = u32::MAX - edge.process.borrow().lose_swaps;
    assert_eq!(tried, TRIES);
    edge.process.borrow_mut().lose_swaps = 0;
    assert_eq!(edge.code(&key), "ok");
}

/// Another worker takes a token just before each of our swaps: what it takes and what we admit is never more than
/// the limit.
#[test]
fn a_rival_who_takes_between_look_and_swap_makes_nobody_admit_too_much() {
    for stride in 1..=4 {
        let (store, key) = Store::limited(json!([{"requests": 60, "per": "1m", "burst": 20}]));
        let mut edge = Edge::start(&store);
        let now = edge.process.borrow().monotonic;
        let (second, full) = (1_000_000_000, now + 20 * 1_000_000_000);
        let taken = std::rc::Rc::new(std::cell::Cell::new(0));
        let (theirs, mut calls) = (taken.clone(), 0);
        edge.process.borrow_mut().rival = Some(Box::new(move |key, value| {
            calls += 1;
            if !key.starts_with(b"keystile/l/") || calls % stride != 0 {
                return None;
            }
            let stored = value.map_or(0, level);
            let after = stored.max(now) + second;
            (after <= full).then(|| {
                theirs.set(theirs.get() + 1);
                stored_level([60, 60, 20], after)
            })
        }));
        let ours = (0..40).filter(|_| edge.code(&key) == "ok").count();
        assert_eq!(ours + taken.get(), 20, "every {stride}. swap");
    }
}

/// With a limit to each side, what was taken from the first is given back when a rival empties the second.
#[test]
fn what_was_taken_is_given_back_when_a_rival_empties_the_next_bucket() {
    let limits = json!([{"requests": 60, "per": "1m", "burst": 10}, {"requests": 1, "per": "1h", "by": "client"}]);
    let (store, key) = Store::limited(limits);
    let mut edge = Edge::start(&store);
    let now = edge.process.borrow().monotonic;
    edge.process.borrow_mut().rival = Some(Box::new(move |key, value| {
        let clients = key.get(19) == Some(&b'c');
        let empty = now + 3600 * 1_000_000_000;
        (clients && value.is_none()).then(|| stored_level([1, 3600, 1], empty))
    }));
    assert_eq!(edge.code(&key), "rate_limited");
    edge.process.borrow_mut().rival = None;
    for (name, value) in edge.buckets() {
        let level = level(&value);
        let expected = if name[19] == b'c' {
            now + 3600 * 1_000_000_000
        } else {
            now
        };
        assert!(level == expected, "{}: {level}, not {expected}", name[19]);
    }
}

#[test]
fn the_first_swap_of_a_new_bucket_may_be_lost_too() {
    let (store, key) = Store::limited(json!([{"requests": 2, "per": "1m", "burst": 2}]));
    let mut edge = Edge::start(&store);
    let now = edge.process.borrow().monotonic;
    edge.process.borrow_mut().rival = Some(Box::new(move |_, value| {
        value
            .is_none()
            .then(|| stored_level([2, 60, 2], now + 30_000_000_000))
    }));
    assert_eq!(
        edge.code(&key),
        "ok",
        "the second of two: the rival was first"
    );
    assert_eq!(edge.code(&key), "rate_limited");
}

#[test]
fn foreign_bytes_under_our_name_refuse_and_are_not_reset() {
    let (store, key) = Store::limited(json!([{"requests": 5, "per": "1m"}]));
    let mut edge = Edge::start(&store);
    assert_eq!(edge.code(&key), "ok");
    let name = edge.buckets()[0].0.clone();
    for foreign in [&b""[..], b"1", b"1234567", b"123456789", &[0; 64]] {
        edge.process.borrow_mut().set_shared_data(&name, foreign, 0);
        let answer = edge.ask(&by_header(&key));
        assert_eq!(answer.code(), "rate_limited", "{} bytes", foreign.len());
        assert_eq!(answer.field("retry-after").as_deref(), Some("1"));
        assert_eq!(edge.buckets(), [(name.clone(), foreign.to_vec())]);
    }
    assert_eq!(edge.counter(CONTENDED), 5);
}

#[test]
fn shared_data_that_cannot_be_read_or_written_refuses() {
    let (store, key) = Store::limited(json!([{"requests": 5, "per": "1m"}]));
    for name in ["proxy_get_shared_data", "proxy_set_shared_data"] {
        for status in [
            Status::InternalFailure,
            Status::BadArgument,
            Status::Unimplemented,
        ] {
            let mut edge = Edge::start(&store);
            edge.process.borrow_mut().fail_next(name, status, u32::MAX);
            assert_eq!(edge.code(&key), "rate_limited", "{name}: {status:?}");
            assert_eq!(edge.buckets(), []);
        }
    }
}

#[test]
fn buckets_are_made_for_valid_keys_only() {
    let (mut store, key) = Store::limited(json!([{"requests": 5, "per": "1m"}]));
    let strangers: Vec<String> = (0..50)
        .map(|_| store.issue_as("x", |row| row.plan = Some("p".to_owned())))
        .collect();
    store.rows.truncate(1);
    let mut edge = Edge::start(&store);
    for stranger in &strangers {
        edge.code(stranger);
    }
    assert_eq!(edge.buckets(), []);
    edge.code(&key);
    assert_eq!(edge.buckets().len(), 1, "shared data knows no deletion");
}
