//! What headers and queries ask for is judged as if the request itself said it.

use super::readings::{code, routes};
use super::*;
use servers::{HOSTS_AND_METHODS, Kind, PATHS, judged_as_if_a_request_said_it};

mod servers;

#[test]
fn what_leads_to_another_rule_is_removed_and_what_does_not_is_kept() {
    let w = routes(HOSTS_AND_METHODS);
    let thing = routes(
        r#"[{"path":"/thing","methods":["POST"],"auth":"none"},{"path":"/thing","scopes":["read"]},
            {"path":"/","scopes":["read"]},{"path":"/open/{*rest}","auth":"none"}]"#,
    );
    let [host, method] = [
        Kind::Host("x-forwarded-host", "corp"),
        Kind::Method("DELETE"),
    ];
    let target = Kind::Target("/item/1");
    for (w, own, asked, removed) in [
        (&w, ("pub", "GET", "/x"), vec![], [false, false]),
        (&w, ("pub", "GET", "/x"), vec![host.clone()], [false, false]),
        (
            &w,
            ("pub", "GET", "/x"),
            vec![target.clone()],
            [false, false],
        ),
        (
            &w,
            ("pub", "GET", "/x"),
            vec![method.clone(), target.clone()],
            [false, false],
        ),
        (
            &w,
            ("pub", "GET", "/x"),
            vec![host, method, target],
            [false, true],
        ),
        (
            &w,
            ("pub", "GET", "/adm/x"),
            vec![Kind::Host("x-host", "corp")],
            [true, false],
        ),
        (
            &thing,
            ("pub", "POST", "/open/a?_method=DELETE"),
            vec![Kind::Target("/thing")],
            [false, true],
        ),
        (
            &thing,
            ("pub", "GET", "/open/a?_method=DELETE"),
            vec![Kind::Target("/open/thing?a=b")],
            [false, false],
        ),
        (
            &thing,
            ("pub", "POST", "/open/thing?_method=DELETE"),
            vec![Kind::Prefix("/open")],
            [true, false],
        ),
    ] {
        assert_eq!(
            judged_as_if_a_request_said_it(w, own, &asked),
            removed,
            "{own:?} {asked:?}"
        );
    }
}

/// However many there are, none is passed over.
#[test]
fn of_more_prefixes_than_are_looked_at_nothing_arrives() {
    let w = routes(PATHS);
    for (flood, real) in [
        (0, true),
        (1, true),
        (12, true),
        (13, true),
        (40, true),
        (12, false),
    ] {
        for is_first in [true, false] {
            let mut asked = vec![Kind::Flood(3, flood)];
            asked.extend(real.then_some(Kind::Prefix("/o")));
            if is_first {
                asked.reverse();
            }
            let own = ("pub", "GET", "/o/adm/x");
            let removed = judged_as_if_a_request_said_it(&w, own, &asked);
            assert_eq!(removed, [real || flood > 11, false], "{flood}");
        }
    }
    // Those that two proxies in front have cut off already do no harm.
    let two = [Kind::Prefix("/o"), Kind::Prefix("/p")];
    for (path, removed) in [("/x", false), ("/o/x", true)] {
        let found = judged_as_if_a_request_said_it(&w, ("pub", "GET", path), &two);
        assert_eq!(found, [removed, false], "{path}");
    }
}

#[test]
fn hosts_count_among_the_overrides_that_are_asked_about() {
    let w = routes(r#"[{"path":"/a","hosts":["corp"]},{"path":"/{*rest}","auth":"none"}]"#);
    for (hosts, targets, overridden) in
        [(9, 1, false), (10, 1, true), (11, 0, false), (30, 1, true)]
    {
        let names: Vec<String> = (0..hosts).map(|n| format!("h{n}")).collect();
        let mut c = call("GET", "/b").with("x-forwarded-host", &names.join(","));
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

/// Symfony, Spring and Express carry such a `POST` out as what the query says, WordPress any request.
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
        "_method[a][b]=PUT",
        "+_method=PUT",
        "+%20_method=PUT",
        "%0A_method=PUT",
        "_method%00x=PUT",
        "%20+.method=PUT",
        "_method=+PUT",
        "_method=PUT%00",
        "_method=POST,PUT",
        "_HttpMethod=PUT",
        "X-HTTP-Method-Override=PUT",
        "x_http_method=PUT",
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
    assert_eq!(keyed("PUT", "/a/1?_method=DELETE"), "ambiguous_path");
    assert_eq!(keyed("GET", "/a/1?_method=DELETE"), "ambiguous_path");
    assert_eq!(keyed("GET", "/a/1?_method=GET"), "ok");
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

/// Too many to be checked one by one, so that all of them are taken out.
#[test]
fn of_more_queries_than_are_looked_at_nothing_arrives() {
    let w = routes(r#"[{"path":"/a","auth":"none"},{"path":"/{*rest}"}]"#);
    for (queries, is_overridden) in [(1, false), (10, false), (14, true)] {
        let mut c = call("GET", "/a");
        for n in 0..queries {
            c = c.with("x-original-url", &format!("/a?{n}"));
        }
        let decision = c.decide(&w, &mut MemoryBuckets::default());
        assert_eq!(decision.overridden, is_overridden, "{queries}");
    }
}

/// Whatever the rule asks for, it does not ask for more than itself.
#[test]
fn a_method_in_the_query_that_leads_to_the_same_rule_is_no_matter() {
    let w = world_with(
        &POLICY.replace("\"realm\"", "\"unmatched\":\"authenticated\",\"realm\""),
        |_| {},
    );
    for path in ["/tight?_method=PUT", "/nowhere?_method=PUT"] {
        assert_eq!(call("POST", path).keyed(&w).code(&w), "ok", "{path}");
    }
}
