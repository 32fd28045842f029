//! Buckets across both workers, which share no memory but Envoy's shared data.

use crate::fixture::Keys;
use crate::support::{Envoy, Upstream, burst, count, get};
use std::time::{Duration, Instant};

const POLICY: &str = r#"
version: 1
plans:
  minute: { limits: [{ requests: 100, per: 1m }] }
  day: { limits: [{ requests: 100, per: 1d }] }
  client: { limits: [{ requests: 50, per: 1d, by: client }] }
  pair: { limits: [{ requests: 2, per: 8s }] }
  both: { limits: [{ requests: 40, per: 1d }, { requests: 30, per: 1h }] }
routes:
  - { path: /v1/cheap }
  - { path: /v1/dear, cost: 7 }
  - { path: /v1/reports, limit: { requests: 12, per: 1d, by: client } }
"#;

#[test]
fn a_hundred_a_minute_admits_exactly_a_hundred_of_a_burst_across_workers() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue_on("acme", "minute");
    let envoy = keys.start(&upstream);

    let from = Instant::now();
    let answers = burst(envoy.address(), 50, 12, &get("/v1/cheap").bearer(&key));
    let took = from.elapsed();

    // The bucket refills by one token every 600 ms, and 600 requests take less than one.
    let refilled = (took.as_millis() / 600) as usize;
    println!(
        "600 requests on 50 connections took {} ms",
        took.as_millis()
    );
    let admitted = count(&answers, 200);
    assert!(
        (100..=100 + refilled).contains(&admitted),
        "{admitted} in {took:?}"
    );
    assert_eq!(count(&answers, 429), 600 - admitted);
    assert_eq!(upstream.requests(), admitted);
    both_workers_served(&envoy);
    let refused = answers.iter().filter(|answer| answer.status == 429);
    for answer in refused {
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(
            answer.header("ratelimit-policy"),
            Some(r#""minute";q=100;w=60"#)
        );
    }
}

#[test]
fn a_bucket_that_hardly_refills_admits_its_size_and_not_one_more() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue_on("acme", "day");
    let envoy = keys.start(&upstream);

    let answers = burst(envoy.address(), 64, 30, &get("/v1/cheap").bearer(&key));

    assert_eq!(count(&answers, 200), 100);
    assert_eq!(count(&answers, 429), 64 * 30 - 100);
    both_workers_served(&envoy);
}

#[test]
fn of_several_limits_the_tightest_admits_and_a_refusal_takes_from_none() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue_on("acme", "both");
    let envoy = keys.start(&upstream);
    let admitted = |path: &str| {
        let answers = burst(envoy.address(), 20, 5, &get(path).bearer(&key));
        count(&answers, 200)
    };

    assert_eq!(admitted("/v1/reports"), 12, "the route's own limit");
    // 88 refusals later the plan has lost those twelve and no more.
    assert_eq!(admitted("/v1/cheap"), 30 - 12, "the plan's hour");
    assert_eq!(admitted("/v1/cheap"), 0);
}

#[test]
fn a_dear_request_takes_all_its_tokens_or_none() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue_on("acme", "day");
    let envoy = keys.start(&upstream);
    let admitted = |path: &str| {
        let answers = burst(envoy.address(), 20, 10, &get(path).bearer(&key));
        count(&answers, 200)
    };

    assert_eq!(admitted("/v1/dear"), 100 / 7);
    assert_eq!(admitted("/v1/cheap"), 100 % 7);
}

#[test]
fn a_clients_limit_is_shared_by_its_keys_and_by_no_other_client() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let one = keys.issue_on("acme", "client");
    let two = keys.issue_on("acme", "client");
    let other = keys.issue_on("rival", "client");
    let envoy = keys.start(&upstream);
    let admitted = |key: &str, connections| {
        let answers = burst(
            envoy.address(),
            connections,
            3,
            &get("/v1/cheap").bearer(key),
        );
        count(&answers, 200)
    };

    assert_eq!(admitted(&one, 10), 30);
    assert_eq!(admitted(&two, 10), 20);
    assert_eq!(admitted(&one, 10), 0);
    assert_eq!(admitted(&other, 20), 50);
}

#[test]
fn buckets_keep_their_level_across_a_push() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue_on("acme", "day");
    let envoy = keys.start(&upstream);
    let admitted = |connections, each| {
        let request = get("/v1/cheap").bearer(&key);
        count(&burst(envoy.address(), connections, each, &request), 200)
    };

    assert_eq!(admitted(10, 6), 60);
    keys.issue("somebody-else");
    keys.push(&envoy);
    assert_eq!(admitted(10, 20), 40);
    keys.issue("one-more");
    keys.push(&envoy);
    assert_eq!(admitted(10, 1), 0);
    both_workers_served(&envoy);
}

#[test]
fn a_bucket_refills_while_nobody_asks() {
    let upstream = Upstream::start();
    let quick = POLICY.replace("requests: 100, per: 1m", "requests: 20, per: 1s, burst: 10");
    let mut keys = Keys::new(&quick);
    let key = keys.issue_on("acme", "minute");
    let envoy = keys.start(&upstream);
    let mut client = envoy.client();
    let request = get("/v1/cheap").bearer(&key);

    // When Envoy decided lies between a request's two ends.
    let from = Instant::now();
    let mut admitted = usize::from(client.send(&request).status == 200);
    let first = from.elapsed();
    let (mut sent, mut done) = (first, first);
    while done < Duration::from_millis(1500) {
        sent = from.elapsed();
        admitted += usize::from(client.send(&request).status == 200);
        done = from.elapsed();
    }

    // Ten at once, then one every 50 ms.
    let after = |time: Duration| 10 + (time.as_millis() / 50) as usize;
    let expected = after(sent.saturating_sub(first))..=after(done);
    assert!(expected.contains(&admitted), "{admitted}, not {expected:?}");
}

#[test]
fn who_waits_as_long_as_told_gets_through_whatever_was_refused_meanwhile() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue_on("acme", "pair");
    let envoy = keys.start(&upstream);
    let request = get("/v1/cheap").bearer(&key);
    let mut client = envoy.client();

    let refused = std::iter::repeat_with(|| client.send(&request))
        .take(4)
        .find(|answer| answer.status == 429)
        .expect("two are in the bucket");
    let told = Instant::now();
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&seconds), "{seconds}");
    let mut storm = 0;
    while told.elapsed() < Duration::from_millis(700) {
        let answers = burst(envoy.address(), 20, 3, &request);
        assert_eq!(count(&answers, 429), answers.len());
        storm += answers.len();
    }
    println!("{storm} were refused meanwhile");
    std::thread::sleep(Duration::from_secs(seconds).saturating_sub(told.elapsed()));
    assert_eq!(client.send(&request).status, 200);
}

/// Connections are dealt out by the kernel: of twenty, both workers get some.
fn both_workers_served(envoy: &Envoy) {
    let connections = envoy.connections();
    assert_eq!(connections.len(), 2, "{connections:?}");
    assert!(
        connections.iter().all(|count| *count > 0),
        "{connections:?}"
    );
}
