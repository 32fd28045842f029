//! Servers that read overrides, against what is decided.

use super::*;

/// Headers of one kind that a request may have beside what it says itself.
#[derive(Clone, Debug)]
pub(super) enum Kind {
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
    pub(super) hosts: Vec<String>,
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
pub(super) fn judged_as_if_a_request_said_it(
    w: &World,
    own: (&str, &str, &str),
    asked: &[Kind],
) -> [bool; 2] {
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

pub(super) const HOSTS_AND_METHODS: &str = r#"[{"path":"/adm/{*rest}","hosts":["corp"],"scopes":["read"]},
    {"path":"/item/{id}","hosts":["corp"],"methods":["DELETE"],"scopes":["read"]},
    {"path":"/item/{id}","methods":["POST"],"auth":"none"},
    {"path":"/{*rest}","auth":"none"}]"#;

pub(super) const PATHS: &str = r#"[{"path":"/adm/{*rest}","scopes":["read"]},
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
