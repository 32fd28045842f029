//! What headers and queries ask for is judged as if the request itself said it.

use super::readings::{code, routes};
use super::*;

/// Headers of one kind that a request may have beside what it says itself.
#[derive(Clone, Debug)]
enum Kind {
    Host(&'static str, &'static str),
    Method(&'static str),
    Target(&'static str),
    Prefix(&'static str),
    /// So many of a kind that lead nowhere.
    Flood(usize, usize),
}

fn kind() -> impl Strategy<Value = Kind> {
    use proptest::sample::select;
    prop_oneof![
        select(vec![
            ("x-forwarded-host", "corp"),
            ("x-forwarded-host", "pub, corp"),
            ("forwarded", "for=1.1.1.1;host = corp"),
            ("x-original-host", "pub"),
            ("x-host", "other"),
        ])
        .prop_map(|(name, value)| Kind::Host(name, value)),
        select(vec!["DELETE", "GET", "POST", "post", "delete"]).prop_map(Kind::Method),
        select(vec![
            "/adm/x",
            "/item/1",
            "/item/1?a=b",
            "/item/1?_method=DELETE",
            "/item/1?_method=GET",
            "/x?_method=DELETE",
            "/x",
            "/x,/adm/x",
            "/adm/x,y",
            "/o/adm/x",
            "/p/o/item/1",
        ])
        .prop_map(Kind::Target),
        select(vec!["/o", "/p/", "/o/p", "/p, /o", "/x", "o", "/O", "/"]).prop_map(Kind::Prefix),
        (0..4usize, 1..15usize).prop_map(|(which, count)| Kind::Flood(which, count)),
    ]
}

/// The names that a kind may have, and its value, of each header.
fn written(all: &[Kind]) -> Vec<(&'static str, String)> {
    const METHODS: [&str; 3] = [
        "x-http-method-override",
        "x-http-method",
        "x_method_override",
    ];
    const TARGETS: [&str; 3] = ["x-original-url", "x-rewrite-url", "x-forwarded-uri"];
    const PREFIXES: [&str; 3] = ["script-name", "x-forwarded-prefix", "x_script_name"];
    let named = |names: [&'static str; 3], i: usize| names[i % 3];
    let mut headers = Vec::new();
    for (i, one) in all.iter().enumerate() {
        match *one {
            Kind::Host(name, value) => headers.push((name, value.to_owned())),
            Kind::Method(value) => headers.push((named(METHODS, i), value.to_owned())),
            Kind::Target(value) => headers.push((named(TARGETS, i), value.to_owned())),
            Kind::Prefix(value) => headers.push((named(PREFIXES, i), value.to_owned())),
            Kind::Flood(which, count) => headers.extend((0..count).map(|n| match which {
                0 => ("x-forwarded-host", format!("h{n}")),
                1 => (METHODS[0], "GET".to_owned()),
                2 => (TARGETS[0], format!("/x/{n}")),
                _ => (named(PREFIXES, i), format!("/q{n}")),
            })),
        }
    }
    headers
}

/// A server behind: what it may take a request for, of the headers that arrive.
#[derive(Default)]
struct Server {
    hosts: Vec<String>,
    methods: Vec<String>,
    paths: Vec<String>,
    prefixes: Vec<String>,
    in_queries: Vec<String>,
}

impl Server {
    fn target(&mut self, target: &str) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.paths.push(path.to_owned());
        let asked = query.split('&').filter_map(|p| p.strip_prefix("_method="));
        self.in_queries.extend(asked.map(str::to_owned));
    }

    fn header(&mut self, name: &str, value: &str) {
        let name = name.replace('_', "-");
        let listed = || value.split(',').map(|one| one.trim().to_owned());
        match name.as_str() {
            "forwarded" => self.hosts.push("corp".to_owned()),
            "script-name" | "x-script-name" | "x-forwarded-prefix" => {
                self.prefixes.push(value.to_owned());
                self.prefixes.extend(listed());
            }
            name if name.ends_with("host") => self.hosts.extend(listed()),
            name if name.contains("method") => {
                self.methods
                    .extend([value.to_owned(), value.to_ascii_uppercase()]);
            }
            _ => {
                self.target(value);
                for one in listed().filter(|one| one.starts_with('/')) {
                    self.target(&one);
                }
            }
        }
    }

    /// Cuts prefixes off, each as it is written or without the slash at its end, also all of them
    /// as one list, one after another; and never leaves less than the root.
    fn cut(&mut self) {
        let all = self.prefixes.join(",");
        self.prefixes.push(all);
        for _ in 0..3 {
            for path in self.paths.clone() {
                for prefix in &self.prefixes {
                    let slashed = format!("/{}", prefix.trim_matches('/'));
                    for prefix in [prefix.trim_end_matches('/'), &slashed] {
                        let path = path.to_lowercase();
                        if let Some((_, rest)) = path.split_once(&prefix.to_lowercase())
                            && !prefix.is_empty()
                        {
                            self.paths
                                .push(format!("/{}", rest.trim_start_matches('/')));
                        }
                    }
                }
            }
            self.paths.sort();
            self.paths.dedup();
        }
    }

    /// Everything that it may take the request for.
    fn reads(&self) -> Vec<(&str, String, &str)> {
        let mut all = Vec::new();
        for host in &self.hosts {
            for path in &self.paths {
                for method in &self.methods {
                    all.push((host.as_str(), method.clone(), path.as_str()));
                    let asked = self.in_queries.iter();
                    all.extend(asked.map(|m| (host.as_str(), m.clone(), path.as_str())));
                }
            }
        }
        all.sort();
        all.dedup();
        all
    }
}

/// A server behind may honour each header or not, and each part of one. Whatever it makes of those
/// that arrive, a request that says so plainly would be let in as well.
fn judged_as_if_a_request_said_it(w: &World, own: (&str, &str, &str), asked: &[Kind]) -> [bool; 2] {
    let headers = written(asked);
    let mut c = call(own.1, own.2);
    c.pairs[2].1 = own.0.as_bytes().to_vec();
    for (name, value) in &headers {
        c = c.with(name, value);
    }
    let mut buckets = MemoryBuckets::default();
    let d = c.decide(w, &mut buckets);
    assert!(d.open && d.verdict.is_ok(), "{own:?}");
    let server = |hosts: bool, others: bool| {
        let mut server = Server::default();
        server.hosts.push(own.0.to_owned());
        server.methods.push(own.1.to_owned());
        server.target(own.2);
        for (name, value) in &headers {
            let is_host = crate::request::overrides::is_host(name.as_bytes());
            if if is_host { hosts } else { others } {
                server.header(name, value);
            }
        }
        server.cut();
        server
    };
    let passes = |server: &Server| {
        let reads = server.reads();
        let mut reads = reads.iter();
        reads
            .find(|(host, method, path)| code(w, host, method, path) != "ok")
            .cloned()
            .map_or(Ok(()), |(host, method, path)| {
                Err(format!("{host} {method} {path}"))
            })
    };
    let arrived = server(!d.another_host, !d.overridden);
    let found = passes(&arrived);
    assert!(found.is_ok(), "{:?} of {:?} {:?}", found, own, headers);
    let is_simple = asked.len() <= 3
        && !asked
            .iter()
            .any(|kind| matches!(kind, Kind::Flood(..) | Kind::Prefix(_)));
    if is_simple {
        // Nothing is taken away that does no harm.
        let harmless = passes(&server(true, true)).is_ok();
        let kept = !d.another_host && !d.overridden;
        assert_eq!(harmless, kept, "{:?} {:?}", own, headers);
    }
    [d.another_host, d.overridden]
}

const HOSTS_AND_METHODS: &str = r#"[{"path":"/adm/{*rest}","hosts":["corp"],"scopes":["read"]},
    {"path":"/item/{id}","hosts":["corp"],"methods":["DELETE"],"scopes":["read"]},
    {"path":"/item/{id}","methods":["POST"],"auth":"none"},
    {"path":"/{*rest}","auth":"none"}]"#;
const PATHS: &str = r#"[{"path":"/adm/{*rest}","scopes":["read"]},
    {"path":"/item/{id}","methods":["DELETE"],"scopes":["read"]},
    {"path":"/{*rest}","auth":"none"}]"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..crate::seeded() })]

    #[test]
    fn all_that_headers_ask_for_together_is_judged_as_if_a_request_said_it(
        own in proptest::sample::select(vec![
            ("pub", "GET", "/x"),
            ("corp", "GET", "/item/1"),
            ("pub", "POST", "/x?_method=DELETE"),
            ("pub", "POST", "/o/item/1"),
            ("pub", "GET", "/x?a=b&_method=POST"),
            ("pub", "GET", "/o/adm/x"),
            ("pub", "POST", "/o?_method=DELETE"),
            ("pub", "GET", "/o/p/adm/x"),
            ("pub", "GET", "/p/o/o/adm/x"),
        ]),
        asked in proptest::collection::vec(kind(), 0..6),
    ) {
        for rules in [HOSTS_AND_METHODS, PATHS] {
            judged_as_if_a_request_said_it(&routes(rules), own, &asked);
        }
    }
}

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
