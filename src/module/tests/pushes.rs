//! Configurations that come, at the start and later.

use super::*;
use crate::abi::Attribute;

fn refused(bytes: &[u8], reason: &str) {
    let (made, metrics) = fake::configure("keystile", bytes);
    assert!(made.is_none());
    let counted = metrics[&format!("reason=.={reason};.;keystile_pushes_refused_total")];
    assert_eq!(counted, 1, "{reason}");
}

#[test]
fn what_is_not_whole_or_not_ours_is_refused() {
    let (mut store, _, _made) = one();
    let good = store.sealed();
    refused(b"", "missing");
    refused(b"{", "syntax");
    let other = SigningKey::new("test", Zeroizing::new(vec![8; 32])).unwrap();
    let forged = build(&store.content).unwrap().seal(&other, 1);
    refused(forged.as_bytes(), "signature");
    for end in (1..good.len()).step_by(97) {
        let (made, _) = fake::configure("keystile", &good.as_bytes()[..end]);
        assert!(made.is_none(), "cut at {end}");
    }
    for at in (0..good.len()).step_by(53) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] ^= 1;
        // A bit of a page is found when the page is looked at; none lets in what was not signed.
        let (made, _) = fake::configure("keystile", &bytes);
        if let Some(made) = made {
            assert!(!made.request(&get("/v1/a", &[])).headers());
        }
    }
}

#[test]
fn what_modules_cannot_enforce_is_refused_and_not_passed_over() {
    let policy = POLICY.replace(
        "{\"path\": \"/any/{*rest}\"}",
        "{\"path\": \"/any/{*rest}\", \"virtual_hosts\": [\"corp\"]}",
    );
    let mut store = Store::new(&policy);
    fake::as_older(|| refused(store.sealed().as_bytes(), "unsupported"));
    assert!(fake::has_logged("names `virtual_hosts`"));
    let made = store.made();
    let ask = |host: &str| {
        let request = made.request(&get("/any/a", &[]));
        let request = request.with(Attribute::VirtualHost, host);
        assert!(!request.headers());
        refused_as(&request)
    };
    assert_eq!(ask("corp").1, "keystile:missing_api_key");
    assert_eq!(ask("other").1, "keystile:route_denied");
}

#[test]
fn a_revocation_counts_on_all_listeners_at_once_and_nothing_older_undoes_it() {
    let (mut store, key, first) = one();
    let older = store.sealed();
    let asks = |made: &Made| {
        made.request(&get("/v1/a", &[("x-api-key", &key)]))
            .headers()
    };
    assert!(asks(&first));
    store.content.rows[0].revoked = true;
    store.content.version += 1;
    let second = store.made();
    assert!(!asks(&first) && !asks(&second));
    let (third, metrics) = fake::configure("keystile", older.as_bytes());
    let third = third.expect("it is taken and judged afterwards");
    let counted = metrics["reason=.=older_version;.;keystile_pushes_refused_total"];
    assert_eq!(counted, 1);
    assert!(!asks(&first) && !asks(&second) && !asks(&third));
    // Not even where all listeners are gone: its version is remembered.
    drop((first, second, third));
    let (fourth, _) = fake::configure("keystile", older.as_bytes());
    let fourth = fourth.unwrap();
    let request = fourth.request(&get("/v1/a", &[("x-api-key", &key)]));
    assert!(!request.headers());
    assert_eq!(refused_as(&request).0, 503);
}

#[test]
fn an_older_policy_that_comes_back_opens_nothing_that_the_newest_closes() {
    let (mut store, key, first) = one();
    let older = store.sealed();
    assert!(
        first
            .request(&get("/any/a", &[("x-api-key", &key)]))
            .headers()
    );
    let closed = POLICY.replace(",\n        {\"path\": \"/any/{*rest}\"}", "");
    assert_ne!(closed, POLICY);
    store.content.policy = serde_json::from_str(&closed).unwrap();
    store.content.version += 1;
    let second = store.made();
    // The first is kept by a stream alone: it gets no requests any more.
    let (third, _) = fake::configure("keystile", older.as_bytes());
    let third = third.unwrap();
    assert!(
        !third
            .request(&get("/any/a", &[("x-api-key", &key)]))
            .headers()
    );
    assert!(
        third
            .request(&get("/v1/a", &[("x-api-key", &key)]))
            .headers()
    );
    drop(second);
}

#[test]
fn a_tunnel_is_asked_of_again_and_ends_with_its_key() {
    let (mut store, key, first) = one();
    let upgrade = [("x-api-key", key.as_str()), ("upgrade", "websocket")];
    let tunnel = first.request(&get("/v1/a", &upgrade));
    assert!(tunnel.headers());
    store.issue("", &[]);
    let second = store.made();
    assert!(!tunnel.turn(), "its key is as good as before");
    store.content.rows[0].revoked = true;
    store.content.version += 1;
    let third = store.made();
    assert!(tunnel.turn());
    assert_eq!(
        refused_as(&tunnel),
        (401, "keystile:revoked_api_key".into())
    );
    let ended = "outcome=.=revoked_api_key;.;keystile_tunnels_ended_total";
    assert_eq!(first.metric(ended), 1);
    drop((second, third));
}

#[test]
fn two_filters_in_one_chain_judge_by_their_own_stores() {
    let (mut first, mut second) = (Store::new(POLICY), Store::new(POLICY));
    let (key, other) = (first.issue("", &["read"]), second.issue("", &["read"]));
    let made = first.made();
    let (beside, _) = fake::configure("second", second.sealed().as_bytes());
    let beside = beside.unwrap();
    let passed = made.request(&get("/v1/a", &[("x-api-key", &key)]));
    assert!(passed.headers());
    let behind = beside.request(&get("/v1/a", &[])).after(&passed);
    assert!(
        !behind.headers(),
        "the first one's mark is not the second's"
    );
    let behind = beside
        .request(&get("/v1/a", &[("x-api-key", &other)]))
        .after(&passed);
    assert!(behind.headers());
    let mark = behind.state("wasm.keystile.client.second");
    assert_eq!(mark.as_deref(), Some("acme"));
}
