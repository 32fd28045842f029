//! Addresses that try unknown keys.

use super::*;
use crate::limit::attempts::tests::Table;
use crate::limit::attempts::{Attempts, AttemptsSet};
use crate::limit::bucket::Contended;
use core::net::IpAddr;

/// A table in which somebody else always was quicker.
struct Lost;

impl Attempts for Lost {
    fn update_set(
        &mut self,
        _: u16,
        _: &mut dyn FnMut(&mut AttemptsSet) -> bool,
    ) -> Result<(), Contended> {
        Err(Contended)
    }
}

fn limited(extra: &str) -> World {
    let field = r#""brute_force":{"attempts":2,"per":"1m"},"#;
    world_with(
        &POLICY.replace("\"realm\"", &format!("{field}{extra}\"realm\"")),
        |_| {},
    )
}

fn ask(w: &World, table: &mut impl Attempts, call: &Call, address: Option<&str>) -> String {
    let mut decision = call.decide(w, &mut MemoryBuckets::default());
    let address = || address.map(|a| a.parse::<IpAddr>().unwrap());
    slow_down(
        Some(&w.keyset),
        &mut decision,
        address,
        call.monotonic,
        table,
    );
    match decision.verdict {
        Err(Denial::TooManyAttempts { retry_after }) => {
            assert_eq!(decision.code(), "too_many_attempts");
            format!("after {retry_after}")
        }
        _ => decision.code().to_owned(),
    }
}

fn stranger() -> Call {
    let unknown = fresh(2).text.expose_secret().to_owned();
    call("GET", "/users/7").with("x-api-key", &unknown)
}

#[test]
fn an_address_with_too_many_unknown_keys_is_told_to_wait_and_a_known_key_of_it_passes() {
    let (w, mut table) = (limited(""), Table::default());
    let here = Some("192.0.2.1");
    let known = call("GET", "/users/7").keyed(&w);
    for want in ["unknown_api_key", "unknown_api_key", "after 30", "after 30"] {
        assert_eq!(ask(&w, &mut table, &stranger(), here), want);
        assert_eq!(ask(&w, &mut table, &known, here), "ok");
    }
    let there = Some("192.0.2.9");
    assert_eq!(ask(&w, &mut table, &stranger(), there), "unknown_api_key");
    let later = Call {
        monotonic: stranger().monotonic + 31_000_000_000,
        ..stranger()
    };
    assert_eq!(ask(&w, &mut table, &later, here), "unknown_api_key");
}

#[test]
fn nothing_but_an_unknown_key_counts() {
    let (w, mut table) = (limited(""), Table::default());
    let here = Some("192.0.2.1");
    for other in [
        call("GET", "/users/7"),
        call("GET", "/users/7").with("x-api-key", "mistyped"),
        call("PUT", "/users/7").keyed(&w),
        call("GET", "/healthz"),
    ] {
        for _ in 0..5 {
            let code = ask(&w, &mut table, &other, here);
            assert!(!code.starts_with("after"), "{code}");
        }
    }
    assert!(table.0.is_empty());
}

#[test]
fn without_the_field_nobody_asks_for_the_address() {
    let w = world(|_| {});
    for call in [stranger(), call("GET", "/users/7").keyed(&w)] {
        let mut decision = call.decide(&w, &mut MemoryBuckets::default());
        let before = decision.code();
        let asked = || panic!("the address was asked for");
        slow_down(Some(&w.keyset), &mut decision, asked, 1, &mut Lost);
        assert_eq!(decision.code(), before);
    }
}

#[test]
fn unknown_keys_are_not_slowed_without_an_address_and_always_where_the_table_is_contended() {
    let w = limited("");
    for _ in 0..5 {
        let code = ask(&w, &mut Table::default(), &stranger(), None);
        assert_eq!(code, "unknown_api_key");
    }
    let code = ask(&w, &mut Lost, &stranger(), Some("192.0.2.1"));
    assert_eq!(code, "after 1");
    let known = call("GET", "/users/7").keyed(&w);
    assert_eq!(ask(&w, &mut Lost, &known, Some("192.0.2.1")), "ok");
}
