use keystile_core::decide::{Clocks, Request, decide};
use keystile_core::key::{KeyText, generate};
use keystile_core::keyset::{
    Content, InForce, KeyRow, Keyset, SigningKey, SigningKeys, StoreId, build,
};
use keystile_core::limit::bucket::MemoryBuckets;
use keystile_core::policy::{RawPolicy, RawRoute};
use keystile_core::request::certificate::Peer;
use keystile_core::request::headers::Headers;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::file as policy_file;
use keystile_system as system;

#[test]
fn a_template_with_text_is_told_from_the_parameter_around_it() {
    let open = "{path: \"/m/{id}.json\", auth: none}";
    let whole = "{path: \"/m/{id}\"}";
    assert_eq!(
        lines(
            &format!("routes: [{whole}]\n"),
            &format!("routes: [{whole}, {open}]\n")
        ),
        ["opens  /m/{id}.json : was for any key, now for everybody"]
    );
    let (some, any) = ("{path: \"/f/{r+}\"}", "{path: \"/f/{*r}\"}");
    let found = lines(
        &format!("routes: [{some}]\n"),
        &format!("routes: [{any}]\n"),
    );
    assert_eq!(found.len(), 1, "the root alone: {found:?}");
    assert!(found[0].starts_with("opens  /f"), "{found:?}");
}

fn file(text: &str) -> PolicyFile {
    policy_file::parse("policy.yaml", format!("version: 1\n{text}")).unwrap()
}

fn lines(a: &str, b: &str) -> Vec<String> {
    let diff = diff(&file(a), &file(b)).unwrap();
    let everywhere = diff
        .everywhere
        .iter()
        .map(|e| format!("{} {}: {}", e.effect.as_str(), e.field, e.change));
    let routes = diff.routes.iter().map(|r| {
        format!(
            "{} {} {} {}: {}",
            r.effect.as_str(),
            r.methods.join(","),
            r.path,
            r.hosts.join(","),
            r.change
        )
    });
    everywhere.chain(routes).collect()
}

#[test]
fn a_scope_more_closes_and_a_scope_less_opens() {
    let with = |scopes: &str| {
        format!("routes:\n- {{path: \"/v1/users/{{id}}\", methods: [GET], scopes: [{scopes}]}}\n")
    };
    assert_eq!(
        lines(&with("read"), &with("read, 'write:users'")),
        ["closes GET /v1/users/{id} : now also needs `write:users`"]
    );
    assert_eq!(
        lines(&with("read, write"), &with("read")),
        ["opens GET /v1/users/{id} : no longer needs `write`"]
    );
    assert_eq!(
        lines(&with("read"), &with("write")),
        ["moves GET /v1/users/{id} : now also needs `write`, no longer needs `read`"]
    );
}

#[test]
fn another_text_for_the_same_answers_is_no_difference() {
    let a = "routes:\n- {path: /a, methods: [GET, PUT], scopes: [r]}\n- {path: \"/b/{x}\", any_scope: [r, w], scopes: [r]}\n";
    let b = "routes:\n- {path: \"/b/{y}/\", scopes: [r]}\n- {path: /%61, methods: [PUT], any_scope: [r]}\n- {path: /a, methods: [GET], scopes: [r]}\n";
    assert_eq!(lines(a, b), [""; 0]);
}

#[test]
fn a_route_taken_out_falls_to_the_next_one() {
    let a = "routes:\n- {path: \"/v1/{*rest}\", scopes: [read]}\n- {path: /v1/admin, scopes: [admin]}\n";
    let b = "routes:\n- {path: \"/v1/{*rest}\", scopes: [read]}\n";
    assert_eq!(
        lines(a, b),
        ["moves  /v1/admin : now also needs `read`, no longer needs `admin`"]
    );
    assert_eq!(
        lines(b, "routes: []\n"),
        ["closes  /v1/{*rest} : was for keys with `read`, now for nobody"]
    );
}

#[test]
fn hosts_and_methods_are_named_where_it_is_not_every_one() {
    let a = "routes:\n- {path: /a, scopes: [r]}\n";
    let b = "routes:\n- {path: /a, scopes: [r]}\n- {path: /a, hosts: ['*.e.com'], methods: [PUT], scopes: [r, w]}\n";
    assert_eq!(lines(a, b), ["closes PUT /a *.e.com: now also needs `w`"]);
}

#[test]
fn limits_and_what_holds_everywhere_are_told_apart_from_access() {
    let a = "plans: {free: {limits: [{requests: 1, per: 1s}]}}\nroutes:\n- {path: /a}\n";
    let b = "mode: shadow\nenvironments: [test]\nplans: {free: {limits: [{requests: 2, per: 1s}]}}\nroutes:\n- {path: /a, cost: 2}\n";
    assert_eq!(
        lines(a, b),
        [
            "opens mode: refusals are only counted: every request passes",
            "opens environments: keys are now accepted in `test`",
            "closes environments: keys are no longer accepted in `live`",
            "alters plans.free: 2/1s instead of 1/1s",
            "alters  /a : cost 2 instead of 1",
        ]
    );
}

fn policy() -> impl Strategy<Value = RawPolicy> {
    let words = || proptest::sample::subsequence(vec!["r".to_owned(), "w".to_owned()], 0..=2);
    let methods = proptest::sample::subsequence(vec!["GET".to_owned(), "PUT".to_owned()], 0..=2);
    let hosts = proptest::sample::subsequence(
        vec!["h.e".to_owned(), "*.e".to_owned(), "*.z.e".to_owned()],
        0..=2,
    );
    let path = (
        proptest::collection::vec(
            prop_oneof![4 => "a", 4 => "b", 4 => "\\{x\\}", 1 => "c\\{x\\}", 1 => "\\{x\\}c"],
            0..3,
        ),
        prop_oneof!["", "", "/\\{\\*r\\}", "/\\{r\\+\\}"],
    );
    let route = (path, methods, hosts, words(), words(), 0..6u8).prop_map(
        |((segments, rest), methods, hosts, scopes, any_scope, auth)| {
            let mut path = segments.iter().fold(String::new(), |p, s| p + "/" + s);
            path.push_str(match (rest.as_str(), path.is_empty()) {
                ("", true) => "/{*r}",
                (rest, _) => rest,
            });
            let auth = match auth {
                0 => Auth::None,
                1 => Auth::Optional,
                _ => Auth::Required,
            };
            let asks = auth == Auth::Required;
            RawRoute {
                path,
                methods,
                hosts,
                auth,
                scopes: if asks { scopes } else { Vec::new() },
                any_scope: if asks { any_scope } else { Vec::new() },
                ..RawRoute::default()
            }
        },
    );
    (proptest::collection::vec(route, 0..5), any::<bool>()).prop_map(|(routes, deny)| {
        let mut raw: RawPolicy = serde_json::from_str("{\"version\": 1}").unwrap();
        raw.unmatched = if deny {
            Unmatched::Deny
        } else {
            Unmatched::Authenticated
        };
        // Routes that conflict with one before are left out.
        for route in routes {
            raw.routes.push(route);
            if Policy::new(&raw, []).is_err() {
                raw.routes.pop();
            }
        }
        raw
    })
}

/// The filter's own decision about every set of scopes, and about no key.
struct Oracle {
    keyset: InForce,
    keys: Vec<KeyText>,
}

impl Oracle {
    fn new(raw: &RawPolicy) -> Self {
        let world = system::at(1_800_000_000);
        let policy = Policy::new(raw, []).unwrap();
        let mut rows = Vec::new();
        let mut keys = Vec::new();
        for scopes in [&[][..], &["r"], &["w"], &["r", "w"]] {
            let fresh = generate(&policy.brand, &policy.environments[0], world.entropy).unwrap();
            rows.push(KeyRow {
                id: fresh.id,
                digest: fresh.digest,
                foreign: false,
                client: "c".to_owned(),
                client_number: 1,
                environment: policy.environments[0].clone(),
                publishable: false,
                scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
                plan: None,
                limits: Vec::new(),
                expires: None,
                not_before: None,
                overlap_end: None,
                disabled: false,
                revoked: false,
                lineage: fresh.id,
                allow: Vec::new(),
                deny: Vec::new(),
                origins: Vec::new(),
                certificates: Vec::new(),
            });
            keys.push(fresh.text);
        }
        let content = Content {
            store: StoreId([0; 8]),
            version: 1,
            issued_at: 1_800_000_000,
            policy: raw.clone(),
            zones: Default::default(),
            rows,
        };
        let signer = SigningKey::new("k", Zeroizing::new(vec![7; 32])).unwrap();
        let sealed = build(&content).unwrap().seal(&signer, 0);
        let keys_of = SigningKeys::new(vec![signer]);
        let keyset = Keyset::load(&mut sealed.as_bytes(), &keys_of, |_| {})
            .map(InForce::from)
            .ok()
            .unwrap();
        Self { keyset, keys }
    }

    fn answers(&self, host: &str, method: &str, path: &str) -> Vec<bool> {
        let keys = self.keys.iter().map(KeyText::expose_secret);
        // No key, a bad one, and one for each set of scopes.
        let shown = [None, Some("bad")].into_iter().chain(keys.map(Some));
        shown
            .map(|key| {
                let mut pairs = vec![(":method", method), (":path", path), (":authority", host)];
                pairs.extend(key.map(|k| ("x-api-key", k)));
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
                decide(
                    Ok(&self.keyset),
                    &request,
                    clocks,
                    || None,
                    &mut buckets,
                    &mut (),
                )
                .verdict
                .is_ok()
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Against brute force over a small alphabet: each class is right about its changes,
    /// and every pair of answers that some request gets, some class's example gets.
    #[test]
    fn the_classes_are_all_there_is_and_each_is_right(a in policy(), b in policy()) {
        let (before, after) = (Oracle::new(&a), Oracle::new(&b));
        let (p, q) = (Policy::new(&a, []).unwrap(), Policy::new(&b, []).unwrap());
        let classes = Classes::of_both(&a, &b).unwrap();
        let mut known = BTreeSet::new();
        for class in classes.iter() {
            let x = before.answers(class.host, class.method, class.path);
            let y = after.answers(class.host, class.method, class.path);
            let (from, to) = (ask(&p, &class).outcome, ask(&q, &class).outcome);
            prop_assert_eq!(from == to, x == y, "{} {} {}", class.host, class.method, class.path);
            let opens = x.iter().zip(&y).any(|(x, y)| !x & y);
            let closes = x.iter().zip(&y).any(|(x, y)| x & !y);
            let effect = match (opens, closes) {
                (true, true) => Effect::Moves,
                (true, false) => Effect::Opens,
                (false, true) => Effect::Closes,
                (false, false) => Effect::Alters,
            };
            prop_assert_eq!(from.effect(&to), effect);
            known.insert((x, y));
        }
        let mut paths = vec![String::new()];
        // No `c`: some readers find it under `c{x}`, so that it is refused, and in no class.
        for words in [&["a", "b", "d", "ac", "cb", "cc"][..]; 2].into_iter().chain([&["a", "b", "d"][..]]) {
            let longer: Vec<String> = paths
                .iter()
                .flat_map(|p| words.iter().map(move |s| format!("{p}/{s}")))
                .collect();
            paths.extend(longer);
        }
        paths.sort();
        paths.dedup();
        for path in &paths {
            let path = if path.is_empty() { "/" } else { path };
            for host in ["h.e", "q.e", "q.z.e", "other"] {
                for method in ["GET", "PUT", "ZAP"] {
                    let pair = (
                        before.answers(host, method, path),
                        after.answers(host, method, path),
                    );
                    prop_assert!(known.contains(&pair), "{host} {method} {path}");
                }
            }
        }
    }
}
