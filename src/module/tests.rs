//! The module as Envoy calls it, with an Envoy that is not there.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use keystile_core::key::{Fresh, generate};
use keystile_core::keyset::{Content, KeyRow, SigningKey, StoreId, build};
use keystile_core::policy::RawPolicy;
use keystile_core::report::message::{KID_HEADER, SIGNATURE_HEADER};
use zeroize::Zeroizing;

use crate::abi::Map;
use crate::abi::fake::{self, Made, Replied, Request};

mod border;
mod buckets;
mod calls;
mod orders;
mod pushes;
mod refused;
mod secrets;

const POLICY: &str = r#"{
    "version": 1, "realm": "r", "credentials": [{"header": "x-api-key"}, {"cookie": "k"}],
    "plans": {"few": {"limits": [{"requests": 3, "per": "1d"}]}, "many": {"limits": [{"requests": 500, "per": "1d"}]}},
    "routes": [
        {"path": "/healthz", "auth": "none"},
        {"path": "/v1/{*rest}", "scopes": ["read"]},
        {"path": "/any/{*rest}"}
    ]
}"#;

static SIGNER: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::new("test", Zeroizing::new(vec![7; 32])).unwrap());

/// A store of a test's own.
struct Store {
    content: Content,
    nonce: u64,
}

impl Store {
    fn new(policy: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        fake::install(&SIGNER.expose_secret());
        let policy: RawPolicy = serde_json::from_str(policy).unwrap();
        Self {
            content: Content {
                store: StoreId(NEXT.fetch_add(1, Ordering::SeqCst).to_be_bytes()),
                version: 1,
                issued_at: 1_700_000_000,
                policy,
                zones: BTreeMap::default(),
                rows: Vec::new(),
            },
            nonce: 0,
        }
    }

    fn issue(&mut self, plan: &str, scopes: &[&str]) -> String {
        static SEED: AtomicU64 = AtomicU64::new(1);
        let seed = SEED.fetch_add(1, Ordering::SeqCst);
        let mut next = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let entropy = |bytes: &mut [u8]| {
            for byte in bytes {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (next >> 33) as u8;
            }
            Ok::<(), ()>(())
        };
        let (brand, live) = ("ks".parse().unwrap(), "live".parse().unwrap());
        let Fresh {
            text, id, digest, ..
        } = generate(&brand, &live, entropy).unwrap();
        self.content.rows.push(KeyRow {
            id,
            digest,
            foreign: false,
            client: "acme".to_owned(),
            client_number: 1,
            environment: live,
            publishable: false,
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            plan: (!plan.is_empty()).then(|| plan.to_owned()),
            limits: Vec::new(),
            expires: None,
            not_before: None,
            overlap_end: None,
            disabled: false,
            revoked: false,
            lineage: id,
            allow: Vec::new(),
            deny: Vec::new(),
            origins: Vec::new(),
            certificates: Vec::new(),
        });
        self.content.version += 1;
        text.expose_secret().to_owned()
    }

    fn sealed(&mut self) -> String {
        self.nonce += 1;
        build(&self.content).unwrap().seal(&*SIGNER, self.nonce)
    }

    fn made(&mut self) -> Made {
        let (made, _) = fake::configure("keystile", self.sealed().as_bytes());
        made.expect("a good configuration is taken")
    }
}

/// A store with one key, which may read, and its configuration.
fn one() -> (Store, String, Made) {
    let mut store = Store::new(POLICY);
    let key = store.issue("", &["read"]);
    let made = store.made();
    (store, key, made)
}

fn get<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![(":method", "GET"), (":path", path), (":authority", "h")];
    all.extend(more);
    all
}

fn code(reply: &Replied) -> &str {
    let (_, code) = reply.body.split_once("\"code\":\"").unwrap();
    code.split('"').next().unwrap()
}

#[test]
fn a_key_is_let_in_and_told_and_does_not_go_on() {
    let (_, key, made) = one();
    let cookie = format!("a=1; k={key}; b=2");
    let request = made.request(&get(
        "/v1/a",
        &[
            ("x-api-key", &key),
            ("cookie", &cookie),
            ("x-keystile-client", "forged"),
        ],
    ));
    assert!(request.headers());
    let headers = request.shown(Map::Request);
    assert!(
        headers.contains(&"x-keystile-client: acme".to_owned()),
        "{headers:?}"
    );
    assert!(headers.contains(&"x-keystile-scopes: read".to_owned()));
    assert!(headers.contains(&"cookie: a=1; b=2".to_owned()));
    assert!(
        !headers
            .iter()
            .any(|h| h.contains(&key) || h.contains("forged"))
    );
    assert_eq!(
        request.state("wasm.keystile.client").as_deref(),
        Some("acme")
    );
    assert!(
        request
            .state("wasm.keystile.key")
            .is_some_and(|id| key.contains(&id))
    );
    assert!(request.replies().is_empty());
    assert_eq!(made.metric("outcome=.=ok;.;keystile_requests_total"), 1);
    let open = made.request(&get("/healthz", &[]));
    assert!(open.headers());
    assert_eq!(open.state("wasm.keystile.client").as_deref(), Some("-"));
}

#[test]
fn a_guard_finds_the_mark_of_requests_that_go_on_and_of_no_others() {
    let (_, key, made) = one();
    let mark = |path, headers: &[(&str, &str)]| {
        let request = made.request(&get(path, headers));
        let goes_on = request.headers();
        (goes_on, request.state("wasm.keystile.pass"))
    };
    let (goes_on, with_key) = mark("/v1/a", &[("x-api-key", &key)]);
    assert!(goes_on && with_key.is_some_and(|mark| mark.starts_with("keystile:")));
    let nobody = Some("keystile:-".to_owned());
    assert_eq!(mark("/healthz", &[]), (true, nobody));
    assert_eq!(mark("/v1/a", &[]), (false, None));
}

#[test]
fn a_pass_behind_another_filter_leaves_its_mark_under_its_own_name() {
    let (store, key, made) = one();
    let other = Store::new(POLICY).made();
    let first = other.request(&get("/healthz", &[]));
    assert!(first.headers());
    let with_key = get("/v1/a", &[("x-api-key", &key)]);
    let second = made.request(&with_key).after(&first);
    assert!(second.headers());
    assert_eq!(second.state("wasm.keystile.pass").unwrap(), "keystile:-");
    let own = format!("wasm.keystile.pass.{}", store.content.store);
    assert!(second.state(&own).unwrap().starts_with("keystile:"));
    assert!(
        made.request(&get("/v1/b", &[])).after(&second).headers(),
        "and finds it after a redirect"
    );
}

#[test]
fn what_is_refused_is_answered_as_everywhere() {
    let (mut store, _, first) = one();
    let few = store.issue("few", &["read"]);
    let poor = store.issue("", &[]);
    let made = store.made();
    let ask = |path: &str, key: Option<&str>| {
        let header = key.map(|key| ("x-api-key", key));
        let request = made.request(&get(path, header.as_slice()));
        match request.headers() {
            true => ("ok".to_owned(), 200),
            false => {
                let reply = &request.replies()[0];
                assert!(reply.details.starts_with("keystile:"), "{reply:?}");
                assert_eq!(
                    request.state("wasm.keystile.reason").as_deref(),
                    Some(code(reply))
                );
                (code(reply).to_owned(), reply.status)
            }
        }
    };
    assert_eq!(ask("/v1/a", None), ("missing_api_key".into(), 401));
    assert_eq!(
        ask("/v1/a", Some("nonsense")),
        ("malformed_api_key".into(), 401)
    );
    assert_eq!(
        ask("/v1/a", Some(&poor)),
        ("insufficient_scope".into(), 403)
    );
    assert_eq!(ask("/any/a", Some(&poor)), ("ok".into(), 200));
    assert_eq!(ask("/nowhere", Some(&few)), ("route_denied".into(), 403));
    let codes = [0; 5].map(|_| ask("/v1/a", Some(&few)).1);
    assert_eq!(codes, [200, 200, 200, 429, 429]);
    assert_eq!(
        made.metric("outcome=.=rate_limited;.;keystile_requests_total"),
        2
    );
    drop(first);
}

#[test]
fn a_second_pass_of_a_redirected_request_knows_the_first() {
    let mut store = Store::new(POLICY);
    let key = store.issue("few", &["read"]);
    let made = store.made();
    let first = made.request(&get("/v1/a", &[("x-api-key", &key)]));
    assert!(first.headers());
    for _ in 0..9 {
        assert!(made.request(&get("/v1/b", &[])).after(&first).headers());
    }
    // And was not charged: two are left.
    let codes = [0; 3].map(|_| {
        made.request(&get("/v1/a", &[("x-api-key", &key)]))
            .headers()
    });
    assert_eq!(codes, [true, true, false]);
}

#[test]
fn fields_of_limits_come_with_the_response_where_the_policy_says_always() {
    let always = POLICY.replace("\"realm\"", "\"rate_limit_fields\":\"always\",\"realm\"");
    let mut store = Store::new(&always);
    let key = store.issue("few", &["read"]);
    let made = store.made();
    let request = made.request(&get("/v1/a", &[("x-api-key", &key)]));
    assert!(request.headers());
    request.response();
    let headers = request.shown(Map::Response);
    let policy = "ratelimit-policy: \"few\";q=3;w=86400".to_owned();
    assert!(headers.contains(&policy), "{headers:?}");
}

#[test]
fn trailers_bring_no_key_and_no_identity() {
    let (_, key, made) = one();
    let mut request = made.request(&get("/v1/a", &[("x-api-key", &key)]));
    assert!(request.headers());
    assert!(request.trailers(&[
        ("x-api-key", &key),
        ("x-keystile-client", "me"),
        ("x-sum", "1")
    ]));
    assert_eq!(request.shown(Map::RequestTrailers), ["x-sum: 1"]);
}

/// The body that `signature` is to be found beside.
fn header<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    &headers.iter().find(|(n, _)| n == name).unwrap().1
}

#[test]
fn usage_and_what_is_in_force_are_reported_signed() {
    let policy = POLICY.replace(
        "\"realm\"",
        "\"report\":{\"cluster\":\"control\",\"every\":\"1s\",\"usage\":true},\"realm\"",
    );
    let mut store = Store::new(&policy);
    let key = store.issue("", &["read"]);
    let (made, _) = fake::configure("keystile", store.sealed().as_bytes());
    assert!(made.is_none(), "nobody says whose reports they would be");
    assert!(fake::has_logged("KEYSTILE_NODE"));
    let made = fake::as_node("edge-1", || store.made());
    assert!(
        made.request(&get("/v1/a", &[("x-api-key", &key)]))
            .headers()
    );
    made.tick();
    let calls = made.calls();
    let id = store.content.store.to_string();
    let of = |path: &str| {
        let mut all = calls.iter().filter(|(cluster, headers, body)| {
            cluster == "control"
                && header(headers, ":path") == path
                && String::from_utf8_lossy(body).contains(&id)
        });
        all.next().unwrap_or_else(|| panic!("{path} in {calls:?}"))
    };
    let (_, headers, body) = of("/v1/reports");
    let keys = keystile_core::keyset::SigningKeys::new(vec![SIGNER.clone()]);
    let (kid, tag) = (
        header(headers, KID_HEADER),
        header(headers, SIGNATURE_HEADER),
    );
    let report = keystile_core::report::open(body, kid, tag, &keys).unwrap();
    assert_eq!(
        (report.node.as_str(), report.vm, report.vms),
        ("edge-1", 0, 1)
    );
    assert_eq!(report.stores[0].version, store.content.version);
}

fn refused_as(request: &Request) -> (u32, String) {
    let reply = request.replies().last().unwrap();
    (reply.status, reply.details.clone())
}
