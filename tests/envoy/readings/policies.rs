//! The policies that the corpus is sent to, and a matcher of the documented rules that knows
//! nothing of the filter's: the most specific host, then path, then method, by brute force.

mod sites;

use crate::support::shell;
use sites::SITES;
use std::cmp::Reverse;

/// One policy, with a store and listeners of its own.
pub struct Site {
    pub name: &'static str,
    /// Lines of the policy that are no routes.
    pub settings: &'static str,
    pub rules: Vec<Rule>,
}

/// One route: `key [METHODS] [HOSTS] PATH`, or `open …`, or `optional …`. Hosts behind `vh:` are
/// names of virtual hosts, which are called after their domain here.
pub struct Rule {
    pub word: &'static str,
    pub methods: Vec<&'static str>,
    pub hosts: Vec<&'static str>,
    pub by_virtual_host: bool,
    pub path: &'static str,
}

/// A host that no policy here names.
pub const NOBODY: &str = "nobody.invalid";

pub fn sites() -> Vec<Site> {
    let site = |(name, settings, rules): (_, _, &'static str)| Site {
        name,
        settings,
        rules: rules.lines().map(rule).collect(),
    };
    let sites = SITES.into_iter().map(site);
    // A module that is not told which virtual host Envoy chose takes no policy that names one.
    let is_told = !shell::is_module() || shell::is_told_all();
    let takes = |s: &Site| is_told || s.rules.iter().all(|r| !r.by_virtual_host);
    sites.filter(takes).collect()
}

fn rule(line: &'static str) -> Rule {
    let mut words = line.split(' ');
    let mut rule = Rule {
        word: words.next().unwrap(),
        methods: Vec::new(),
        hosts: Vec::new(),
        by_virtual_host: line.contains(" vh:"),
        path: "",
    };
    for word in words {
        if word.starts_with('/') {
            rule.path = word;
        } else if word.contains(['.', ':']) {
            let hosts = word.strip_prefix("vh:").unwrap_or(word);
            rule.hosts = hosts.split(',').collect();
        } else {
            rule.methods = word.split(',').collect();
        }
    }
    rule
}

impl Site {
    pub fn ports_ignored(&self) -> bool {
        self.settings.contains("host_ports: ignore")
    }

    /// As a `policy.yaml`.
    pub fn policy(&self) -> String {
        let mut text = format!(
            "version: 1\n{}\ncredentials: [{{ header: x-api-key }}]\nroutes:\n",
            self.settings
        );
        for rule in &self.rules {
            let auth = match rule.word {
                "key" => "scopes: [all]",
                "open" => "auth: none",
                other => &format!("auth: {other}"),
            };
            text += &format!("- {{ path: {:?}, {auth}", rule.path);
            let hosts = match rule.by_virtual_host {
                true => "virtual_hosts",
                false => "hosts",
            };
            for (name, list) in [("methods", &rule.methods), (hosts, &rule.hosts)] {
                if !list.is_empty() {
                    text += &format!(", {name}: {list:?}");
                }
            }
            text += " }\n";
        }
        text
    }

    /// Every host that a rule names, `*` not among them.
    pub fn hosts(&self) -> Vec<&'static str> {
        let mut hosts: Vec<_> = self
            .rules
            .iter()
            .flat_map(|rule| rule.hosts.clone())
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// Rules name virtual hosts, so that nobody's reading of a host counts but Envoy's.
    pub fn by_virtual_host(&self) -> bool {
        self.rules.iter().any(|rule| rule.by_virtual_host)
    }

    /// Whether a request without a key has to be turned away. A slash at the end is ignored, but
    /// an open rule opens no more than the form that it is written in.
    pub fn protects(&self, host: &str, method: &str, path: &Reading) -> bool {
        let host = match host.rsplit_once(':') {
            Some((name, port))
                if self.ports_ignored() && port.bytes().all(|b| b.is_ascii_digit()) =>
            {
                name
            }
            _ => host,
        };
        self.protects_if(host, method, path, |a, b| a == b)
            || self.protects_if(host, method, path, str::eq_ignore_ascii_case)
    }

    /// To a reader for whom these texts are alike.
    fn protects_if(&self, host: &str, method: &str, path: &Reading, alike: Alike) -> bool {
        let as_written = path.segments();
        let mut without_slash = as_written.clone();
        if without_slash.last().is_some_and(String::is_empty) {
            without_slash.pop();
        }
        [as_written, without_slash].iter().any(|segments| {
            let rules = self.rules.iter();
            let fitting =
                rules.filter_map(|rule| Some((rule.rank(host, method, segments, alike)?, rule)));
            let best = fitting.max_by_key(|(rank, _)| rank.clone());
            // Where no rule matches, the policies here deny or ask for a key.
            best.is_none_or(|(_, rule)| rule.word == "key")
        })
    }
}

/// A path as one of the readers understands it.
pub struct Reading<'a> {
    pub path: &'a str,
    /// Escapes in it are still escapes, not characters that happen to look like one.
    pub escaped: bool,
}

impl Reading<'_> {
    /// RFC 3986 has `%61` and `a` be the same.
    fn segments(&self) -> Vec<String> {
        let path = self.path.strip_prefix('/').unwrap_or(self.path);
        if path.is_empty() {
            return Vec::new();
        }
        let segments = path.split('/');
        if !self.escaped {
            return segments.map(str::to_owned).collect();
        }
        segments.map(without_needless_escapes).collect()
    }
}

fn without_needless_escapes(segment: &str) -> String {
    let mut out = String::new();
    let mut rest = segment;
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        rest = &rest[at..];
        let digits = rest.get(1..3);
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let plain = value.filter(|b| b.is_ascii_alphanumeric() || b"-._~".contains(b));
        let (text, length) = match plain {
            Some(plain) => (char::from(plain), 3),
            None => ('%', 1),
        };
        out.push(text);
        rest = &rest[length..];
    }
    out + rest
}

/// Whether a segment is a literal of a template: some servers ignore case.
type Alike = fn(&str, &str) -> bool;

/// Greater is more specific: the host, then each segment, then the method.
type Rank = ((u8, usize), Vec<u8>, Reverse<bool>);

impl Rule {
    fn rank(&self, host: &str, method: &str, path: &[String], alike: Alike) -> Option<Rank> {
        let any_method = self.methods.is_empty();
        if !any_method && !self.methods.contains(&method) {
            return None;
        }
        Some((
            self.host_rank(host)?,
            self.path_rank(path, alike)?,
            Reverse(any_method),
        ))
    }

    fn host_rank(&self, host: &str) -> Option<(u8, usize)> {
        if self.hosts.is_empty() {
            return Some((0, 0));
        }
        let host = host.to_ascii_lowercase();
        let rank = |pattern: &&str| match pattern.strip_prefix('*') {
            Some(suffix) => {
                (host.len() > suffix.len() && host.ends_with(suffix)).then_some((1, suffix.len()))
            }
            None => (bare(pattern) == bare(&host)).then_some((2, 0)),
        };
        self.hosts.iter().filter_map(rank).max()
    }

    fn path_rank(&self, path: &[String], alike: Alike) -> Option<Vec<u8>> {
        const REST: u8 = 1;
        const PARAMETER: u8 = 2;
        const TEXT: u8 = 3;
        let template: Vec<_> = self.path[1..].split('/').collect();
        let mut rank = Vec::new();
        for (n, part) in template.iter().enumerate() {
            if part.starts_with("{*") {
                rank.push(REST);
                return Some(rank);
            }
            let segment = path.get(n)?;
            match part.starts_with('{') && part.ends_with('}') {
                true if !segment.is_empty() => rank.push(PARAMETER),
                false if alike(segment, part) => rank.push(TEXT),
                _ => return None,
            }
        }
        // Nothing left beats a `{*rest}` that takes nothing.
        rank.push(PARAMETER);
        (path.len() == template.len()).then_some(rank)
    }
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

#[test]
fn the_naive_matcher_follows_the_documented_rules() {
    let sites = sites();
    let site = |name: &str| sites.iter().find(|site| site.name == name).unwrap();
    for (name, request, protected) in [
        ("admin beside an open catch-all", "GET h /admin", true),
        ("admin beside an open catch-all", "GET h /admin/", true),
        ("admin beside an open catch-all", "GET h /%61dmin/x", true),
        (
            "admin beside an open catch-all",
            "GET h /administrator",
            false,
        ),
        ("admin beside an open catch-all", "GET h /", false),
        ("open and closed in turn", "GET h /a/b/c/d", true),
        ("open and closed in turn", "GET h /a/b/x", false),
        ("open and closed in turn", "GET h /a/x", true),
        ("parameters that are open", "GET h /v1/users/7", false),
        ("parameters that are open", "GET h /v1/users/me", true),
        ("parameters that are open", "GET h /v1/users/me/keys", true),
        ("open to read only", "GET h /admin/x", true),
        ("open to read only", "HEAD h /admin/x", false),
        ("open to read only", "POST h /x", true),
        ("open paths, the rest denied", "GET h /x", true),
        ("open paths, the rest denied", "GET h /healthz", false),
        ("open paths, the rest denied", "GET h /healthz/", true),
        ("open paths, the rest denied", "GET h /public/", false),
        ("www open, ports ignored", "GET www.example.com:81 /", false),
        (
            "www open, all else protected",
            "GET www.example.com:81 /",
            true,
        ),
        ("hosts within hosts", "GET x.example.com /", true),
        ("hosts within hosts", "GET x.PUB.example.com /", false),
        ("hosts within hosts", "GET secret.pub.example.com /", true),
        ("hosts within hosts", "GET example.com /", false),
        ("hosts and paths", "GET www.example.com /admin/help", false),
        ("hosts and paths", "GET www.example.com /admin/x", true),
        ("addresses as hosts", "GET ::1 /", true),
    ] {
        let [method, host, path] = request.split(' ').collect::<Vec<_>>()[..] else {
            unreachable!()
        };
        let reading = Reading {
            path,
            escaped: true,
        };
        assert_eq!(
            site(name).protects(host, method, &reading),
            protected,
            "{name}: {request}"
        );
    }
}
