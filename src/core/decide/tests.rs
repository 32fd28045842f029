use super::*;
use crate::key::{Fresh, KeyId, Name, generate};
use crate::keyset::{Content, Keyset, Network, Row, SigningKey, SigningKeys, StoreId, build};
use crate::limit::bucket::MemoryBuckets;
use proptest::prelude::*;
use std::cell::Cell;
use zeroize::Zeroizing;

mod asked;
mod both;
mod certificates;
mod empty;
mod limits;
mod quotas;
mod readings;
mod standing;
mod told;

const NOW: u64 = 1_000_000_000;
const POLICY: &str = r#"{"version":1,"realm":"api","environments":["live"],
  "plans":{"free":{"limits":[{"requests":3,"per":"1m"}]},
           "daily":{"limits":[{"requests":2,"per":"1s"}],"quota":{"requests":3,"per":"day"}},
           "both":{"limits":[{"requests":2,"per":"1s"},{"requests":5,"per":"1m","by":"client"}]}},
  "routes":[
    {"path":"/healthz","auth":"none"},
    {"path":"/maybe","auth":"optional"},
    {"path":"/users/{id}","methods":["GET"],"scopes":["read"]},
    {"path":"/users/{id}","methods":["PUT"],"scopes":["read","write"]},
    {"path":"/any","any_scope":["read","admin"]},
    {"path":"/dear","cost":3},
    {"path":"/tight","limit":{"requests":1,"per":"1h","by":"client"}}
  ]}"#;

struct World {
    keyset: InForce,
    key: Fresh,
}

fn fresh(seed: u8) -> Fresh {
    let mut n = seed;
    let Ok(key) = generate(
        &"ks".parse().unwrap(),
        &"live".parse().unwrap(),
        |b: &mut [u8]| -> Result<(), core::convert::Infallible> {
            b.fill_with(|| {
                n = n.wrapping_mul(29).wrapping_add(41);
                n
            });
            Ok(())
        },
    );
    key
}

fn row(key: &Fresh) -> Row {
    Row {
        id: key.id,
        digest: key.digest,
        foreign: false,
        client: "acme".into(),
        client_number: 1,
        environment: "live".parse::<Name>().unwrap(),
        publishable: false,
        scopes: vec!["read".into()],
        plan: None,
        limits: Vec::new(),
        expires: None,
        not_before: None,
        overlap_end: None,
        disabled: false,
        revoked: false,
        lineage: key.id,
        allow: Vec::new(),
        deny: Vec::new(),
        origins: Vec::new(),
        certificates: Vec::new(),
    }
}

fn loaded(policy: &str, change: impl FnOnce(&mut Row)) -> (Keyset, Fresh) {
    let key = fresh(1);
    let mut row = row(&key);
    change(&mut row);
    let content = Content {
        store: StoreId([9; 8]),
        version: 1,
        issued_at: NOW,
        policy: serde_json::from_str(policy).unwrap(),
        zones: Default::default(),
        rows: vec![row],
    };
    let signing = SigningKey::new("k", Zeroizing::new(vec![1; 32])).unwrap();
    let text = build(&content).unwrap().seal(&signing, 0);
    let keyset = Keyset::load(
        &mut text.as_bytes(),
        &SigningKeys::new(vec![signing]),
        |_| {},
    )
    .ok()
    .unwrap();
    (keyset, key)
}

fn world_with(policy: &str, change: impl FnOnce(&mut Row)) -> World {
    let (keyset, key) = loaded(policy, change);
    let keyset = keyset.into();
    World { keyset, key }
}

fn world(change: impl FnOnce(&mut Row)) -> World {
    world_with(POLICY, change)
}

#[derive(Clone)]
struct Call {
    pairs: Vec<(String, Vec<u8>)>,
    address: Option<&'static str>,
    peer: Peer<'static>,
    tls: bool,
    virtual_host: Option<&'static str>,
    wall: u64,
    monotonic: u64,
    prior: Option<Prior>,
}

fn call(method: &str, path: &str) -> Call {
    let pairs = [(":method", method), (":path", path), (":authority", "h")];
    Call {
        pairs: pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.as_bytes().to_vec()))
            .collect(),
        address: Some("192.0.2.1"),
        peer: Peer::default(),
        tls: false,
        virtual_host: None,
        wall: NOW,
        monotonic: 1 << 40,
        prior: None,
    }
}

impl Call {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.pairs.push((name.into(), value.as_bytes().to_vec()));
        self
    }

    fn keyed(self, world: &World) -> Self {
        let text = world.key.text.expose_secret().to_owned();
        self.with("x-api-key", &text)
    }

    fn decide<'k>(&self, world: &'k World, buckets: &mut MemoryBuckets) -> Decision<'k> {
        let bytes = Headers::encode(&self.pairs);
        let request = Request {
            headers: Headers::new(&bytes),
            address: self.address.map(|a| a.parse().unwrap()),
            peer: self.peer,
            tls: self.tls,
            virtual_host: self.virtual_host,
        };
        let clocks = Clocks {
            wall: self.wall,
            monotonic: self.monotonic,
        };
        let mut notes = Vec::new();
        let decision = decide(
            Ok(&world.keyset),
            &request,
            clocks,
            || self.prior,
            buckets,
            &mut notes,
        );
        let quiet = decide(
            Ok(&world.keyset),
            &request,
            clocks,
            || self.prior,
            &mut MemoryBuckets::default(),
            &mut (),
        );
        assert_eq!(
            notes.iter().all(|n| n.held),
            decision.verdict.is_ok(),
            "{notes:?}"
        );
        assert!(
            quiet.rate.is_some() || quiet.code() == decision.code(),
            "tracing changes nothing"
        );
        decision
    }

    fn code(&self, world: &World) -> &'static str {
        self.decide(world, &mut MemoryBuckets::default()).code()
    }

    fn verdict(&self, world: &World) -> Result<(), Denial> {
        self.decide(world, &mut MemoryBuckets::default()).verdict
    }
}

#[test]
fn a_key_opens_what_its_scopes_say() {
    let w = world(|_| {});
    for (method, path, code) in [
        ("GET", "/users/7", "ok"),
        ("PUT", "/users/7", "insufficient_scope"),
        ("DELETE", "/users/7", "route_denied"),
        ("GET", "/any", "ok"),
        ("GET", "/nowhere", "route_denied"),
        ("GET", "/users/7/x", "route_denied"),
        ("GET", "/users/%2e%2e", "ambiguous_path"),
        ("GET", "/users/7;x=1", "ok"),
        ("GET", "/users/7;/x", "ambiguous_path"),
        ("GET", "/healthz", "ok"),
    ] {
        assert_eq!(
            call(method, path).keyed(&w).code(&w),
            code,
            "{method} {path}"
        );
    }
    let none = world(|r| r.scopes.clear());
    assert_eq!(
        call("GET", "/any").keyed(&none).code(&none),
        "insufficient_scope"
    );
}

#[test]
fn without_a_key_only_open_routes_answer() {
    let w = world(|_| {});
    for (path, code) in [
        ("/users/7", "missing_api_key"),
        ("/maybe", "ok"),
        ("/healthz", "ok"),
        ("/healthz/../users/7", "ambiguous_path"),
        ("/nowhere", "route_denied"),
    ] {
        assert_eq!(call("GET", path).code(&w), code, "{path}");
    }
    assert_eq!(
        call("GET", "/maybe").with("x-api-key", "nonsense").code(&w),
        "malformed_api_key"
    );
}

#[test]
fn the_lifecycle_turns_at_its_second() {
    type Change = fn(&mut Row);
    let cases: [(Change, &[(u64, &str)]); 6] = [
        (
            |r| r.expires = Some(NOW + 10),
            &[(9, "ok"), (10, "expired_api_key")],
        ),
        (
            |r| r.not_before = Some(NOW + 10),
            &[(9, "inactive_api_key"), (10, "ok")],
        ),
        (
            |r| r.overlap_end = Some(NOW + 10),
            &[(9, "ok"), (10, "expired_api_key")],
        ),
        (|r| r.disabled = true, &[(0, "disabled_api_key")]),
        (|r| r.revoked = true, &[(0, "revoked_api_key")]),
        (
            |r| {
                r.revoked = true;
                r.expires = Some(NOW + 1);
                r.disabled = true
            },
            &[(5, "revoked_api_key")],
        ),
    ];
    for (change, times) in cases {
        let w = world(change);
        for (after, code) in times {
            let mut c = call("GET", "/users/7").keyed(&w);
            c.wall = NOW + after;
            assert_eq!(c.code(&w), *code, "after {after}");
        }
    }
}

#[test]
fn a_mended_environment_or_brand_gains_nothing() {
    let w = world(|r| r.environment = "test".parse().unwrap());
    // The text says `live`, the entry `test`.
    assert_eq!(
        call("GET", "/users/7").keyed(&w).code(&w),
        "unknown_api_key"
    );
    let policy = POLICY.replace("\"realm\"", "\"brand\":\"other\",\"realm\"");
    let w = world_with(&policy, |_| {});
    assert_eq!(
        call("GET", "/users/7").keyed(&w).code(&w),
        "unknown_api_key"
    );
    let closed = POLICY.replace("[\"live\"]", "[\"prod\"]");
    let w = world_with(&closed, |_| {});
    assert_eq!(
        call("GET", "/users/7").keyed(&w).code(&w),
        "environment_denied"
    );
}

#[test]
fn networks_and_origins_bind() {
    let net = |a: &str, prefix_len| Network {
        address: a.parse().unwrap(),
        prefix_len,
    };
    let w = world(|r| r.allow = vec![net("192.0.2.0", 24)]);
    let c = call("GET", "/users/7").keyed(&w);
    assert_eq!(c.code(&w), "ok");
    assert_eq!(
        Call {
            address: Some("198.51.100.1"),
            ..c.clone()
        }
        .code(&w),
        "address_denied"
    );
    assert_eq!(Call { address: None, ..c }.code(&w), "address_denied");

    let w = world(|r| {
        r.publishable = true;
        r.origins = vec!["https://app.example".into()]
    });
    let c = call("GET", "/dear").keyed(&w);
    assert_eq!(c.code(&w), "origin_denied");
    assert_eq!(
        c.clone().with("origin", "https://evil.example").code(&w),
        "origin_denied"
    );
    assert_eq!(c.with("origin", "https://APP.example").code(&w), "ok");
    let w = world(|r| r.publishable = true);
    let c = call("GET", "/dear").keyed(&w);
    assert_eq!(
        c.with("origin", "https://app.example").code(&w),
        "origin_denied",
        "bound to none is open to none"
    );
}

#[test]
fn a_port_that_goes_without_saying_makes_no_other_origin() {
    for (issued, sent, code) in [
        ("https://app.example:443", "https://app.example", "ok"),
        ("https://app.example", "https://app.example:443", "ok"),
        ("HTTPS://APP.example:443", "https://app.example", "ok"),
        ("http://app.example:80", "http://app.example", "ok"),
        ("http://[::1]:80", "http://[::1]", "ok"),
        (
            "https://app.example:80",
            "https://app.example",
            "origin_denied",
        ),
        (
            "http://app.example:443",
            "http://app.example",
            "origin_denied",
        ),
        ("https://app.example", "http://app.example", "origin_denied"),
        (
            "https://app.example:443",
            "https://app.example:444",
            "origin_denied",
        ),
    ] {
        let w = world(|r| r.origins = vec![issued.into()]);
        let c = call("GET", "/users/7").keyed(&w).with("origin", sent);
        assert_eq!(c.code(&w), code, "{issued} {sent}");
    }
}

#[test]
fn a_publishable_key_holds_what_the_policy_leaves_to_such_keys_today() {
    let policy = |scopes: &str| {
        POLICY.replace(
            r#""routes""#,
            &format!(r#""publishable":{{"scopes":[{scopes}]}},"routes""#),
        )
    };
    for (allowed, publishable, path, code) in [
        (r#""read""#, true, "/users/7", "ok"),
        (r#""read""#, true, "/any", "ok"),
        (r#""write""#, true, "/users/7", "insufficient_scope"),
        (r#""write""#, true, "/any", "insufficient_scope"),
        ("", true, "/users/7", "insufficient_scope"),
        ("", false, "/users/7", "ok"),
        ("", false, "/any", "ok"),
    ] {
        let w = world_with(&policy(allowed), |r| {
            r.publishable = publishable;
            r.origins = vec!["https://a.example".into()];
        });
        let c = call("GET", path)
            .keyed(&w)
            .with("origin", "https://a.example");
        assert_eq!(c.code(&w), code, "{allowed} {publishable} {path}");
    }
}

#[test]
fn foreign_keys_are_found_by_their_whole_text_and_ours_by_theirs_alone() {
    let text = "hunter2-correct-horse";
    let w = world(|r| {
        r.foreign = true;
        r.digest = crate::key::Digest::of_foreign(text.as_bytes());
    });
    assert_eq!(
        call("GET", "/users/7").with("x-api-key", text).code(&w),
        "ok"
    );
    assert_eq!(
        call("GET", "/users/7")
            .with("x-api-key", "hunter3")
            .code(&w),
        "unknown_api_key"
    );
    assert_eq!(
        call("GET", "/users/7").keyed(&w).code(&w),
        "unknown_api_key"
    );
    // The part of our key that is hashed is no key by itself, not even as a foreign one.
    let (mut keyset, key) = loaded(POLICY, |_| {});
    keyset.foreign = true;
    let keyset = keyset.into();
    let w = World { keyset, key };
    let body: String = w
        .key
        .text
        .expose_secret()
        .chars()
        .skip(8)
        .take(53)
        .collect();
    assert_eq!(
        call("GET", "/users/7").with("x-api-key", &body).code(&w),
        "unknown_api_key"
    );
    // A whole native key imported by the digest of its text works as a foreign one.
    let whole = world(|r| {
        r.foreign = true;
        r.digest = crate::key::Digest::of_foreign(fresh(1).text.expose_secret().as_bytes());
    });
    assert_eq!(call("GET", "/users/7").keyed(&whole).code(&whole), "ok");
}

#[test]
fn plain_http_is_refused_at_once_where_tls_is_required() {
    let w = world_with(
        &POLICY.replace("\"realm\"", "\"require_tls\":true,\"realm\""),
        |_| {},
    );
    let c = call("GET", "/users/7").with("x-api-key", "whatever");
    assert_eq!(c.code(&w), "tls_required");
    assert_eq!(
        Call {
            tls: true,
            ..call("GET", "/users/7").keyed(&w)
        }
        .code(&w),
        "ok"
    );
    assert_eq!(call("GET", "/healthz").code(&w), "ok");
}

#[test]
fn preflights_pass_only_where_the_policy_says_so() {
    let preflight = call("OPTIONS", "/users/7")
        .with("origin", "https://a")
        .with("access-control-request-method", "GET");
    let w = world(|_| {});
    assert_eq!(preflight.code(&w), "route_denied");
    let w = world_with(
        &POLICY.replace("\"realm\"", "\"preflight\":\"allow\",\"realm\""),
        |_| {},
    );
    assert_eq!(preflight.code(&w), "ok");
    for half in [
        call("OPTIONS", "/users/7"),
        call("OPTIONS", "/users/7").with("origin", "https://a"),
        call("OPTIONS", "/users/7").with("access-control-request-method", "GET"),
    ] {
        assert_eq!(half.code(&w), "route_denied", "{:?}", half.pairs);
    }
    let get = call("GET", "/users/7")
        .with("origin", "https://a")
        .with("access-control-request-method", "GET");
    assert_eq!(get.code(&w), "missing_api_key");
}

#[test]
fn limits_of_plan_route_and_client_are_taken_together() {
    let w = world(|r| r.plan = Some("free".into()));
    let mut b = MemoryBuckets::default();
    let tight = call("GET", "/tight").keyed(&w);
    assert_eq!(tight.decide(&w, &mut b).code(), "ok");
    for _ in 0..5 {
        let d = tight.decide(&w, &mut b);
        assert_eq!(d.verdict, Err(Denial::RateLimited { retry_after: 3600 }));
        assert_eq!(d.rate.unwrap().tightest, 1);
    }
    let users = call("GET", "/users/7").keyed(&w);
    assert_eq!(
        users.decide(&w, &mut b).rate.unwrap().remaining,
        1,
        "refusals took nothing"
    );
    assert_eq!(users.decide(&w, &mut b).code(), "ok");
    assert_eq!(
        users.decide(&w, &mut b).verdict,
        Err(Denial::RateLimited { retry_after: 20 })
    );
}

#[test]
fn limits_of_the_key_replace_those_of_its_plan() {
    let own = crate::policy::checked_limits(
        "l",
        &serde_json::from_str::<Vec<_>>(r#"[{"requests":1,"per":"1m"}]"#).unwrap(),
    )
    .unwrap();
    let w = world(|r| {
        r.plan = Some("free".into());
        r.limits = own
    });
    let mut b = MemoryBuckets::default();
    // Dearer than the whole bucket: takes the whole bucket.
    let dear = call("GET", "/dear").keyed(&w);
    assert_eq!(dear.decide(&w, &mut b).code(), "ok");
    assert_eq!(
        dear.decide(&w, &mut b).verdict,
        Err(Denial::RateLimited { retry_after: 60 })
    );
}

#[test]
fn a_second_pass_is_checked_but_not_charged() {
    let w = world(|r| r.plan = Some("free".into()));
    let mut b = MemoryBuckets::default();
    let first = call("GET", "/users/7").keyed(&w).decide(&w, &mut b);
    let prior = first.prefix.map(Prior::Admitted);
    for _ in 0..10 {
        let again = Call {
            prior,
            ..call("GET", "/users/8")
        };
        assert_eq!(again.decide(&w, &mut b).code(), "ok");
        let other = Call {
            prior,
            ..call("PUT", "/users/8")
        };
        assert_eq!(other.decide(&w, &mut b).code(), "insufficient_scope");
    }
    assert_eq!(
        call("GET", "/users/7")
            .keyed(&w)
            .decide(&w, &mut b)
            .rate
            .unwrap()
            .remaining,
        1
    );
    let gone = Call {
        prior: Some(Prior::Admitted([0; 16])),
        ..call("GET", "/users/8")
    };
    assert_eq!(gone.code(&w), "unknown_api_key");
}

#[test]
fn an_earlier_pass_is_asked_about_only_without_a_key() {
    let w = world(|_| {});
    let asked = Cell::new(0);
    for (c, times) in [
        (call("GET", "/users/7").keyed(&w), 0),
        (call("GET", "/users/7"), 1),
        (call("GET", "/healthz"), 0),
    ] {
        asked.set(0);
        let bytes = Headers::encode(&c.pairs);
        let request = Request {
            headers: Headers::new(&bytes),
            address: None,
            peer: Peer::default(),
            tls: false,
            virtual_host: None,
        };
        let prior = || {
            asked.set(asked.get() + 1);
            None
        };
        decide(
            Ok(&w.keyset),
            &request,
            Clocks {
                wall: NOW,
                monotonic: 1,
            },
            prior,
            &mut MemoryBuckets::default(),
            &mut (),
        );
        assert_eq!(asked.get(), times);
    }
}

#[test]
fn without_a_keyset_or_past_its_time_nothing_is_decided() {
    let policy = POLICY.replace("\"realm\"", "\"not_after\":\"1h\",\"realm\"");
    let w = world_with(&policy, |_| {});
    for (after, code) in [(3599, "ok"), (3600, "keyset_unavailable")] {
        let mut c = call("GET", "/healthz");
        c.wall = NOW + after;
        assert_eq!(c.code(&w), code);
    }
    let bytes = Headers::encode(&call("GET", "/healthz").pairs);
    let request = Request {
        headers: Headers::new(&bytes),
        address: None,
        peer: Peer::default(),
        tls: false,
        virtual_host: None,
    };
    for why in [Unavailable::None, Unavailable::OverlayWithoutBase] {
        let d = decide(
            Err(why),
            &request,
            Clocks {
                wall: 0,
                monotonic: 0,
            },
            || None,
            &mut MemoryBuckets::default(),
            &mut (),
        );
        assert_eq!(d.verdict, Err(Denial::KeysetUnavailable(why)));
    }
}

#[test]
fn notes_never_hold_the_key() {
    let w = world(|_| {});
    let text = w.key.text.expose_secret();
    let bytes = Headers::encode(
        &call("GET", "/users/7")
            .keyed(&w)
            .with("authorization", &format!("Bearer {text}"))
            .pairs,
    );
    let request = Request {
        headers: Headers::new(&bytes),
        address: None,
        peer: Peer::default(),
        tls: false,
        virtual_host: None,
    };
    let mut notes = Vec::new();
    decide(
        Ok(&w.keyset),
        &request,
        Clocks {
            wall: NOW,
            monotonic: 1,
        },
        || None,
        &mut MemoryBuckets::default(),
        &mut notes,
    );
    let all = format!("{notes:?}");
    assert!(
        !all.contains(&text[8..]) && !all.contains(&text[18..40]),
        "{all}"
    );
    assert!(all.contains(&w.key.id.to_string()));
    assert_eq!(KeyId::from_u64(w.key.id.as_u64()), Some(w.key.id));
}

proptest! {
    #![proptest_config(crate::seeded())]

    /// Whatever is sent: without the secret nobody passes a protected route, and nothing panics.
    #[test]
    fn nobody_passes_without_the_secret(
        path in "[ -~]{0,20}",
        method in "(GET|PUT|OPTIONS|[a-z]{0,5})",
        headers in proptest::collection::vec(("(x-api-key|authorization|cookie|origin|host|:path|:method|x)", proptest::collection::vec(any::<u8>(), 0..80)), 0..6),
        bearer in any::<bool>(),
    ) {
        let w = world(|_| {});
        let mut c = call(&method, &path);
        for (n, v) in headers {
            let v = if bearer { [b"Bearer ", &v[..]].concat() } else { v };
            c.pairs.push((n, v));
        }
        let d = c.decide(&w, &mut MemoryBuckets::default());
        if d.verdict.is_ok() {
            let open = [0, 1].contains(&d.route.unwrap());
            prop_assert!(open && d.entry.is_none());
        }
    }
}
