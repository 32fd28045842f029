use super::*;
use crate::policy::RawPolicy;
use crate::request::credential::{
    KeyHeaders, find, presented, strip, strip_hosts, strip_query, strip_smuggled,
};
use crate::request::headers::Headers;
use crate::request::overrides;
use proptest::prelude::*;

/// Header names that something is looked for in, spelled as servers read them, and others.
const NAMES: [&str; 27] = [
    "script_name",
    "x-script-name",
    "x-forwarded-prefix",
    "x-ms-original-url",
    ":path",
    ":method",
    "authorization",
    "sec-websocket-protocol",
    "x-api-key",
    "x_api_key",
    "cookie",
    "connection",
    "upgrade",
    "x-keystile-client",
    "x_keystile_key",
    "x-keystile.scopes",
    "x-http-method-override",
    "x_original_url",
    "x-forwarded-uri",
    "x-forwarded-host",
    "x.host",
    "forwarded",
    "x-forwarded-for",
    "user-agent",
    "x-request-id",
    "accept",
    "-",
];
const VALUES: [&str; 14] = [
    "ks_live_abcdefg",
    "",
    "Bearer K",
    "bearer",
    "Basic Szo=",
    " \t",
    "K",
    "Bearer K, Basic x",
    "a=b; k=K",
    "/a?api_key=K&b",
    "/a",
    "CONNECT",
    "upgrade, x-keystile-client",
    "host=a",
];

fn policy(credentials: &str) -> Policy {
    let raw: RawPolicy = serde_json::from_str(&format!(
        r#"{{"version":1,"credentials":[{credentials}],"routes":[]}}"#
    ))
    .unwrap();
    Policy::new(&raw, []).unwrap()
}

fn glance(policy: &Policy, headers: Headers<'_>) -> Glance {
    look(policy, headers).0
}

fn look<'a>(policy: &Policy, headers: Headers<'a>) -> (Glance, Option<&'a [u8]>) {
    let (mut glance, mut held) = (Glance::NOTHING, KeyHeaders::default());
    for (name, value) in headers.iter() {
        if glance.see(policy, name, value) {
            held.add(name, value);
        }
    }
    let alone = held.alone(policy, glance);
    glance.alone = alone.is_some();
    (glance, alone)
}

/// All that is done by a glance.
fn done(policy: &Policy, glance: Glance, headers: Headers<'_>) -> String {
    let presented = match glance == Glance::default() {
        true => find(&policy.credentials, headers),
        false => presented(policy, glance, look(policy, headers).1, headers),
    };
    let (mut edits, mut query) = (Vec::new(), Vec::new());
    strip(policy, glance, headers, &mut edits);
    let seen = [false, true].map(|all| strip_smuggled(policy, glance, headers, all, &mut edits));
    strip_query(policy, glance, headers, &mut query);
    if glance.hosts {
        strip_hosts(headers, &mut edits);
    }
    let asked: Vec<_> = match glance.overrides {
        true => overrides::find(headers).collect(),
        false => Vec::new(),
    };
    let key = (presented.key, presented.several);
    format!("{key:?} {edits:?} {query:?} {seen:?} {asked:?}")
}

proptest! {
    #![proptest_config(crate::seeded())]

    /// What is not looked for after a glance is not there.
    #[test]
    fn a_glance_misses_nothing(
        pairs in proptest::collection::vec((0..NAMES.len(), 0..VALUES.len()), 0..7),
    ) {
        let places = r#"{"header":"authorization","scheme":"Bearer"},{"header":"x-api-key"},{"query":"api_key"},{"cookie":"k"}"#;
        let bytes = Headers::encode(&pairs.iter().map(|(n, v)| (NAMES[*n], VALUES[*v])).collect::<Vec<_>>());
        let headers = Headers::new(&bytes);
        let many: Vec<_> = (0..66).map(|n| format!(r#"{{"header":"x-{n}"}}"#)).collect();
        let one = ["sec-websocket-protocol", "x-api-key"].map(|name| policy(&format!(r#"{{"header":"{name}"}}"#)));
        let token = policy(r#"{"header":"x-api-key","scheme":"Bearer"}"#);
        let two = policy(r#"{"header":"x-api-key"},{"header":"x-api-key","scheme":"Bearer"}"#);
        for policy in one.into_iter().chain([token, two, policy(places), policy(&format!("{},{places}", many.join(",")))]) {
            let glance = glance(&policy, headers);
            prop_assert_eq!(done(&policy, glance, headers), done(&policy, Glance::default(), headers));
        }
    }
}

#[test]
fn each_sign_of_a_tunnel_is_seen_by_itself() {
    let policy = policy(r#"{"header":"x-api-key"}"#);
    let of = |pair| glance(&policy, Headers::new(&Headers::encode(&[pair])));
    assert!(of((":method", "CONNECT")).tunnel && !of((":method", "GET")).tunnel);
    assert!(of(("upgrade", "websocket")).tunnel && !of(("upgrade", "websocket")).nominates);
    assert!(of(("connection", "close")).nominates && !of(("connection", "close")).tunnel);
}

/// Where a header may hold a key with a scheme or without, and beside protocols.
#[test]
fn a_key_that_has_two_readings_is_not_alone() {
    let both = policy(r#"{"header":"x-api-key"},{"header":"x-api-key","scheme":"Bearer"}"#);
    let bare = policy(r#"{"header":"authorization"}"#);
    for (policy, name) in [(both, "x-api-key"), (bare, "authorization")] {
        let bytes = Headers::encode(&[(name, "Bearer K")]);
        let headers = Headers::new(&bytes);
        let (glance, alone) = look(&policy, headers);
        assert!(alone.is_none() && !glance.alone, "{name}");
        assert_eq!(
            done(&policy, glance, headers),
            done(&policy, Glance::default(), headers)
        );
    }
}

#[test]
fn an_ordinary_request_has_its_key_alone() {
    let policy = policy(
        r#"{"header":"authorization","scheme":"Bearer"},{"header":"x-api-key"},{"query":"k"}"#,
    );
    let bytes = Headers::encode(&[
        (":method", "GET"),
        (":path", "/a"),
        ("x-request-id", "1"),
        ("x-api-key", "K"),
    ]);
    let glance = glance(&policy, Headers::new(&bytes));
    assert_eq!(
        glance,
        Glance {
            places: 2,
            alone: true,
            ..Glance::NOTHING
        }
    );
}

/// Else each request pays for a closer look that finds nothing: then choose other factors in `hash`.
#[test]
fn ordinary_headers_are_passed_over_at_once() {
    let policy = policy(r#"{"header":"authorization","scheme":"Bearer"},{"header":"x-api-key"}"#);
    for name in [
        ":authority",
        ":path",
        ":scheme",
        "user-agent",
        "accept",
        "accept-encoding",
        "accept-language",
        "content-type",
        "content-length",
        "cookie",
        "traceparent",
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-envoy-internal",
    ] {
        assert!(!policy.watched.may_be(name.as_bytes()), "{name}");
    }
    for name in ["authorization", "x-api-key", ":method"] {
        assert!(policy.watched.may_be(name.as_bytes()), "{name}");
        assert!(!policy.watched.may_ask(name.as_bytes()), "{name}");
    }
}
