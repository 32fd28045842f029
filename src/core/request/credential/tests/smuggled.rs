//! What a request brings beside its key.

use super::*;
use crate::request::glance::Glance;

/// What is seen of a request, and the edits, with overrides left or removed.
fn seen(pairs: &[(&str, &str)], overrides: bool) -> (bool, Vec<String>) {
    let bytes = Headers::encode(pairs);
    let policy = all();
    let mut edits = Vec::new();
    let seen = strip_smuggled(
        &policy,
        Glance::default(),
        Headers::new(&bytes),
        overrides,
        &mut edits,
    );
    let edits = edits.iter().map(|e| e.name().to_owned()).collect();
    (seen.tunnel, edits)
}

#[test]
fn an_upgrade_and_a_connect_are_tunnels_and_nothing_else_is() {
    for (pairs, tunnel) in [
        (&[(":method", "CONNECT")][..], true),
        (&[("upgrade", "websocket")], true),
        (&[(":method", "GET"), ("upgrade", "h2c")], true),
        (&[("upgrade", "h2c"), (":method", "GET")], true),
        (&[(":method", "GET")], false),
        (&[(":method", "connect")], false),
        (&[("connection", "upgrade")], false),
        (&[], false),
    ] {
        assert_eq!(seen(pairs, true), (tunnel, Vec::new()), "{pairs:?}");
    }
}

#[test]
fn connection_is_looked_at_beside_identity_headers() {
    let pairs = [
        ("connection", "upgrade, x-keystile-client"),
        ("upgrade", "websocket"),
        ("x-keystile-client", "root"),
    ];
    let gone = ["x-keystile-client", "connection"].map(str::to_owned);
    assert_eq!(seen(&pairs, false), (true, gone.to_vec()));
}

#[test]
fn overrides_are_removed_where_that_is_asked_and_stay_otherwise() {
    let pairs = [
        ("x-http-method-override", "DELETE"),
        ("x_original_url", "/admin"),
        ("x-other", "kept"),
    ];
    assert_eq!(seen(&pairs, false), (false, Vec::new()));
    let gone = ["x-http-method-override", "x_original_url"].map(str::to_owned);
    assert_eq!(seen(&pairs, true), (false, gone.to_vec()));
}

#[test]
fn headers_that_name_a_host_are_removed_in_every_spelling_and_no_other() {
    let bytes = Headers::encode(&[
        ("host", "h"),
        ("x-forwarded-host", "a"),
        ("X_Forwarded_Host", "b"),
        ("x-forwarded-for", "192.0.2.1"),
    ]);
    let mut edits = Vec::new();
    strip_hosts(Headers::new(&bytes), &mut edits);
    let gone = ["x-forwarded-host", "x_forwarded_host"];
    assert_eq!(edits.iter().map(Edit::name).collect::<Vec<_>>(), gone);
}

/// Access logs print `:path` of refused requests, too.
#[test]
fn of_a_refused_request_the_query_alone_loses_its_key() {
    let bytes = Headers::encode(&[
        (":path", "/a?x=1&api_key=K"),
        ("x-api-key", "K"),
        ("cookie", "k=K"),
    ]);
    let policy = all();
    let mut edits = Vec::new();
    strip_query(&policy, Glance::default(), Headers::new(&bytes), &mut edits);
    assert_eq!(edits, [Edit::Set(":path".into(), b"/a?x=1".into())]);
}

#[test]
fn connection_names_nothing_of_ours() {
    for (value, want) in [
        ("Upgrade", None),
        ("upgrade, x-other", None),
        ("Upgrade, X-Keystile-Client", Some("Upgrade")),
        (
            "x_keystile_key,Upgrade, x-other,AUTHORIZATION, Cookie",
            Some("Upgrade, x-other"),
        ),
        (
            "upgrade,X-Keystile-Client;q=1, \"x-keystile-key\"",
            Some("upgrade"),
        ),
    ] {
        let bytes = Headers::encode(&[("connection", value)]);
        let mut edits = Vec::new();
        strip_nominated(&all(), Headers::new(&bytes), &mut edits);
        let want: Vec<_> = want
            .map(|v| Edit::Set("connection".into(), v.as_bytes().into()))
            .into_iter()
            .collect();
        assert_eq!(edits, want, "{value}");
    }
    let bytes = Headers::encode(&[("connection", "x-api-key")]);
    let mut edits = Vec::new();
    strip_nominated(&all(), Headers::new(&bytes), &mut edits);
    assert_eq!(edits, [Edit::Remove("connection".into())]);
}
