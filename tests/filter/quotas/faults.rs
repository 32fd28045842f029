//! Quotas while hostcalls fail, and in shadow mode.

use super::*;

#[test]
fn shadow_mode_counts_and_lets_through() {
    let (store, key) = day(2);
    let mut edge = Edge::start(&store.set("mode", json!("shadow")));
    assert_eq!(admitted(&mut edge, &key, 5), 5);
    let metric = "outcome=.=quota_exceeded;.;keystile_shadow_refusals_total";
    assert_eq!(edge.counter(metric), 3);
}

#[test]
fn a_used_up_quota_stays_used_up_whatever_fails() {
    let (store, key) = day(1);
    let names = [
        "proxy_get_shared_data",
        "proxy_set_shared_data",
        "proxy_get_current_time_nanoseconds",
        "clock_time_get",
    ];
    for name in names {
        for status in [
            Status::BadArgument,
            Status::InternalFailure,
            Status::CasMismatch,
            Status::Empty,
        ] {
            for (skip, times) in [(0, 1), (1, 1), (0, u32::MAX)] {
                let mut edge = Edge::start(&store);
                assert_eq!(edge.code(&key), "ok");
                let fault = Fault {
                    status,
                    skip,
                    times,
                };
                edge.process
                    .borrow_mut()
                    .fail
                    .insert(name.to_owned(), fault);
                (0..3).for_each(|_| assert_ne!(edge.code(&key), "ok", "{name} {status:?}"));
                edge.process.borrow_mut().fail.clear();
                assert_eq!(edge.code(&key), "quota_exceeded", "{name} {status:?}");
            }
        }
    }
}

#[test]
fn a_first_request_passes_or_is_refused_and_never_counts_for_less() {
    let (store, key) = day(2);
    for name in [
        "proxy_get_shared_data",
        "proxy_set_shared_data",
        "proxy_get_current_time_nanoseconds",
    ] {
        let mut edge = Edge::start(&store);
        edge.process
            .borrow_mut()
            .fail_next(name, Status::InternalFailure, 1);
        let first = admitted(&mut edge, &key, 1);
        assert!(first + admitted(&mut edge, &key, 5) <= 2, "{name}");
    }
}

#[test]
fn somebody_elses_bytes_under_our_name_refuse() {
    let (store, key) = day(2);
    let mut edge = Edge::start(&store);
    edge.code(&key);
    let mut process = edge.process.borrow_mut();
    let name = process
        .shared_data
        .keys()
        .find(|k| k.starts_with(b"keystile/t/"))
        .unwrap()
        .clone();
    process.set_shared_data(&name, b"bytes", 0);
    drop(process);
    assert_eq!(edge.code(&key), "rate_limited");
}
