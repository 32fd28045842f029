//! What headers and queries ask for is judged as if the request itself said it.

use super::readings::{code, routes};
use super::*;

/// Headers that a request may have beside what it says itself, and what each asks for: a host, a
/// method or a path.
const ASKED: [[(&str, &str); 4]; 3] = [
    [
        ("", ""),
        ("x-forwarded-host", "corp"),
        ("forwarded", "for=1.1.1.1;host = corp"),
        ("x-original-host", "pub"),
    ],
    [
        ("", ""),
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "GET"),
        ("x_method_override", "POST"),
    ],
    [
        ("", ""),
        ("x-original-url", "/adm/x"),
        ("x-rewrite-url", "/item/1"),
        ("x-forwarded-uri", "/x"),
    ],
];

/// A server behind may honour each header or not. Whatever it makes of those that arrive, a request
/// that says so plainly would be let in as well.
#[test]
fn all_that_headers_ask_for_together_is_judged_as_if_a_request_said_it() {
    let w = routes(
        r#"[{"path":"/adm/{*rest}","hosts":["corp"],"scopes":["read"]},
            {"path":"/item/{id}","hosts":["corp"],"methods":["DELETE"],"scopes":["read"]},
            {"path":"/item/{id}","methods":["POST"]},
            {"path":"/{*rest}","auth":"none"}]"#,
    );
    let plain = |host: &str, method: &str, path: &str| code(&w, host, method, path) == "ok";
    let (mut kept, mut removed) = (0, 0);
    let every = |n: usize| ASKED[n].iter().copied();
    for own in [
        ("pub", "GET", "/x"),
        ("corp", "GET", "/item/1"),
        ("pub", "DELETE", "/adm/x"),
    ] {
        for ((host, method), target) in every(0)
            .flat_map(|h| every(1).map(move |m| (h, m)))
            .flat_map(|hm| every(2).map(move |t| (hm, t)))
        {
            let mut c = call(own.1, own.2);
            c.pairs[2].1 = own.0.as_bytes().to_vec();
            for (name, value) in [host, method, target]
                .into_iter()
                .filter(|h| !h.0.is_empty())
            {
                c = c.with(name, value);
            }
            let mut buckets = MemoryBuckets::default();
            let d = c.decide(&w, &mut buckets);
            assert!(d.open && d.verdict.is_ok(), "{own:?}");
            let named = |(name, _): (&str, &str), value| (!name.is_empty()).then_some(value);
            let host = named(
                host,
                if host.1.ends_with("corp") {
                    "corp"
                } else {
                    "pub"
                },
            );
            let (method, target) = (named(method, method.1), named(target, target.1));
            let reads = |hosts: bool, others: bool| {
                [None, host.filter(|_| hosts)].iter().all(|host| {
                    [None, method.filter(|_| others)].iter().all(|method| {
                        [None, target.filter(|_| others)].iter().all(|target| {
                            plain(
                                host.unwrap_or(own.0),
                                method.unwrap_or(own.1),
                                target.unwrap_or(own.2),
                            )
                        })
                    })
                })
            };
            let case = format!("{own:?} {host:?} {method:?} {target:?}");
            assert!(reads(!d.another_host, !d.overridden), "arrives: {case}");
            // Nothing is taken away that does no harm.
            let harmless = reads(true, true);
            assert_eq!(harmless, !d.another_host && !d.overridden, "{case}");
            if harmless { kept += 1 } else { removed += 1 }
        }
    }
    assert!(kept > 20 && removed > 20, "{kept} kept, {removed} removed");
}

#[test]
fn hosts_count_among_the_overrides_that_are_asked_about() {
    let w = routes(r#"[{"path":"/a","hosts":["corp"]},{"path":"/{*rest}","auth":"none"}]"#);
    for (hosts, targets, overridden) in
        [(9, 1, false), (10, 1, true), (11, 0, false), (30, 1, true)]
    {
        let mut c = call("GET", "/b").with("x-forwarded-host", &vec!["other"; hosts].join(","));
        for _ in 0..targets {
            c = c.with("x-original-url", "/c");
        }
        let mut buckets = MemoryBuckets::default();
        let d = c.decide(&w, &mut buckets);
        assert_eq!(d.overridden, overridden, "{hosts} and {targets}");
    }
}

/// What a server that cuts a prefix off reads, and a URL that is put together of what headers say.
#[test]
fn a_prefix_and_a_host_that_is_none_are_seen_where_they_lead_to_another_rule() {
    let w = routes(
        r#"[{"path":"/a/{*rest}","scopes":["read"]},{"path":"/","scopes":["read"]},{"path":"/{*rest}","auth":"none"}]"#,
    );
    let seen = |path: &str, name: &str, value: &str| {
        let c = call("GET", path).with(name, value);
        let mut buckets = MemoryBuckets::default();
        let d = c.decide(&w, &mut buckets);
        assert!(d.open && !d.overridden, "{path}");
        d.another_host
    };
    for name in ["script_name", "X-Script-Name", "x-forwarded-prefix"] {
        assert!(seen("/o/a/x", name, "/o"));
        assert!(seen("/o/a/x?q", name, " /o/ "));
        assert!(seen("/p/o/a/x", name, "/o"), "wherever it stands");
        assert!(seen("/o", name, "/o"), "the root");
        assert!(!seen("/o/x", name, "/o/"));
        assert!(seen("/ox", name, "/o"), "what is left is no path");
        assert!(seen("/%6f/a/x", name, "/o"), "perhaps");
        assert!(!seen("/o/b/x", name, "/o"));
        assert!(!seen("/o/x", name, "/a"));
        assert!(!seen("/o/x%20y", name, "/api"), "no doubt");
        assert!(!seen("/o/x", name, "/"));
        assert!(!seen("/o/x", name, ""));
    }
    for value in ["h:80/a/x?", "h/a", "h#", "h, h?"] {
        assert!(seen("/o", "x-forwarded-host", value), "{value}");
    }
    assert!(seen("/o", "x-forwarded-port", "80/a/x?"));
    assert!(!seen("/o", "x-forwarded-port", "443, 80"));
    assert!(!seen("/o", "x-forwarded-host", "other.example.com:80"));
    // A path of another header, without the prefix.
    let c = call("GET", "/o")
        .with("x-script-name", "/p")
        .with("x-original-url", "/p/a/x");
    let mut buckets = MemoryBuckets::default();
    assert!(c.decide(&w, &mut buckets).overridden);
}

/// Symfony, Spring and Express carry such a `POST` out as what the query says.
#[test]
fn a_method_in_the_query_passes_by_no_rule_that_asks_for_more() {
    let w = routes(
        r#"[{"path":"/open/{id}","methods":["POST"],"auth":"none"},{"path":"/open/{id}","scopes":["read"]},
            {"path":"/a/{id}","methods":["POST","PUT"],"scopes":["read"]},
            {"path":"/a/{id}","methods":["DELETE"],"scopes":["admin"]},
            {"path":"/a/{id}","methods":["GET"]},
            {"path":"/b","methods":["POST"]}]"#,
    );
    assert_eq!(code(&w, "h", "POST", "/open/1"), "ok");
    for query in [
        "_method=DELETE",
        "x=1&_method=delete&_method=POST",
        "%5Fmethod=%44ELETE",
        ".method=PUT",
        "+method=PUT",
        "%20_method=+PUT".replace('+', "%20").as_str(),
        "x;_method=PUT",
        "_method[]=PUT",
        "_method[0]=POST&_method[1]=PUT",
        &"_method=POST&".repeat(13),
    ] {
        let path = format!("/open/1?{query}");
        assert_eq!(code(&w, "h", "POST", &path), "ambiguous_path", "{query}");
        assert_eq!(code(&w, "h", "post", &path), "ambiguous_path", "{query}");
    }
    for query in [
        "",
        "_method",
        "_method=",
        "_method=POST",
        "x_method=PUT",
        "_methods=PUT",
        "_method=a-b",
        "_METHOD=PUT",
    ] {
        let path = format!("/open/1?{query}");
        assert_eq!(code(&w, "h", "POST", &path), "ok", "{query}");
    }
    let keyed = |method: &str, path: &str| call(method, path).keyed(&w).code(&w);
    assert_eq!(keyed("POST", "/a/1?_method=DELETE"), "ambiguous_path");
    assert_eq!(keyed("POST", "/a/1?_method=PUT"), "ok");
    assert_eq!(keyed("POST", "/a/1?_method=GET"), "ok", "asks for less");
    assert_eq!(keyed("PUT", "/a/1?_method=DELETE"), "ok", "of a POST alone");
    assert_eq!(keyed("POST", "/b?_method=PUT"), "ambiguous_path", "no rule");
}

/// Headers that were sent twice, joined: a server takes the first or the last.
#[test]
fn each_path_of_a_list_is_asked_about() {
    let w = routes(r#"[{"path":"/b"},{"path":"/{*rest}","auth":"none"}]"#);
    let overridden = |list: &str| {
        let c = call("GET", "/a").with("x-original-url", list);
        c.decide(&w, &mut MemoryBuckets::default()).overridden
    };
    for list in ["/a, /b", "/a,/b?x", "/b,/a", "/a?x=1,2,/b"] {
        assert!(overridden(list), "{list}");
    }
    for list in ["/a?x=1,2", "/a, /c", "/a,b"] {
        assert!(!overridden(list), "{list}");
    }
}
