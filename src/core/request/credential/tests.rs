use super::*;
use crate::policy::{Policy, RawPolicy};
use crate::request::glance::Glance;
use basic::BASIC;

mod basic;
mod smuggled;

fn policy(credentials: &str) -> Policy {
    let raw: RawPolicy = serde_json::from_str(&format!(
        r#"{{"version":1,"credentials":{credentials},"routes":[]}}"#
    ))
    .unwrap();
    Policy::new(&raw, []).unwrap()
}

/// What is found, and what is left in the request once it is taken out.
fn found_and_left(
    credentials: &str,
    pairs: &[(&str, &str)],
) -> (Option<String>, bool, Vec<String>) {
    let policy = policy(credentials);
    let bytes = Headers::encode(pairs);
    let headers = Headers::new(&bytes);
    let mut glance = Glance::NOTHING;
    for (name, value) in headers.iter() {
        glance.see(&policy, name, value);
    }
    let found = find(glance.places(&policy), headers);
    let mut edits = Vec::new();
    strip(&policy, glance, headers, &mut edits);
    let edits = edits.iter().map(|edit| match edit {
        Edit::Remove(name) => format!("-{name}"),
        Edit::Set(name, value) => format!("{name}: {}", String::from_utf8_lossy(value)),
    });
    let key = found.key.map(|k| String::from_utf8_lossy(&k).into_owned());
    (key, found.several, edits.collect())
}

#[test]
fn a_header_that_holds_a_key_with_a_scheme_or_without_has_one_reading_at_a_time() {
    let places = r#"[{"header":"authorization"},{"header":"authorization","scheme":"Bearer"},{"basic":"username"}]"#;
    for value in ["K", "Bearer K", "bearer  K", BASIC[0]] {
        let (key, several, left) = found_and_left(places, &[("authorization", value)]);
        assert_eq!((key.as_deref(), several), (Some("K"), false), "{value}");
        assert_eq!(left, ["-authorization"], "{value}");
    }
    let (key, ..) = found_and_left(places, &[("authorization", "Token K")]);
    assert_eq!(key.as_deref(), Some("Token K"), "no scheme of the policy's");
}

#[test]
fn a_websocket_has_its_key_among_the_protocols() {
    let bearer = r#"[{"header":"authorization","scheme":"Bearer"}]"#;
    let own = r#"[{"header":"sec-websocket-protocol","scheme":"api.key"}]"#;
    for (places, value, key, left) in [
        (
            bearer,
            "bearer, K",
            Some("K"),
            "sec-websocket-protocol: bearer",
        ),
        (
            bearer,
            "chat,Bearer,K",
            Some("K"),
            "sec-websocket-protocol: chat, Bearer",
        ),
        (bearer, "K, bearer", None, ""),
        (bearer, "bearer", None, ""),
        (bearer, "bearer, bearer", None, ""),
        (bearer, "chat, K", None, ""),
        (
            own,
            "api.key, K, chat",
            Some("K"),
            "sec-websocket-protocol: api.key, chat",
        ),
        (own, "bearer, K", None, ""),
    ] {
        let pairs = [("upgrade", "websocket"), ("sec-websocket-protocol", value)];
        let (found, several, edits) = found_and_left(places, &pairs);
        assert_eq!((found.as_deref(), several), (key, false), "{value}");
        assert_eq!(edits.join(""), left, "{value}");
    }
    // The word of another header precedes no key here.
    let two =
        r#"[{"header":"authorization","scheme":"Bearer"},{"header":"x-key","scheme":"Token"}]"#;
    let chat = [
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", "token, K"),
    ];
    assert_eq!(found_and_left(two, &chat), (None, false, Vec::new()));
    let differ = [
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", "bearer, K"),
        ("authorization", "Bearer L"),
    ];
    assert!(found_and_left(bearer, &differ).1);
    // Without an upgrade it is no place for a key, but still none to hand one on.
    let (key, _, left) = found_and_left(bearer, &[("sec-websocket-protocol", "bearer, K")]);
    assert_eq!(key, None);
    assert_eq!(left, ["sec-websocket-protocol: bearer"]);
}

fn all() -> Policy {
    policy(
        r#"[{"header":"authorization","scheme":"Bearer"},{"header":"x-api-key"},{"query":"api_key"},{"cookie":"k"}]"#,
    )
}

fn found(pairs: &[(&str, &str)]) -> (Option<String>, bool) {
    let bytes = Headers::encode(pairs);
    let p = find(&all().credentials, Headers::new(&bytes));
    (
        p.key.map(|k| String::from_utf8_lossy(&k).into_owned()),
        p.several,
    )
}

#[test]
fn keys_are_found_in_every_listed_place() {
    for pairs in [
        &[("authorization", "Bearer K")][..],
        &[("authorization", "bearer  K ")],
        &[("authorization", "BEARER K")],
        &[("authorization", "Basic eDp5, Bearer K")],
        &[("x-api-key", " K ")],
        &[(":path", "/a?x=1&api_key=K")],
        &[(":path", "/a?api%5Fkey=%4B")],
        &[("cookie", "a=b; k=K")],
        &[("cookie", "a=b"), ("cookie", "k=\"K\"")],
        &[("x-api-key", "K"), ("x-api-key", "K")],
        &[("x-api-key", ""), ("authorization", "Bearer K")],
    ] {
        assert_eq!(found(pairs), (Some("K".into()), false), "{pairs:?}");
    }
}

#[test]
fn what_is_not_a_key_is_not_found() {
    for pairs in [
        &[("authorization", "Basic eDp5")][..],
        &[("authorization", "Bearer")],
        &[("authorization", "BearerK")],
        &[("x-api-key", "")],
        &[(":path", "/a?api_key")],
        &[(":path", "/a?xapi_key=K")],
        &[("cookie", "kk=K")],
    ] {
        assert_eq!(found(pairs), (None, false), "{pairs:?}");
    }
}

/// Keys of others hold characters that forms and queries treat in their own ways.
#[test]
fn a_plus_in_a_query_is_a_plus() {
    for (query, key) in [
        ("a+b/c=", "a+b/c="),
        ("a%2Bb%2Fc%3D", "a+b/c="),
        ("a%20b", "a b"),
    ] {
        let target = format!("/v1/a?api_key={query}");
        assert_eq!(found(&[(":path", &target)]), (Some(key.to_owned()), false));
    }
}

#[test]
fn differing_keys_are_noticed_wherever_they_stand() {
    for pairs in [
        &[("x-api-key", "K"), ("x-api-key", "L")][..],
        &[("authorization", "Bearer L,Bearer K")],
        &[("x-api-key", "K"), ("authorization", "Bearer L")],
        &[("x-api-key", "K"), (":path", "/?api_key=L")],
        &[("cookie", "k=K; k=L")],
    ] {
        assert!(found(pairs).1, "{pairs:?}");
    }
}

#[test]
fn the_key_is_taken_out_and_the_rest_stays() {
    let policy = all();
    for (pairs, want) in [
        (
            &[("authorization", "Bearer K")][..],
            vec![Edit::Remove("authorization".into())],
        ),
        (
            &[("authorization", "Basic eDp5, Bearer K")],
            vec![Edit::Set("authorization".into(), b"Basic eDp5".into())],
        ),
        (&[("authorization", "Basic eDp5")], vec![]),
        (
            &[("x-api-key", "K"), ("x-api-key", "L")],
            vec![Edit::Remove("x-api-key".into())],
        ),
        (
            &[("cookie", "a=b; k=K; c=d")],
            vec![Edit::Set("cookie".into(), b"a=b; c=d".into())],
        ),
        (&[("cookie", "k=K")], vec![Edit::Remove("cookie".into())]),
        (
            &[(":path", "/a?api_key=K")],
            vec![Edit::Set(":path".into(), b"/a".into())],
        ),
        (
            &[(":path", "/a?x=1&api%5fkey=K&y=2")],
            vec![Edit::Set(":path".into(), b"/a?x=1&y=2".into())],
        ),
        (&[(":path", "/a?x=1&&y")], vec![]),
    ] {
        let bytes = Headers::encode(pairs);
        let mut edits = Vec::new();
        strip(&policy, Glance::default(), Headers::new(&bytes), &mut edits);
        assert_eq!(edits, want, "{pairs:?}");
    }
}

#[test]
fn identity_headers_of_the_caller_go_in_every_spelling() {
    let bytes = Headers::encode(&[
        ("x-keystile-client", "a"),
        ("x_keystile_client", "b"),
        ("X-Keystile.Key", "c"),
        ("x-keystile-scopes", "d"),
        ("x-keystile-scopes", "e"),
        ("x-keystile-other", "f"),
    ]);
    let mut edits = Vec::new();
    let seen = strip_smuggled(
        &all(),
        Glance::default(),
        Headers::new(&bytes),
        false,
        &mut edits,
    );
    assert_eq!(seen, Seen::default());
    let names: Vec<_> = edits.iter().map(Edit::name).collect();
    assert_eq!(
        names,
        [
            "x-keystile-client",
            "x_keystile_client",
            "x-keystile.key",
            "x-keystile-scopes"
        ]
    );
}

/// Of the credentials of several, what begins with `ours` goes.
#[test]
fn credentials_of_others_stay_where_only_ours_are_taken_out() {
    let policy = all();
    for (pairs, want) in [
        (&[("authorization", "Bearer theirs")][..], vec![]),
        (
            &[("authorization", "Bearer theirs, bearer ours1")],
            vec![Edit::Set("authorization".into(), b"Bearer theirs".into())],
        ),
        (&[("authorization", "Bearer")], vec![]),
        (
            &[("authorization", "ks_live_x1234567")],
            vec![Edit::Remove("authorization".into())],
        ),
        (
            &[("authorization", "Basic \"KS_LIVE_X123456\", Bearer theirs")],
            vec![Edit::Set("authorization".into(), b"Bearer theirs".into())],
        ),
        (&[("authorization", "Basic eDp5a3NfbGl2ZQ==")], vec![]),
        (&[("x-api-key", "theirs")], vec![]),
        (
            &[("x-api-key", " ours1 ")],
            vec![Edit::Remove("x-api-key".into())],
        ),
        (&[("cookie", "a=b; k=theirs")], vec![]),
        (
            &[("cookie", "a=b; k=\"ours1\"; k=theirs")],
            vec![Edit::Set("cookie".into(), b"a=b; k=theirs".into())],
        ),
        (
            &[(":path", "/a?api_key=theirs&api_key=%6Furs1")],
            vec![Edit::Set(":path".into(), b"/a?api_key=theirs".into())],
        ),
    ] {
        let bytes = Headers::encode(pairs);
        let mut edits = Vec::new();
        let ours = |text: &[u8]| text.starts_with(b"ours");
        strip_ours(
            &policy,
            Glance::default(),
            Headers::new(&bytes),
            &ours,
            &mut edits,
        );
        assert_eq!(edits, want, "{pairs:?}");
    }
}

#[test]
fn a_key_is_seen_among_other_words() {
    for text in [
        "ks_live_0123456",
        "Basic ks_live_0123456aBc",
        "\"ks_live_0123456\"",
        "abc, KS_LIVE_ABCDEF",
        "abc, Ks_live_0123456_x",
    ] {
        assert!(names_a_key("ks", text.as_bytes()), "{text}");
    }
    for text in [
        "",
        "ks",
        "xks_live",
        "a_ks_live_0123456",
        "ks_live_01234",
        "ks_liVe_0123456",
        "ks__0123456",
        "eyJ0eXAiOiJKV1Qi.eyJpc3Mi.Zm9v-ks_Zm9vYmFy_Zm9vYmFy",
    ] {
        assert!(!names_a_key("ks", text.as_bytes()), "{text}");
    }
}

#[test]
fn trailers_bring_no_identity_no_key_and_no_override() {
    let bytes = Headers::encode(&[
        ("x_keystile_client", "root"),
        ("authorization", "Bearer K"),
        ("x-api_key", "K"),
        ("cookie", "k=K"),
        ("x-http-method-override", "DELETE"),
        ("sec-websocket-protocol", "bearer, K"),
        ("grpc-status", "0"),
        ("checksum", "x"),
    ]);
    let mut edits = Vec::new();
    strip_trailers(&all(), Headers::new(&bytes), &mut edits);
    let names: Vec<_> = edits.iter().map(Edit::name).collect();
    let gone = [
        "x_keystile_client",
        "authorization",
        "x-api_key",
        "cookie",
        "x-http-method-override",
        "sec-websocket-protocol",
    ];
    assert_eq!(names, gone);
    // No place for a key where no scheme says which protocol precedes it.
    for place in [r#""x-key","scheme":"Token""#, r#""authorization""#] {
        let policy = policy(&format!(r#"[{{"header":{place}}}]"#));
        let bytes = Headers::encode(&[("sec-websocket-protocol", "token, K")]);
        let mut edits = Vec::new();
        strip_trailers(&policy, Headers::new(&bytes), &mut edits);
        assert_eq!(edits, [], "{place}");
    }
}
