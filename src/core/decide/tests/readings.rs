//! Every reading of a host and a path leads to the same rule, or the request is refused.

use super::*;

mod hosts;

/// The code for a request without a key.
pub(super) fn code(w: &World, host: &str, method: &str, path: &str) -> &'static str {
    let mut c = call(method, path);
    c.pairs[2].1 = host.as_bytes().to_vec();
    c.code(w)
}

pub(super) fn routes(routes: &str) -> World {
    world_with(&format!(r#"{{"version":1,"routes":{routes}}}"#), |_| {})
}

/// Envoy never hands over two of them; of a host that does, neither counts.
#[test]
fn two_targets_or_methods_in_one_request_are_refused() {
    let w = routes(
        r#"[{"path":"/admin","methods":["GET"],"scopes":["read"]},{"path":"/{*rest}","auth":"none"}]"#,
    );
    let asked = |pairs: &[(&str, &str)]| {
        let mut c = call("GET", "/x");
        c.pairs.truncate(0);
        pairs.iter().fold(c, |c, (n, v)| c.with(n, v)).code(&w)
    };
    let (get, put) = ((":method", "GET"), (":method", "PUT"));
    let (admin, other) = ((":path", "/admin"), (":path", "/x"));
    assert_eq!(asked(&[get, other]), "ok");
    assert_eq!(asked(&[get, get, other, other]), "ok");
    assert_eq!(asked(&[put, admin]), "ok");
    for several in [
        [get, admin, other],
        [get, other, admin],
        [get, put, admin],
        [get, admin, put],
        [put, get, admin],
    ] {
        assert_eq!(asked(&several), "ambiguous_path", "{several:?}");
    }
    assert_eq!(asked(&[get, other, admin, other]), "ambiguous_path");
}

#[test]
fn no_spelling_of_a_path_passes_by_the_rules_beside_an_open_catch_all() {
    let w = routes(
        r#"[{"path":"/admin/{*rest}","scopes":["read"]},{"path":"/{*rest}","auth":"none"}]"#,
    );
    assert_eq!(code(&w, "h", "GET", "/else"), "ok");
    for path in [
        "/admin;x=1/x",
        "/;/admin/x",
        "/admin;/x",
        "/..%3B/admin/x",
        "/..;/admin/x",
        "//admin/x",
        "//h/admin/x",
        "/./admin/x",
        "/%61dmin/x",
        "/%2561dmin/x",
        "/admin%2Fx",
        "/admin%252Fx",
        "/admin%5Cx",
        "/admin\\x",
        "/x/../admin/x",
        "/x%2F..%2Fadmin/x",
        "/%2e%2e/admin/x",
        "/admin%3Fx",
        "/admin%23x",
        "/%c0%ae%c0%ae/admin",
        "/x;/../admin/x",
        "/x/..;y/admin/x",
        "/admin/../x",
        "/admin/..%2Fx",
    ] {
        assert_eq!(code(&w, "h", "GET", path), "ambiguous_path", "{path}");
    }
    for path in ["/files/a;b", "/a//b", "/a/../b", "/a%2Fb", "/a\\b", "/%41"] {
        assert_eq!(
            code(&w, "h", "GET", path),
            "ok",
            "one rule either way: {path}"
        );
    }
}

/// Express, ASP.NET and IIS take `/ADMIN` for `/admin`.
#[test]
fn no_capital_letter_passes_by_a_rule_that_asks_for_more() {
    let w = routes(
        r#"[{"path":"/admin/{*rest}","scopes":["admin"]},{"path":"/Reports/{id}"},{"path":"/export","cost":5},
            {"path":"/v1/{*rest}","scopes":["read"]},{"path":"/v1/Secret","scopes":["read","admin"]},
            {"path":"/{*rest}","auth":"none"}]"#,
    );
    for path in [
        "/ADMIN/x",
        "/Admin",
        "/%41DMIN/x",
        "/%2541dmin/x",
        "/x/../aDMIN/x",
        "/reports/7",
        "/REPORTS/7",
        "/EXPORT",
    ] {
        assert_eq!(code(&w, "h", "GET", path), "ambiguous_path", "{path}");
    }
    for path in ["/else/ADMIN", "/Index.html", "/V2/x", "/reports"] {
        assert_eq!(code(&w, "h", "GET", path), "ok", "{path}");
    }
    assert_eq!(code(&w, "h", "GET", "/Reports/AbC"), "missing_api_key");
    let keyed = |path: &str| call("GET", path).keyed(&w).code(&w);
    assert_eq!([keyed("/v1/A"), keyed("/v1/b%2FC")], ["ok"; 2]);
    assert_eq!(keyed("/v1/SECRET"), "ambiguous_path", "another scope");
    assert_eq!(keyed("/V1/x"), "ambiguous_path");
}

#[test]
fn capital_letters_are_no_matter_where_the_other_rule_asks_for_no_more() {
    let w = routes(
        r#"[{"path":"/users/{id}","scopes":["read"]},{"path":"/users/search","any_scope":["read","x"]},
            {"path":"/users/help","auth":"none"},{"path":"/Users/Export","scopes":["read"]}]"#,
    );
    for path in [
        "/users/ABC",
        "/users/Search",
        "/users/HELP",
        "/Users/Export",
    ] {
        assert_eq!(call("GET", path).keyed(&w).code(&w), "ok", "{path}");
        assert_eq!(code(&w, "h", "GET", path), "missing_api_key", "{path}");
    }
    assert_eq!(code(&w, "h", "GET", "/USERS/7"), "route_denied");
    let w = world_with(
        r#"{"version":1,"unmatched":"authenticated","routes":[{"path":"/a","scopes":["read"]},{"path":"/b"},{"path":"/c","limit":{"requests":1,"per":"1s"}}]}"#,
        |_| {},
    );
    let keyed = |path: &str| call("GET", path).keyed(&w).code(&w);
    assert_eq!(keyed("/A"), "ambiguous_path");
    assert_eq!(keyed("/C"), "ambiguous_path", "its limit");
    assert_eq!([keyed("/B"), keyed("/D")], ["ok"; 2]);
}

/// A rule that another spelling leads to asks for one scope of several: a key that must have one
/// of those has it, and no other key.
#[test]
fn a_rule_for_one_of_several_scopes_is_covered_by_one_for_some_of_them_and_by_no_other() {
    for (other, found, code) in [
        (r#"["read","x"]"#, r#"["read"]"#, "ok"),
        (r#"["read"]"#, r#"["read"]"#, "ok"),
        (r#"["read"]"#, r#"["read","x"]"#, "ambiguous_path"),
        (r#"["read"]"#, "[]", "ambiguous_path"),
    ] {
        let w = routes(&format!(
            r#"[{{"path":"/a/{{x}}","any_scope":{other}}},{{"path":"/{{*rest}}","any_scope":{found}}}]"#
        ));
        let told = call("GET", "/A/7").keyed(&w).code(&w);
        assert_eq!(told, code, "{found} for {other}");
    }
}

#[test]
fn an_open_rule_does_not_cover_one_that_looks_at_keys_and_one_that_needs_a_key_does() {
    let w = routes(r#"[{"path":"/maybe/{x}","auth":"optional"},{"path":"/{*rest}"}]"#);
    assert_eq!(call("GET", "/MAYBE/7").keyed(&w).code(&w), "ok");
    let w =
        routes(r#"[{"path":"/maybe/{x}","auth":"optional"},{"path":"/{*rest}","auth":"none"}]"#);
    assert_eq!(code(&w, "h", "GET", "/MAYBE/7"), "ambiguous_path");
}

#[test]
fn letters_of_a_path_are_compared_under_every_reading_of_the_host() {
    let w = routes(
        r#"[{"path":"/admin/{*rest}","hosts":["h:81"],"scopes":["admin"]},{"path":"/{*rest}"}]"#,
    );
    let keyed = |host: &str, path: &str| {
        let mut c = call("GET", path).keyed(&w);
        c.pairs[2].1 = host.as_bytes().to_vec();
        c.code(&w)
    };
    assert_eq!(keyed("h:81", "/ADMIN/x"), "ambiguous_path");
    assert_eq!(keyed("h:81", "/OTHER/x"), "ok");
    assert_eq!(keyed("h:82", "/ADMIN/x"), "ok");
    assert_eq!(keyed("h", "/ADMIN/x"), "ok");
}

/// Who writes both means both.
#[test]
fn rules_that_differ_in_nothing_but_case_each_have_their_own() {
    let w = routes(
        r#"[{"path":"/a/{x}","scopes":["admin"]},{"path":"/A/{x}","auth":"none"},{"path":"/{*rest}"}]"#,
    );
    assert_eq!(code(&w, "h", "GET", "/A/7"), "ok");
    assert_eq!(code(&w, "h", "GET", "/a/7"), "missing_api_key");
}

#[test]
fn what_is_decided_as_open_travels_as_open() {
    let w = routes(
        r#"[{"path":"/healthz","auth":"none"},{"path":"/open/","auth":"none"},{"path":"/private/{*rest}"},{"path":"/{*rest}"}]"#,
    );
    assert_eq!(code(&w, "h", "GET", "/healthz"), "ok");
    assert_eq!(code(&w, "h", "GET", "/open/"), "ok");
    for path in [
        "/private/a/../../healthz",
        "/x/../healthz",
        "//healthz",
        "/healthz/",
        "/healthz//",
        "/healthz/.",
        "/%68ealthz",
        "/healthz;x",
        "/healthz%3Fx",
        "/open",
    ] {
        assert_eq!(code(&w, "h", "GET", path), "ambiguous_path", "{path}");
    }
}

#[test]
fn a_slash_at_the_end_of_a_protected_path_changes_nothing() {
    let w =
        routes(r#"[{"path":"/users/{id}"},{"path":"/items/"},{"path":"/{*rest}","auth":"none"}]"#);
    for path in ["/users/7", "/users/7/", "/items", "/items/"] {
        assert_eq!(code(&w, "h", "GET", path), "missing_api_key", "{path}");
    }
}

#[test]
fn one_rule_under_all_readings_lets_a_key_in() {
    let w = routes(r#"[{"path":"/files/{*rest}","scopes":["read"]}]"#);
    for path in [
        "/files/a%2Fb",
        "/files/a;v=1/b",
        "/files//b",
        "/files/a/../b",
        "/files/a%20b",
        "/files/%25",
    ] {
        assert_eq!(call("GET", path).keyed(&w).code(&w), "ok", "{path}");
        assert_eq!(call("GET", path).code(&w), "missing_api_key", "{path}");
    }
    for path in ["/files/../b", "/files/%2e%2e/b", "/files/a%00"] {
        assert_eq!(
            call("GET", path).keyed(&w).code(&w),
            "ambiguous_path",
            "{path}"
        );
    }
}

#[test]
fn an_open_request_that_asks_for_what_another_rule_covers_is_told_apart() {
    let w = routes(r#"[{"path":"/a","methods":["GET","POST"],"auth":"none"},{"path":"/{*rest}"}]"#);
    let overridden = |name: &str, value: &str| {
        let c = call("GET", "/a").with(name, value);
        let d = c.decide(&w, &mut MemoryBuckets::default());
        assert_eq!(d.verdict, Ok(()));
        d.overridden
    };
    assert!(overridden("x-http-method-override", "DELETE"));
    assert!(overridden("x-http-method-override", "delete"));
    assert!(overridden("x_http_method", "PUT"));
    assert!(!overridden("x-http-method-override", "POST"));
    assert!(
        overridden("x-http-method-override", "post"),
        "to a server that minds the case"
    );
    assert!(overridden("x-original-url", "/b"));
    assert!(overridden("x-original-url", "http://h/b?x"));
    assert!(overridden("x-rewrite-url", "/a/../b"));
    assert!(!overridden("x-original-url", "/a?x"));
    assert!(
        overridden("x-original-url", "https://h/a"),
        "whose host is another"
    );
    assert!(overridden("x-rewrite-url", "/b?u=http://h/a"));
    assert!(overridden("x-original-url", "http://h:80\\b"));
    for method in ["GET, x", "GET,", "GET;x", "", "GE T", "\tDELETE"] {
        assert!(overridden("x-http-method-override", method), "{method:?}");
    }
    assert!(!overridden("x-other", "/b"));
}

#[test]
fn a_method_and_a_path_that_are_open_each_by_itself_are_asked_about_together() {
    let w =
        routes(r#"[{"path":"/{*rest}","auth":"none"},{"path":"/users/{id}","methods":["GET"]}]"#);
    let c = call("POST", "/open")
        .with("x-http-method-override", "GET")
        .with("x-original-url", "/users/1");
    let d = c.decide(&w, &mut MemoryBuckets::default());
    assert!(d.open && d.overridden);
    for (name, value) in [
        ("x-http-method-override", "GET"),
        ("x-original-url", "/users/1"),
    ] {
        let c = call("POST", "/open").with(name, value);
        let d = c.decide(&w, &mut MemoryBuckets::default());
        assert!(d.open && !d.overridden, "{name} alone");
    }
}

/// Where every method and path is open, what is neither still asks for something else.
#[test]
fn what_is_no_method_and_no_path_counts_as_another_rule() {
    let w = routes(r#"[{"path":"/{*rest}","auth":"none"}]"#);
    let overridden = |name: &str, value: &str| {
        let c = call("GET", "/a").with(name, value);
        c.decide(&w, &mut MemoryBuckets::default()).overridden
    };
    for method in ["", " ", "GE T", "GET,", "P\u{e9}", "42"] {
        assert!(overridden("x-http-method", method), "{method:?}");
    }
    for target in ["", "b", "http://h/a", "*", "/%00"] {
        assert!(overridden("x-original-url", target), "{target:?}");
    }
    assert!(!overridden("x-http-method", " DELETE "));
    assert!(!overridden("x-original-url", "/b?x"));
}

#[test]
fn only_so_many_overrides_are_asked_about_and_more_count_as_another_rule() {
    let w = routes(r#"[{"path":"/{*rest}","auth":"none"}]"#);
    // Each method is asked about in two spellings, beside the request's own method and path.
    for (methods, targets, overridden) in [
        (5, 0, false),
        (0, 10, false),
        (3, 4, false),
        (5, 1, true),
        (0, 11, true),
        (9, 9, true),
    ] {
        let mut c = call("GET", "/a");
        for n in 0..methods {
            let name = char::from(b'a' + n).to_string();
            c = c.with("x-http-method", &name);
            c = c.with("x-http-method-override", &name);
        }
        for n in 0..targets {
            c = c.with("x-original-url", &format!("/b{n}"));
            c = c.with("x-rewrite-url", &format!("/b{n}"));
        }
        let d = c.decide(&w, &mut MemoryBuckets::default());
        assert_eq!(d.overridden, overridden, "{methods} and {targets}");
    }
}

/// Two doubts at once: a rule that only the other reading of the path under the other reading of
/// the host belongs to.
#[test]
fn every_reading_of_the_path_is_looked_for_under_every_reading_of_the_host() {
    for (open, other) in [("none", "required"), ("required", "none")] {
        let w = routes(&format!(
            r#"[{{"path":"/{{*rest}}","auth":"{open}"}},{{"path":"/a/b","hosts":["h:81"],"auth":"{other}"}}]"#
        ));
        assert_eq!(code(&w, "h:81", "GET", "/a//b"), "ambiguous_path");
        assert_eq!(code(&w, "h:81", "GET", "/a/%62"), "ambiguous_path");
        assert_ne!(code(&w, "h:81", "GET", "/a//c"), "ambiguous_path");
        assert_ne!(code(&w, "h", "GET", "/a//b"), "ambiguous_path");
    }
    let w = routes(
        r#"[{"path":"/{*rest}","auth":"none"},
            {"path":"/a","hosts":["h:81"],"auth":"none"},{"path":"/{*rest}","hosts":["h:81"]}]"#,
    );
    // To a reader that tells `/a/` from `/a` and minds the port, the last rule covers it.
    assert_eq!(code(&w, "h:81", "GET", "/a/"), "ambiguous_path");
    assert_eq!(code(&w, "h:81", "GET", "/a"), "ok");
    assert_eq!(code(&w, "h", "GET", "/a/"), "ok");
}

#[test]
fn a_method_in_lower_case_passes_by_no_rule_for_the_one_in_upper_case() {
    let w = routes(
        r#"[{"path":"/write/{id}","methods":["POST"],"scopes":["read"]},{"path":"/{*rest}","auth":"none"}]"#,
    );
    assert_eq!(code(&w, "h", "POST", "/write/1"), "missing_api_key");
    for method in ["post", "Post", "posT"] {
        assert_eq!(code(&w, "h", method, "/write/1"), "ambiguous_path");
        assert_eq!(code(&w, "h", method, "/other"), "ok", "one rule either way");
    }
    assert_eq!(code(&w, "h", "get", "/write/1"), "ok", "open either way");
}
