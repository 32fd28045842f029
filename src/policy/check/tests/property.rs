//! Against the filter's own decision, request by request.

use keystile_core::decide::{Clocks, Request, decide};
use keystile_core::keyset::{Content, InForce, Keyset, SigningKey, SigningKeys, StoreId, build};
use keystile_core::limit::bucket::MemoryBuckets;
use keystile_core::request::certificate::Peer;
use keystile_core::request::headers::Headers;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

fn keyset(raw: &RawPolicy) -> InForce {
    let content = Content {
        store: StoreId([0; 8]),
        version: 1,
        issued_at: 1_800_000_000,
        zones: Default::default(),
        policy: raw.clone(),
        rows: Vec::new(),
    };
    let signer = SigningKey::new("test", Zeroizing::new(vec![7; 32]))
        .ok()
        .unwrap();
    let sealed = build(&content).unwrap().seal(&signer, 0);
    let keys = SigningKeys::new(vec![signer]);
    Keyset::load(&mut sealed.as_bytes(), &keys, |_| {})
        .map(InForce::from)
        .ok()
        .unwrap()
}

/// The code without a key, and the route.
fn answer(keyset: &InForce, host: &str, method: &str, path: &str) -> (&'static str, Option<usize>) {
    let pairs: [(&str, &[u8]); 3] = [
        (":method", method.as_bytes()),
        (":path", path.as_bytes()),
        (":authority", host.as_bytes()),
    ];
    let encoded = Headers::encode(&pairs);
    let request = Request {
        headers: Headers::new(&encoded),
        address: None,
        peer: Peer::default(),
        tls: false,
        virtual_host: None,
    };
    let clocks = Clocks {
        wall: 1_800_000_000,
        monotonic: 1,
    };
    let mut buckets = MemoryBuckets::default();
    let d = decide(Ok(keyset), &request, clocks, || None, &mut buckets, &mut ());
    (d.code(), d.route)
}

fn raw_policy() -> impl Strategy<Value = RawPolicy> {
    let path = prop::sample::select(vec![
        "/{*r}", "/a", "/a/{x}", "/a/b", "/{x}", "/a/{*r}", "/{x}/b",
    ]);
    let methods = prop::sample::select(vec![vec![], vec!["GET"], vec!["GET", "PUT"]]);
    let hosts = prop::sample::select(vec![vec![], vec!["h.e"], vec!["*.e"]]);
    let auth = prop::sample::select(vec![Auth::Required, Auth::Required, Auth::None]);
    let route = (path, methods, hosts, auth).prop_map(|(path, methods, hosts, auth)| RawRoute {
        path: path.to_owned(),
        methods: methods.into_iter().map(str::to_owned).collect(),
        hosts: hosts.into_iter().map(str::to_owned).collect(),
        auth,
        ..RawRoute::default()
    });
    prop::collection::vec(route, 1..6).prop_filter_map("conflict", |routes| {
        let file = policy_file::parse("p", "version: 1\n".to_owned()).ok()?;
        let raw = RawPolicy { routes, ..file.raw };
        Policy::new(&raw, []).is_ok().then_some(raw)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Where nothing is told of methods, a path that one method needs a key for is open to
    /// another only by a rule that names the method or the host more closely.
    #[test]
    fn without_a_warning_no_other_method_of_a_protected_path_is_open(raw in raw_policy()) {
        let policy = Policy::new(&raw, []).unwrap();
        let mut look = Look::at(&raw, &policy);
        look.scan();
        prop_assume!(!look.seen.keys().any(|(_, kind, _)| *kind == Kind::Methods));
        let keyset = keyset(&raw);
        let closeness = |i: usize, host: &str| {
            let hosts = &raw.routes[i].hosts;
            match hosts.first().map(String::as_str) {
                None => 0,
                Some(h) if h == host => 2,
                Some(_) => 1,
            }
        };
        for host in ["h.e", "q.e", "e", "z"] {
            for path in ["/", "/a", "/b", "/a/b", "/a/c", "/c/b", "/a/b/c", "/c/c/c"] {
                let all = ["GET", "PUT", "POST", "HEAD"].map(|m| (m, answer(&keyset, host, m, path)));
                for (_, (code, keyed)) in all {
                    if code != "missing_api_key" {
                        continue;
                    }
                    for (method, (code, open)) in all {
                        if code != "ok" {
                            continue;
                        }
                        let (keyed, open) = (keyed.unwrap(), open.unwrap());
                        let named = raw.routes[open].methods.iter().any(|m| m == method);
                        let closer = closeness(open, host) > closeness(keyed, host);
                        prop_assert!(named || closer, "{method} {host}{path}");
                    }
                }
            }
        }
    }
}
