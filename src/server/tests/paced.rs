//! Limits: of guesses, of requests, and of what strangers see.

use super::*;

/// A token of the right form that nobody has.
fn guess(n: u64) -> String {
    let [brand, word] = [token::BRAND, "owner"].map(|w| w.parse().unwrap());
    let fresh = keystile_core::key::generate(&brand, &word, system::at(n).entropy).unwrap();
    fresh.text.expose_secret().to_owned()
}

#[tokio::test]
async fn guessing_tokens_is_slowed_and_a_good_one_is_never_refused_for_it() {
    let api = Api::new();
    let (owner, auditor) = (api.token(Role::Owner).await, api.token(Role::Auditor).await);
    let ask = async |token: &str| api.ask(token, "GET", "/v1/clients", Value::Null).await;
    // A good token, changed in its secret: its public id is no secret.
    let near = |n: u64| {
        let mut near = owner.clone();
        near.truncate(owner.len() - 8);
        format!("{near}{n:08}")
    };
    for guesses in [guess, |n| format!("kst_owner_{n}")] {
        let mut last = 0;
        for n in 0..40 {
            last = ask(&guesses(n)).await.status;
            if last == 429 {
                break;
            }
            assert_eq!(last, 401);
        }
        assert_eq!(last, 429);
    }
    let slowed = ask(&near(1)).await;
    assert_eq!(slowed.status, 429);
    assert!(header(&slowed, "retry-after").parse::<u64>().unwrap() > 0);
    for good in [&owner, &auditor] {
        assert_eq!(ask(good).await.status, 200);
    }
}

#[tokio::test]
async fn strangers_at_the_same_address_do_not_use_up_what_a_good_token_has() {
    let api = Api::limited(RateLimits::new(1));
    let owner = api.token(Role::Owner).await;
    let mut last = 0;
    for _ in 0..1000 {
        let asked = api.ask("", "GET", "/docs.css", Value::Null).await;
        last = asked.status;
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429);
    for path in ["/healthz", "/readyz"] {
        let lives = api.ask("", "GET", path, Value::Null).await;
        assert_eq!(lives.status, 200, "{path}");
    }
    // The first time it is only late, and then not even that.
    for _ in 0..3 {
        let asked = api.ask(&owner, "GET", "/v1/clients", Value::Null).await;
        assert_eq!(asked.status, 200);
    }
}

#[tokio::test]
async fn metrics_of_this_machine_do_not_open_through_a_proxy_on_it() {
    let api = Api::new();
    let ask = async |headers: &[(&str, &str)], proxied| {
        let mut request = Request::get("/metrics");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        let mut peer = HttpPeer::direct(SocketAddr::from(([127, 0, 0, 1], 1)), false);
        peer.proxied = proxied;
        request.extensions_mut().insert(peer);
        api.router.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask(&[], false).await, 200);
    assert_eq!(ask(&[], true).await, 401);
    for name in ["x-forwarded-for", "forwarded", "via"] {
        assert_eq!(ask(&[(name, "127.0.0.1")], false).await, 401, "{name}");
    }
}

#[tokio::test]
async fn one_token_asks_so_often_and_no_more() {
    let api = Api::limited(RateLimits::new(1));
    let (owner, auditor) = (api.token(Role::Owner).await, api.token(Role::Auditor).await);
    let ask = async |token: &str| api.ask(token, "GET", "/v1/plans", Value::Null).await;
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(ask(&owner).await.status);
    }
    assert_eq!(answers[0], 200);
    assert_eq!(answers[5], 429);
    assert_eq!(ask(&auditor).await.status, 200, "another token has its own");
}

#[tokio::test]
async fn metrics_of_another_machine_take_a_token() {
    let api = Api::new();
    let (auditor, issuer) = (
        api.token(Role::Auditor).await,
        api.token(Role::Issuer).await,
    );
    let ask = async |token: &str| api.ask(token, "GET", "/metrics", Value::Null).await;
    assert_eq!(ask("").await.status, 401);
    assert_eq!(ask(&issuer).await.status, 403);
    let text = ask(&auditor).await.text;
    for line in [
        "keystile_control_authentication_failures_total{reason=\"missing\"} 1",
        "keystile_control_requests_total{method=\"GET\",route=\"/metrics\",status=\"401\"} 1",
        "keystile_control_keyset_version ",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
