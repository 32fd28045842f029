//! Secrets that Envoy fetches.

use keystile_core::keyset::{NodeKey, SigningKeys};
use keystile_core::report;

use super::*;
use std::sync::atomic::AtomicBool;

const NAME: (&str, &str) = ("KEYSTILE_SECRET", "keystile");

fn with_secret(variables: &[(&str, &str)], f: impl FnOnce()) {
    fake::with_secret(&SIGNER.expose_secret(), variables, f);
}

fn status(made: &Made, key: &str) -> u32 {
    let request = made.request(&get("/v1/a", &[("x-api-key", key)]));
    match request.headers() {
        true => 200,
        false => request.replies()[0].status,
    }
}

#[test]
fn until_the_secret_arrives_every_request_is_refused_and_from_then_on_it_is_checked_with_it() {
    let mut store = Store::new(POLICY);
    let key = store.issue("", &["read"]);
    let envelope = store.sealed();
    let right = format!(
        "# signing keys\nKEYSTILE_SIGNING_KEYS={}\n",
        *SIGNER.expose_secret()
    );
    let other = SigningKey::new("test", Zeroizing::new(vec![8; 32])).unwrap();
    let wrong = format!("KEYSTILE_SIGNING_KEYS={}\n", *other.expose_secret());
    with_secret(&[NAME], || {
        let made = fake::configure("keystile", envelope.as_bytes()).0.unwrap();
        assert_eq!(status(&made, &key), 503);
        made.tick();
        assert_eq!(status(&made, &key), 503, "nothing has arrived");
        for secret in [
            &wrong,
            "KEYSTILE_SIGNING_KEYS",
            "K=1",
            &format!("{right}{right}"),
        ] {
            fake::hold(secret);
            made.tick();
            assert_eq!(status(&made, &key), 503, "{secret}");
        }
        assert!(fake::has_logged(
            "that is none of `KEYSTILE_SIGNING_KEYS=…`"
        ));
        fake::hold(&right);
        assert_eq!(status(&made, &key), 503, "it has not been read");
        made.tick();
        assert_eq!(status(&made, &key), 200);
        // What it is replaced by applies to what comes next.
        fake::hold(&wrong);
        made.tick();
        assert_eq!(status(&made, &key), 200);
        assert!(fake::configure("keystile", envelope.as_bytes()).0.is_none());
        assert_eq!(status(&made, &key), 200);
    });
}

/// The timer's thread looks for what waits while the main thread verifies it.
#[test]
fn what_waits_is_verified_while_another_thread_looks_for_it() {
    let mut store = Store::new(POLICY);
    let key = store.issue("", &["read"]);
    let envelope = store.sealed();
    let (done, is_done) = std::sync::mpsc::channel();
    let all = move || {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    crate::state::wake_waiting();
                }
            });
            for _ in 0..300 {
                fake::hold("");
                let made = fake::configure("keystile", envelope.as_bytes()).0.unwrap();
                let secret = format!("KEYSTILE_SIGNING_KEYS={}\n", *SIGNER.expose_secret());
                fake::hold(&secret);
                made.tick();
                assert_eq!(status(&made, &key), 200);
            }
            stop.store(true, Ordering::SeqCst);
        });
        done.send(()).unwrap();
    };
    with_secret(&[NAME], || {
        std::thread::spawn(all);
        let in_time = is_done.recv_timeout(std::time::Duration::from_secs(60));
        assert!(in_time.is_ok(), "neither thread goes on");
    });
}

#[test]
fn reports_are_signed_with_the_secret_of_the_moment() {
    let policy = POLICY.replacen(
        "\"realm\"",
        r#""report": {"cluster": "keystile", "every": "1s", "usage": false}, "realm""#,
        1,
    );
    let mut store = Store::new(&policy);
    store.issue("", &["read"]);
    let envelope = store.sealed();
    let own = |n| NodeKey::new("edge-7", Zeroizing::new(vec![n; 32])).unwrap();
    let secret = |own: &NodeKey| {
        let (shared, own) = (SIGNER.expose_secret(), own.expose_secret());
        format!(
            "KEYSTILE_SIGNING_KEYS={}\nKEYSTILE_NODE_KEY={}\n",
            *shared, *own
        )
    };
    // Whether the last report is signed by this node.
    let is_by = |made: &Made, own: NodeKey| {
        made.tick();
        let (_, headers, body) = made.calls().last().unwrap().clone();
        let value = |name| {
            let (_, value) = headers.iter().find(|(n, _)| n == name).unwrap();
            value.clone()
        };
        let keys = SigningKeys::new(vec![own.signing_key()]);
        report::open(&body, &value(KID_HEADER), &value(SIGNATURE_HEADER), &keys).is_ok()
    };
    with_secret(&[NAME], || {
        fake::hold(&secret(&own(1)));
        let made = fake::configure("keystile", envelope.as_bytes()).0.unwrap();
        assert!(is_by(&made, own(1)));
        // Something new is to be reported, and the secret is replaced in the meantime.
        store.issue("", &["read"]);
        let later = fake::configure("keystile", store.sealed().as_bytes())
            .0
            .unwrap();
        fake::hold(&secret(&own(2)));
        assert!(is_by(&later, own(2)));
        assert!(!is_by(&later, own(1)));
    });
}

#[test]
fn a_secret_that_envoy_cannot_hand_over_refuses_the_configuration() {
    let mut store = Store::new(POLICY);
    let envelope = store.sealed();
    let refused = |variables: &[(&str, &str)], why: &str| {
        with_secret(variables, || {
            let (made, metrics) = fake::configure("keystile", envelope.as_bytes());
            assert!(made.is_none(), "{variables:?}");
            assert_eq!(metrics.values().sum::<u64>(), 1, "{metrics:?}");
            assert!(fake::has_logged(why), "{why}");
        });
    };
    refused(&[("KEYSTILE_SECRET", "other")], "Envoy has no such secret");
    refused(
        &[("KEYSTILE_SECRET_SOURCE", "{}")],
        "`KEYSTILE_SECRET_SOURCE` is set, but",
    );
    refused(
        &[
            NAME,
            (
                "KEYSTILE_SECRET_SOURCE",
                "{\"resource_api_version\": \"V3\", \"ads\" : {}}",
            ),
        ],
        "could also sign keysets",
    );
    refused(
        &[NAME, ("KEYSTILE_NODE_KEY", "n:x")],
        "so is a variable with the secret itself",
    );
    fake::as_older(|| refused(&[NAME], "only Envoy 1.40 and later hand secrets"));
}
