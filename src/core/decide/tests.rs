use super::*;
use crate::key::{Fresh, KeyId, Name, generate};
use crate::keyset::{Content, KeyRow, Keyset, SigningKey, SigningKeys, StoreId, build};
use crate::limit::bucket::MemoryBuckets;
use crate::request::certificate::Peer;
use crate::request::headers::Headers;
use proptest::prelude::*;
use zeroize::Zeroizing;

mod asked;
mod attempts;
mod both;
mod certificates;
mod conditions;
mod empty;
mod exposed;
mod foreign;
mod limits;
pub(super) mod lookups;
mod passes;
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

fn row(key: &Fresh) -> KeyRow {
    KeyRow {
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

fn loaded(policy: &str, change: impl FnOnce(&mut KeyRow)) -> (Keyset, Fresh) {
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

fn world_with(policy: &str, change: impl FnOnce(&mut KeyRow)) -> World {
    let (keyset, key) = loaded(policy, change);
    let keyset = keyset.into();
    World { keyset, key }
}

fn world(change: impl FnOnce(&mut KeyRow)) -> World {
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

/// A request of which nothing but its headers is known.
fn plain(headers: &[u8]) -> Request<'_> {
    Request {
        headers: Headers::new(headers),
        address: None,
        peer: Peer::default(),
        tls: false,
        virtual_host: None,
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
fn without_a_keyset_or_past_its_time_nothing_is_decided() {
    let policy = POLICY.replace("\"realm\"", "\"not_after\":\"1h\",\"realm\"");
    let w = world_with(&policy, |_| {});
    for (after, code) in [(3599, "ok"), (3600, "keyset_unavailable")] {
        let mut c = call("GET", "/healthz");
        c.wall = NOW + after;
        assert_eq!(c.code(&w), code);
    }
    let bytes = Headers::encode(&call("GET", "/healthz").pairs);
    let request = plain(&bytes);
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
