//! From when to when a key opens: to the second, by the wall clock, and told only to who holds it.

use std::time::Duration;

use keystile_core::keyset::KeyRow;
use serde_json::json;

use crate::fixture::{Edge, NOW, Store, by_bearer, by_header, name};

/// A key with an edited row, and what it is answered at each of these seconds.
#[track_caller]
fn answers(edit: impl FnOnce(&mut KeyRow), at: &[(u64, &str)]) {
    let mut store = Store::new();
    let key = store.issue_as("acme", edit);
    let mut edge = Edge::start(&store);
    for &(second, code) in at {
        edge.set_wall(second);
        assert_eq!(edge.code(&key), code, "at {second}");
    }
}

#[test]
fn a_key_opens_from_its_first_second_on() {
    let from = NOW + 100;
    answers(
        |row| row.not_before = Some(from),
        &[
            (NOW, "inactive_api_key"),
            (from - 1, "inactive_api_key"),
            (from, "ok"),
            (from + 1, "ok"),
        ],
    );
}

#[test]
fn a_key_expires_at_its_second() {
    let end = NOW + 100;
    answers(
        |row| row.expires = Some(end),
        &[
            (NOW, "ok"),
            (end - 1, "ok"),
            (end, "expired_api_key"),
            (end + 1, "expired_api_key"),
            (end - 1, "ok"),
        ],
    );
}

#[test]
fn a_rotated_key_gives_way_at_the_end_of_its_grace() {
    let end = NOW + 100;
    answers(
        |row| row.overlap_end = Some(end),
        &[
            (end - 1, "ok"),
            (end, "expired_api_key"),
            (end + 86_400, "expired_api_key"),
        ],
    );
    // Whichever comes first.
    answers(
        |row| (row.expires, row.overlap_end) = (Some(end), Some(end + 50)),
        &[(end - 1, "ok"), (end, "expired_api_key")],
    );
}

#[test]
fn a_fraction_of_a_second_counts_for_the_second_it_is_in() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| row.expires = Some(NOW + 1));
    let mut edge = Edge::start(&store);
    let pass = |edge: &Edge, nanoseconds| {
        edge.process
            .borrow_mut()
            .advance(Duration::from_nanos(nanoseconds));
    };
    pass(&edge, 999_999_999);
    assert_eq!(edge.code(&key), "ok");
    pass(&edge, 1);
    assert_eq!(edge.code(&key), "expired_api_key");
}

#[test]
fn a_clock_that_is_set_is_believed_within_a_second() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| row.expires = Some(NOW + 100));
    let mut edge = Edge::start(&store);
    assert_eq!(edge.code(&key), "ok");
    edge.process.borrow_mut().wall += 200_000_000_000;
    edge.tick();
    assert_eq!(edge.code(&key), "expired_api_key");
    edge.process.borrow_mut().wall -= 200_000_000_000;
    edge.tick();
    assert_eq!(edge.code(&key), "ok");
}

#[test]
fn revoked_comes_before_disabled_before_expired_before_inactive() {
    let all = |row: &mut KeyRow| {
        (row.expires, row.not_before) = (Some(NOW - 1), Some(NOW + 1));
        (row.disabled, row.revoked) = (true, true);
    };
    answers(
        |row| {
            all(row);
            row.expires = Some(NOW + 5);
        },
        &[(NOW, "revoked_api_key")],
    );
    answers(
        |row| (all(row), row.revoked = false).1,
        &[(NOW, "disabled_api_key")],
    );
    answers(
        |row| (all(row), (row.revoked, row.disabled) = (false, false)).1,
        &[(NOW, "expired_api_key")],
    );
}

#[test]
fn times_beyond_what_the_index_can_say_are_far_away_and_not_zero() {
    answers(|row| row.expires = Some(u64::MAX), &[(NOW, "ok")]);
    answers(|row| row.expires = Some(1 << 33), &[(NOW, "ok")]);
    answers(
        |row| row.not_before = Some(u64::MAX),
        &[(NOW, "inactive_api_key")],
    );
    answers(|row| row.not_before = Some(0), &[(NOW, "ok"), (0, "ok")]);
    // Long gone: the keyset leaves such keys out.
    answers(|row| row.expires = Some(0), &[(NOW, "unknown_api_key")]);
}

/// Who has no key of ours learns nothing about keys: not that one with this id is revoked.
#[test]
fn a_guess_at_a_revoked_key_is_unknown() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| row.revoked = true);
    let guess = store.issue("acme");
    store.rows.truncate(1);
    let mut edge = Edge::start(&store);
    assert_eq!(edge.code(&key), "revoked_api_key");
    assert_eq!(edge.code(&guess), "unknown_api_key");
}

#[test]
fn a_key_opens_where_its_environment_is_accepted() {
    let mut store = Store::new();
    let live = store.issue("acme");
    let test = store.issue_as("acme", |row| row.environment = name("test"));
    for (accepted, expected) in [
        (json!(["live"]), ["ok", "environment_denied"]),
        (json!(["test"]), ["environment_denied", "ok"]),
        (json!(["live", "test"]), ["ok", "ok"]),
        (
            json!(["staging"]),
            ["environment_denied", "environment_denied"],
        ),
    ] {
        let mut edge = Edge::start(&store.clone().set("environments", accepted.clone()));
        assert_eq!([edge.code(&live), edge.code(&test)], expected, "{accepted}");
    }
}

#[test]
fn a_route_asks_for_all_of_its_scopes_or_for_any() {
    let mut store = Store::new();
    let mut with = |scopes: &[&str]| {
        store.issue_as("acme", |row| {
            row.scopes = scopes.iter().map(|&scope| scope.to_owned()).collect()
        })
    };
    let cases = [
        (
            with(&[]),
            [
                "insufficient_scope",
                "insufficient_scope",
                "insufficient_scope",
            ],
        ),
        (with(&["read:users"]), ["ok", "insufficient_scope", "ok"]),
        (
            with(&["write:users"]),
            [
                "insufficient_scope",
                "insufficient_scope",
                "insufficient_scope",
            ],
        ),
        (with(&["write:users", "read:users"]), ["ok", "ok", "ok"]),
        (
            with(&["read:reports"]),
            ["insufficient_scope", "insufficient_scope", "ok"],
        ),
        (
            with(&["read:user", "read:users2", "*"]),
            [
                "insufficient_scope",
                "insufficient_scope",
                "insufficient_scope",
            ],
        ),
    ];
    let mut edge = Edge::start(&store);
    for (n, (key, expected)) in cases.iter().enumerate() {
        let requests = [("GET", "/users/7"), ("PUT", "/users/7"), ("GET", "/any")];
        let answers = requests.map(|(method, path)| edge.ask(&by_bearer(method, path, key)).code());
        assert_eq!(answers, *expected, "case {n}");
    }
}

#[test]
fn requests_that_no_route_matches_pass_only_with_a_key_and_only_if_the_policy_says_so() {
    let mut store = Store::new();
    let key = store.issue("acme");
    for (unmatched, expected) in [
        ("deny", ["route_denied", "route_denied"]),
        ("authenticated", ["ok", "missing_api_key"]),
    ] {
        let mut edge = Edge::start(&store.clone().set("unmatched", json!(unmatched)));
        let nowhere = by_header(&key).with(":path", "/nowhere");
        let answers = [
            edge.ask(&nowhere).code(),
            edge.ask(&nowhere.without("x-api-key")).code(),
        ];
        assert_eq!(answers, expected, "{unmatched}");
    }
}

#[test]
fn imported_keys_open_by_their_whole_text() {
    let mut store = Store::new();
    let ours = store.issue("acme");
    let texts = [
        "hunter2",
        "sk-proj-0123456789",
        "Zm9vYmFy/+==",
        "ks_live_short",
        &"x".repeat(256),
    ];
    for text in texts {
        store.import("beta", text);
    }
    store.row("hunter2").revoked = true;
    let mut edge = Edge::start(&store);
    for text in texts {
        let expected = if text == "hunter2" {
            "revoked_api_key"
        } else {
            "ok"
        };
        assert_eq!(edge.code(text), expected, "{text}");
    }
    assert_eq!(edge.code(&ours), "ok");
    for stranger in ["hunter3", "sk-proj-012345678", "HUNTER2"] {
        assert_eq!(
            edge.code(stranger),
            "unknown_api_key",
            "what is imported may have any shape"
        );
    }
    assert_eq!(edge.code(&"x".repeat(257)), "malformed_api_key");
}

/// The digest of an imported text and that of a key of ours are of different things.
#[test]
fn the_hashed_part_of_a_key_is_not_itself_a_key() {
    let mut store = Store::new();
    let key = store.issue("acme");
    store.import("beta", "hunter2");
    let mut edge = Edge::start(&store);
    assert_eq!(edge.code(&key[8..61]), "unknown_api_key");
    assert_eq!(edge.code(&key), "ok");
}
