//! Buckets in the memory that all workers share.

use super::*;
use crate::buckets;

#[test]
fn a_limit_is_exact_over_workers() {
    let mut store = Store::new(POLICY);
    let key = store.issue("many", &["read"]);
    let made = store.made();
    let work = || {
        let ask = |_: &i32| {
            made.request(&get("/v1/a", &[("x-api-key", &key)]))
                .headers()
        };
        (0..400).filter(ask).count()
    };
    let admitted: usize = std::thread::scope(|scope| {
        let workers = [0; 4].map(|_| scope.spawn(work));
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert_eq!(admitted, 500);
}

#[test]
fn what_nothing_is_lost_with_is_given_up() {
    let second = POLICY.replace(
        "\"requests\": 3, \"per\": \"1d\"",
        "\"requests\": 3, \"per\": \"1s\"",
    );
    let mut store = Store::new(&second);
    let key = store.issue("few", &["read"]);
    let made = store.made();
    let before = buckets::places();
    assert!(
        made.request(&get("/v1/a", &[("x-api-key", &key)]))
            .headers()
    );
    assert!(buckets::places() > before);
    let now = crate::clock::now();
    let sweep = |ns: u64| {
        for _ in 0..16 {
            buckets::tick(now.monotonic + ns, now.wall);
        }
    };
    sweep(0);
    assert!(buckets::places() > 0, "it is not full yet");
    // Those of other tests, too: they last a day.
    sweep(10_000_000_000);
    let kept = buckets::places();
    assert!(
        made.request(&get("/v1/a", &[("x-api-key", &key)]))
            .headers()
    );
    assert!(buckets::places() > kept || kept == 0);
}
