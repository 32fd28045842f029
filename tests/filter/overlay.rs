//! Base and overlay in two resources: in whatever order they arrive, no revocation is undone, nothing is dropped in a
//! push, and an overlay without its base opens nothing.

use serde_json::json;

use crate::fixture::envelope::{refused, verdict, with};
use crate::fixture::{Edge, Pair, Store, signing_key};
use crate::host::{Headers, Outcome, Process, Request};

const OLDER: &str = "reason=.=older_version;.;keystile_pushes_refused_total";
const WITHOUT_BASE: &str = "keystile:keyset_unavailable:overlay_without_base";

/// A base at version 10 with two keys; the same store at 15, where the first key is revoked and a third is new.
struct Case {
    base: Store,
    later: Store,
    revoked: String,
    stays: String,
    new: String,
}

fn case() -> Case {
    let (mut base, revoked) = Store::small();
    let stays = base.issue("beta");
    base.version = 10;
    let mut later = base.clone();
    later.version = 15;
    later.row(&revoked).revoked = true;
    let new = later.issue("gamma");
    Case {
        base,
        later,
        revoked,
        stays,
        new,
    }
}

impl Case {
    #[track_caller]
    fn holds(&self, pair: &mut Pair) {
        let codes = [&self.revoked, &self.stays, &self.new].map(|key| pair.code(key));
        assert_eq!(codes, ["revoked_api_key", "ok", "ok"]);
    }

    fn overlay(&self) -> Vec<u8> {
        self.later.seal_over(&self.base)
    }

    /// The store some changes later, as a base of its own.
    fn compacted(&self, version: u64) -> Store {
        let mut store = self.later.clone();
        store.version = version;
        store
    }
}

fn gauge(pair: &Pair, name: &str) -> Option<u64> {
    pair.edge.gauge(&format!("vm=.=0;.;{name}"))
}

fn version(pair: &Pair) -> Option<u64> {
    gauge(pair, "keystile_keyset_version")
}

/// As a fresh worker beside a quicker one: the base comes first, and alone it is too old.
#[test]
fn a_base_that_gets_its_overlay_soon_is_no_matter_for_the_log() {
    let case = case();
    let says = |edge: &Edge| edge.process.borrow().logged("version 10 is older than 15");
    let quicker = Pair::start(&case.base, &case.later);
    let mut pair = Pair::new(&quicker.edge.process);
    pair.push_base(&case.base);
    assert_eq!(pair.edge.counter(OLDER), 1);
    pair.push_active(&case.overlay());
    pair.edge.wait(2);
    pair.edge.tick();
    assert!(!says(&pair.edge));

    let mut alone = Edge::beside(&quicker.edge.process, &case.base);
    assert!(!says(&alone), "its overlay may be on its way");
    alone.wait(2);
    alone.tick();
    assert!(says(&alone), "it did not come");
}

#[test]
fn a_key_is_what_the_overlay_says_and_else_what_the_base_says() {
    let case = case();
    let mut pair = Pair::start(&case.base, &case.later);
    case.holds(&mut pair);
    assert_eq!(version(&pair), Some(15));
    assert_eq!(gauge(&pair, "keystile_overlay_without_base"), Some(0));
    assert_eq!(pair.edge.gauge("keystile_keyset_keys"), Some(2));
    assert_eq!(pair.edge.gauge("keystile_overlay_keys"), Some(2));
}

#[test]
fn an_overlay_that_comes_before_its_base_opens_nothing_until_that_comes() {
    let case = case();
    let mut pair = Pair::new(&Process::new());
    pair.push_active(&case.overlay());
    pair.edge.tick();
    for key in [&case.revoked, &case.stays, &case.new] {
        let answer = pair.answer(&crate::fixture::by_header(key));
        assert_eq!(answer.reply().details, WITHOUT_BASE);
        assert_eq!(answer.reply().status, 503);
    }
    assert_eq!(version(&pair), Some(0));
    assert_eq!(gauge(&pair, "keystile_overlay_without_base"), Some(1));
    let process = pair.edge.process.clone();
    assert!(process.borrow().logged("Push the base again"));
    pair.push_base(&case.base);
    case.holds(&mut pair);
    assert_eq!(version(&pair), Some(15), "at once");
    assert_eq!(gauge(&pair, "keystile_overlay_without_base"), Some(0));
}

#[test]
fn an_overlay_after_a_crash_denies_until_its_base_is_pushed_again() {
    let case = case();
    let pair = Pair::start(&case.base, &case.later);
    let mut pair = pair.reloaded(&case.overlay());
    assert_eq!(pair.code(&case.stays), "keyset_unavailable");
    // Its version is below what was in force, and yet the overlay needs it.
    let mut again = case.base.clone();
    again.nonce += 1;
    pair.push_base(&again);
    case.holds(&mut pair);
    assert_eq!(pair.edge.counter(OLDER), 0);
}

#[test]
fn a_base_that_comes_first_after_a_crash_waits_for_its_overlay() {
    let case = case();
    let crashed = Pair::start(&case.base, &case.later);
    let mut pair = Pair::new(&crashed.edge.process);
    drop(crashed);
    pair.push_base(&case.base);
    pair.push_active(&case.overlay());
    case.holds(&mut pair);
}

#[test]
fn a_base_alone_below_what_was_in_force_lacks_revocations_and_is_not_taken() {
    let case = case();
    let crashed = Pair::start(&case.base, &case.later);
    let mut fresh = Edge::beside(&crashed.edge.process, &case.base);
    assert_eq!(fresh.code(&case.stays), "keyset_unavailable");
    assert_eq!(fresh.counter(OLDER), 1);
}

#[test]
fn the_same_base_pushed_again_leaves_the_overlay_in_force() {
    let case = case();
    let mut pair = Pair::start(&case.base, &case.later);
    let mut again = case.base.clone();
    for nonce in 2..5 {
        again.nonce = nonce;
        pair.push_base(&again);
        case.holds(&mut pair);
        assert_eq!(version(&pair), Some(15));
    }
    assert_eq!(pair.edge.counter(OLDER), 0);
}

#[test]
fn an_older_overlay_and_an_older_base_are_not_taken() {
    let case = case();
    let mut pair = Pair::start(&case.base, &case.later);
    let mut older = case.base.clone();
    older.version = 14;
    pair.push_overlay(&older, &case.base);
    case.holds(&mut pair);
    assert_eq!(pair.edge.counter(OLDER), 1);
    older.version = 12;
    pair.push_base(&older);
    case.holds(&mut pair);
    assert_eq!(pair.edge.counter(OLDER), 2);
    assert_eq!(version(&pair), Some(15));
}

#[test]
fn an_overlay_of_a_base_that_is_not_here_leaves_what_is_in_force() {
    let case = case();
    let mut pair = Pair::start(&case.base, &case.later);
    let compacted = case.compacted(20);
    let mut newest = case.compacted(21);
    newest.row(&case.stays).disabled = true;
    pair.push_overlay(&newest, &compacted);
    let codes = [&case.revoked, &case.stays, &case.new].map(|key| pair.code(key));
    assert_eq!(codes, ["revoked_api_key", "disabled_api_key", "ok"]);
    assert_eq!(version(&pair), Some(15));
    assert_eq!(gauge(&pair, "keystile_overlay_without_base"), Some(1));
    pair.push_base(&compacted);
    assert_eq!(pair.code(&case.stays), "disabled_api_key", "together");
    assert_eq!(version(&pair), Some(21));
    assert_eq!(gauge(&pair, "keystile_overlay_without_base"), Some(0));
}

#[test]
fn an_older_base_waits_with_the_overlay_that_is_newer() {
    let case = case();
    let mut pair = Pair::new(&Process::new());
    let compacted = case.compacted(20);
    pair.push_overlay(&case.compacted(21), &compacted);
    // Older than what the overlay is over, and so without what that revoked.
    pair.push_base(&case.base);
    assert_eq!(pair.code(&case.revoked), "keyset_unavailable");
    pair.push_base(&compacted);
    case.holds(&mut pair);
}

#[test]
fn what_a_waiting_overlay_revokes_is_refused_before_its_base_comes() {
    let case = case();
    let mut pair = Pair::start(&case.base, &case.later);
    let compacted = case.compacted(20);
    let mut newest = case.compacted(21);
    newest.row(&case.stays).revoked = true;
    pair.push_overlay(&newest, &compacted);
    assert_eq!(pair.code(&case.stays), "revoked_api_key");
    assert_eq!(pair.code(&case.new), "ok");
}

#[test]
fn a_new_base_takes_over_from_base_and_overlay_whichever_of_its_two_comes_first() {
    for base_first in [true, false] {
        let case = case();
        let mut pair = Pair::start(&case.base, &case.later);
        let (stream, outcome) = pair
            .edge
            .vm
            .open(pair.edge.root, &crate::fixture::by_header(&case.stays));
        assert!(matches!(outcome, Outcome::Continue { .. }));
        let compacted = case.compacted(15);
        let pushes: [&dyn Fn(&mut Pair); 2] = [&|pair| pair.push_base(&compacted), &|pair| {
            // The old root lives on: its stream is open.
            let root = pair
                .edge
                .vm
                .start_plugin(Some(&compacted.seal_over(&compacted)));
            pair.edge.root = root.expect("accepted");
        }];
        let order = if base_first { [0, 1] } else { [1, 0] };
        for which in order {
            pushes[which](&mut pair);
            let codes = [&case.revoked, &case.stays, &case.new].map(|key| pair.edge.code(key));
            assert_eq!(codes, ["revoked_api_key", "ok", "ok"]);
            assert_eq!(version(&pair), Some(15));
            assert_eq!(gauge(&pair, "keystile_overlay_without_base"), Some(0));
        }
        assert_eq!(pair.edge.gauge("keystile_keyset_keys"), Some(3));
        let response = Headers::new(&[(":status", "200")]);
        pair.edge.vm.respond(&stream, response).expect("no trap");
        pair.edge.vm.finish(stream).expect("no trap");
    }
}

#[test]
fn a_whole_keyset_in_the_filter_that_is_on_takes_the_place_of_both() {
    let case = case();
    let mut pair = Pair::start(&case.base, &case.later);
    pair.push_active(&case.compacted(16).seal());
    case.holds(&mut pair);
    assert_eq!(version(&pair), Some(16));
    pair.end_base();
    case.holds(&mut pair);
}

#[test]
fn the_overlay_says_until_when_it_is_believed() {
    let mut case = case();
    case.base = case.base.set("not_after", json!("2m"));
    case.later = case.later.set("not_after", json!("2m"));
    case.later.issued_at += 100;
    let mut pair = Pair::start(&case.base, &case.later);
    // Issued a minute ago, the base is believed for one more.
    pair.edge.wait(61);
    assert_eq!(pair.code(&case.stays), "ok");
    pair.edge.wait(100);
    assert_eq!(pair.code(&case.stays), "keyset_unavailable");
}

#[test]
fn a_corrupt_page_of_the_overlay_does_not_let_the_base_speak() {
    let case = case();
    let mut built = case.later.build_over(&case.base);
    let last = built.pages.len() - 1;
    built.pages[last] ^= 1;
    let mut pair = Pair::new(&Process::new());
    pair.push_base(&case.base);
    pair.push_active(built.seal(&signing_key(), 1).as_bytes());
    let answer = pair.answer(&crate::fixture::by_header(&case.revoked));
    assert_eq!(
        answer.reply().details,
        "keystile:keyset_unavailable:corrupt_page"
    );
    assert_eq!(pair.code(&case.stays), "ok", "not in the overlay's index");
    assert_eq!(pair.edge.counter("keystile_corrupt_pages_total"), 1);
    pair.push_active(&case.overlay());
    case.holds(&mut pair);
}

#[test]
fn an_overlay_cut_at_any_byte_or_with_any_bit_flipped_never_opens_a_revoked_key() {
    let case = case();
    let whole = case
        .later
        .build_over(&case.base)
        .seal_raw(&signing_key(), 1);
    for length in (0..whole.len()).step_by(3) {
        assert!(refused(&whole[..length]).is_some(), "cut at {length}");
    }
    for bit in (0..whole.len() * 8).step_by(13) {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let mut pair = Pair::new(&Process::new());
        pair.push_base(&case.base);
        if let Ok(root) = pair.edge.vm.start_plugin(Some(&changed)) {
            pair.edge.root = root;
            assert_ne!(pair.edge.code(&case.revoked), "ok", "bit {bit}");
        }
    }
}

#[test]
fn neither_kind_is_taken_for_the_other() {
    let case = case();
    let base = with(&case.base.seal(), "kind", json!("overlay"));
    assert_eq!(refused(&base).as_deref(), Some("signature"));
    let mut overlay: serde_json::Value = serde_json::from_slice(&case.overlay()).unwrap();
    overlay.as_object_mut().unwrap().remove("kind");
    assert_eq!(
        refused(overlay.to_string().as_bytes()).as_deref(),
        Some("signature")
    );
    let other = with(&case.overlay(), "kind", json!("else"));
    assert_eq!(refused(&other).as_deref(), Some("format"));
}

/// A worker that disagreed with the canary would leave the filter out: with or without the base, above or below what
/// is in force, an overlay that verifies is accepted.
#[test]
fn the_verdict_on_an_overlay_depends_on_its_bytes_alone() {
    let case = case();
    let bad = with(&case.overlay(), "hmac", json!("A".repeat(43)));
    let mut pair = Pair::start(&case.base, &case.later);
    let mut newer = case.later.clone();
    newer.version = 1000;
    pair.push_overlay(&newer, &case.base);
    pair.edge.tick();
    for process in [&Process::new(), &pair.edge.process] {
        assert!(verdict(process, Some(&case.overlay())));
        assert!(!verdict(process, Some(&bad)));
    }
    assert!(pair.edge.vm.start_plugin(Some(&case.overlay())).is_ok());
    assert!(pair.edge.vm.start_plugin(Some(&bad)).is_err());
}

#[test]
fn open_routes_are_closed_too_while_the_base_is_missing() {
    let (mut base, _) = Store::small();
    base = base.set("routes", json!([{"path": "/healthz", "auth": "none"}]));
    let mut later = base.clone();
    later.change(|_| {});
    let mut pair = Pair::new(&Process::new());
    pair.push_overlay(&later, &base);
    assert_eq!(
        pair.answer(&Request::get("/healthz")).code(),
        "keyset_unavailable"
    );
}

/// Linear memory never shrinks: neither overlays nor the same base again may make it grow.
#[test]
fn pushes_of_base_and_overlay_do_not_make_the_vm_grow() {
    let (mut base, key) = Store::small();
    for n in 0..2_000 {
        base.issue_as(&format!("client-{n}"), |row| {
            row.origins = vec![format!("https://{n}.example")]
        });
    }
    let mut later = base.clone();
    let mut pair = Pair::start(&base, later.change(|_| {}));
    let round = |pair: &mut Pair, later: &mut Store| {
        pair.push_overlay(later.change(|s| s.row(&key).disabled ^= true), &base);
        pair.push_base(&base);
        pair.edge.tick();
    };
    (0..20).for_each(|_| round(&mut pair, &mut later));
    let before = pair.edge.vm.memory();
    (0..41).for_each(|_| round(&mut pair, &mut later));
    assert_eq!(pair.edge.vm.memory(), before);
    assert_eq!(pair.code(&key), "disabled_api_key");
}
