//! Beside other filters: the configurations under `envoy/examples`, each tried.

mod limits;

use crate::fixture::{Keys, in_force};
use crate::support::{
    EcdsFile, Envoy, Reply, Request, Setup, Upstream, burst, count, echoed, get, request, shell,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use limits::{Limits, Redis};
use serde_json::{Value, json};
use sha2::Sha256;
use std::fs;
use std::time::Duration;

const POLICY: &str = r#"
version: 1
credentials: [{ header: x-api-key }]
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/{*rest}" }
  - { path: "/either/{*rest}", auth: optional }
  - { path: "/both/{*rest}" }
"#;
const SECRET: &[u8] = b"a secret of the tests' own issuer, long enough";

fn token(claims: &Value, secret: &[u8]) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = json!({"alg": "HS256", "typ": "JWT", "kid": "tests"});
    let signed = format!("{}.{}", encode(&head), encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    let tag = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}.{tag}")
}

fn with_key(request: Request, key: &str) -> Request {
    request.header("x-api-key", key)
}

#[test]
fn a_key_or_a_token_opens_and_where_both_are_wanted_neither_alone_does() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let setup = Setup::example("jwt.yaml", &upstream);
    let jwks = setup.dir().join("jwks.json");
    let k = URL_SAFE_NO_PAD.encode(SECRET);
    let set = json!({"keys": [{"kty": "oct", "alg": "HS256", "kid": "tests", "k": k}]});
    fs::write(&jwks, set.to_string()).unwrap();
    let jwks = jwks.display().to_string();
    let envoy = keys.start_on(setup.edit("target/keystile/jwks.json", &jwks));

    let claims = json!({
        "iss": "https://login.example.com", "aud": "api.example.com", "sub": "ann",
        "exp": crate::fixture::now() + 600,
    });
    let (good, forged) = (token(&claims, SECRET), token(&claims, b"another secret"));
    let status = |path: &str, key: Option<&str>, token: Option<&str>| {
        let mut asking = get(path);
        if let Some(key) = key {
            asking = with_key(asking, key);
        }
        if let Some(token) = token {
            asking = asking.bearer(token);
        }
        envoy.send(&asking).status
    };
    let (key, good, forged) = (
        Some(key.as_str()),
        Some(good.as_str()),
        Some(forged.as_str()),
    );
    assert_eq!(status("/either/a", key, None), 200);
    assert_eq!(status("/either/a", None, good), 200);
    assert_eq!(status("/either/a", key, good), 200);
    assert_eq!(status("/either/a", None, None), 403);
    assert_eq!(status("/either/a", None, forged), 401);
    assert_eq!(status("/either/a", key, forged), 401);
    assert_eq!(status("/either/a", Some("ks_live_nonsense"), good), 401);
    assert_eq!(status("/both/a", key, good), 200);
    assert_eq!(status("/both/a", key, None), 403);
    assert_eq!(status("/both/a", None, good), 401);
    assert_eq!(status("/elsewhere", key, good), 403);
    assert_eq!(upstream.requests(), 4);
}

#[test]
fn browsers_are_answered_before_the_filter_and_a_service_decides_behind_it() {
    let upstream = Upstream::start();
    // Lets in whoever is called acme, as the header says that only the filter sets.
    let authz = Upstream::answering(|seen: &crate::support::Seen| {
        assert!(
            seen.header("x-api-key").is_empty(),
            "a key reached the service"
        );
        let known = seen.header("x-keystile-client") == ["acme"];
        Reply {
            status: if known { 200 } else { 403 },
            headers: Vec::new(),
            body: Vec::new(),
        }
    });
    let mut keys = Keys::new(POLICY);
    let (acme, hobby) = (keys.issue("acme"), keys.issue("hobby"));
    let setup = Setup::example("browsers-and-authz.yaml", &upstream);
    let port = format!("port_value: {}", authz.address().port());
    let envoy = keys.start_on(setup.edit("port_value: 9000", &port));

    let preflight = request("OPTIONS", "/v1/a")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "x-api-key");
    let answer = envoy.send(&preflight);
    assert_eq!(answer.status, 200);
    let origin = answer.header("access-control-allow-origin");
    assert_eq!(origin, Some("https://app.example.com"));
    assert_eq!((upstream.requests(), authz.requests()), (0, 0));

    let asking = get("/v1/a").header("origin", "https://app.example.com");
    // A page can read why it was refused: the filter's answers carry CORS headers, too.
    let refused = envoy.send(&asking);
    assert_eq!(refused.code().as_deref(), Some("missing_api_key"));
    let origin = refused.header("access-control-allow-origin");
    assert_eq!(origin, Some("https://app.example.com"));
    assert_eq!(authz.requests(), 0);
    assert_eq!(envoy.send(&with_key(asking.clone(), &acme)).status, 200);
    assert_eq!(envoy.send(&with_key(asking.clone(), &hobby)).status, 403);
    let spoofed = with_key(asking, &hobby).header("x-keystile-client", "acme");
    assert_eq!(envoy.send(&spoofed).status, 403);
    assert_eq!((upstream.requests(), authz.requests()), (1, 3));
}

#[test]
fn limits_over_redis_hold_for_two_envoys_together() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let (acme, other) = (keys.issue("acme"), keys.issue("other"));
    let first = Setup::example("global-limits.yaml", &upstream);
    let redis = Redis::start();
    let service = Limits::start(redis.counter(), 10);
    let port = format!("port_value: {}", service.port());
    let second = Setup::example("global-limits.yaml", &upstream);
    let envoys = [first, second].map(|s| keys.start_on(s.edit("port_value: 8081", &port)));

    let asking = with_key(get("/v1/a"), &acme);
    let answers: Vec<_> = envoys
        .iter()
        .flat_map(|e| burst(e.address(), 4, 3, &asking))
        .collect();
    assert_eq!((count(&answers, 200), count(&answers, 429)), (10, 14));
    // Nobody spends another's, whatever he calls himself, and without a key nothing counts.
    let spoofed = with_key(get("/v1/a"), &other).header("x-keystile-client", "acme");
    assert_eq!(envoys[0].send(&spoofed).status, 200);
    assert_eq!(envoys[1].send(&get("/v1/a")).status, 401);
    let counted = redis.counter().count("keystile:client=other").unwrap();
    assert_eq!(counted, 2);

    // The service gone, nothing passes.
    drop(service);
    assert_eq!(envoys[0].send(&with_key(get("/v1/a"), &other)).status, 500);
}

#[test]
fn what_is_cached_is_still_asked_for_with_a_key() {
    let upstream = Upstream::answering(|seen| {
        if seen.path == "/v1/slow" {
            std::thread::sleep(Duration::from_millis(500));
        }
        let mut reply = Reply::echo(seen);
        let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
        reply.headers.push(("date", date.to_string()));
        let cached = if seen.path == "/v1/slow" {
            "no-store"
        } else {
            "max-age=60"
        };
        reply.headers.push(("cache-control", cached.to_owned()));
        reply
    });
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let revoked = keys.issue_with("acme", |row| row.revoked = true);
    let envoy = keys.start_on(Setup::example("caching.yaml", &upstream));

    let asking = with_key(get("/v1/a"), &key);
    assert_eq!(envoy.send(&asking).status, 200);
    crate::support::eventually("an answer from the cache", || {
        let answer = envoy.send(&asking);
        assert_eq!(answer.status, 200);
        answer.header("age").map(drop)
    });
    let before = upstream.requests();
    assert_eq!(envoy.send(&asking).status, 200);
    assert_eq!(upstream.requests(), before);
    assert_eq!(envoy.send(&get("/v1/a")).status, 401);
    assert_eq!(envoy.send(&with_key(get("/v1/a"), &revoked)).status, 401);

    // More at once than the circuit breaker lets through: some at once, the rest refused.
    let answers = burst(envoy.address(), 16, 1, &with_key(get("/v1/slow"), &key));
    let (good, shed) = (count(&answers, 200), count(&answers, 503));
    assert_eq!(good + shed, 16);
    assert!(good >= 4 && shed >= 4, "{good} and {shed}");
}

#[test]
fn two_policies_in_one_envoy_know_nothing_of_each_other() {
    let upstream = Upstream::start();
    let mut public = Keys::new(POLICY);
    let mut partners = Keys::new("version: 1\nroutes:\n  - { path: \"/{*rest}\" }\n");
    partners.rename_signing_key("partners");
    let (ours, theirs) = (public.issue("acme"), partners.issue("partner"));
    let setup =
        Setup::example("policies.yaml", &upstream).edit("port_value: 10001", "port_value: 0");
    let file = EcdsFile::new(setup.dir().join("partners.pb"));
    let wasm = "target/dist/keystile.wasm";
    let sealed = partners.sealed().into_bytes();
    file.write(EcdsFile::protobuf("keystile-partners", wasm, sealed));
    let path = file.path().display().to_string();
    let setup = setup.edit("target/keystile/partners.json", &path);
    setup.ecds_file().configure(&public.sealed());
    let both = format!("{},{}", public.signing_keys(), partners.signing_keys());
    let envoy = Envoy::start(setup.signing_keys(&both));
    in_force(&envoy, public.content.version.max(partners.content.version));

    let send = |listener: &str, request: &Request| {
        let mut client = crate::support::Client::connect(envoy.listener(listener));
        client.send(request)
    };
    let answer = send("public", &with_key(get("/v1/a"), &ours));
    assert_eq!(echoed(&answer.json()).header("x-keystile-client"), ["acme"]);
    let answer = send("partners", &get("/anything").bearer(&theirs));
    assert_eq!(
        echoed(&answer.json()).header("x-keystile-client"),
        ["partner"]
    );
    for (listener, asking) in [
        ("public", with_key(get("/v1/a"), &theirs)),
        ("partners", get("/v1/a").bearer(&ours)),
    ] {
        let code = send(listener, &asking).code();
        assert_eq!(code.as_deref(), Some("unknown_api_key"), "{listener}");
    }
    // One VM in each worker and one on the main thread, for both.
    assert_eq!(envoy.versions().len(), shell::gauges());
}
