//! Routes: path templates, and the one route that a request belongs to.
//!
//! The most specific route wins, whatever the order in the file: first by host
//! (one of Envoy's virtual hosts by name, then exact, then `*.suffix`, longest first, then
//! any), then by path, segment by
//! segment (literal, then `{name}`, then `{*rest}`), then by method (named, then
//! any). That is the precedence of the Kubernetes Gateway API. Two routes that no
//! request could tell apart are a [`Conflict`]. A request that fits a route's path
//! but none of its methods falls to the next less specific one.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use crate::host::Host;
use crate::path;

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter,
}

/// A path template such as `/v1/users/{id}` or `/static/{*rest}`.
///
/// `{name}` takes exactly one segment; `{*rest}`, at the end only, takes any number,
/// none included, so that a protected subtree includes its own root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    segments: Vec<Segment>,
    rest: bool,
    /// Written with a slash at its end.
    slash: bool,
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// It does not begin with `/`.
    NotAbsolute,
    /// A literal segment that could be read in several ways, or in none.
    NotCanonical(String),
    /// `{` or `}` inside a segment that is not wholly `{name}`.
    Brace(String),
    /// `{*rest}` stands before the end.
    RestNotLast(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAbsolute => f.write_str("a path begins with `/`"),
            Self::NotCanonical(s) => write!(
                f,
                "segment `{s}` could be read in several ways, and requests for it would be refused: \
                 write it without `.`/`..` segments, empty segments, `;`, `?`, `\\` and escapes of those"
            ),
            Self::Brace(s) => write!(
                f,
                "segment `{s}` mixes text and braces: a parameter takes a whole segment, as in `/users/{{id}}`"
            ),
            Self::RestNotLast(s) => {
                write!(f, "`{s}` takes all that follows, so it stands last")
            }
        }
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`], naming the segment.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let body = text.strip_prefix('/').ok_or(TemplateError::NotAbsolute)?;
        let (body, slash) = match body.strip_suffix('/') {
            Some(body) => (body, true),
            None => (body, false),
        };
        let mut template = Self {
            segments: Vec::new(),
            rest: false,
            slash,
        };
        if body.is_empty() {
            return Ok(template);
        }
        for segment in body.split('/') {
            if template.rest {
                return Err(TemplateError::RestNotLast(
                    text.split('/')
                        .find(|s| s.starts_with("{*"))
                        .unwrap_or_default()
                        .to_owned(),
                ));
            }
            if let Some(name) = segment.strip_prefix("{*").and_then(|s| s.strip_suffix('}'))
                && is_parameter_name(name)
            {
                template.rest = true;
            } else if let Some(name) = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'))
                && is_parameter_name(name)
            {
                template.segments.push(Segment::Parameter);
            } else if segment.contains(['{', '}']) {
                return Err(TemplateError::Brace(segment.to_owned()));
            } else {
                template.segments.push(Segment::Literal(literal(segment)?));
            }
        }
        Ok(template)
    }
}

impl fmt::Display for Template {
    /// The shape, parameter names left out: equal shapes match the same paths.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for s in &self.segments {
            match s {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Parameter => f.write_str("/{}")?,
            }
        }
        if self.rest {
            f.write_str("/{*}")?;
        } else if self.segments.is_empty() {
            f.write_str("/")?;
        }
        Ok(())
    }
}

fn is_parameter_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn literal(segment: &str) -> Result<String, TemplateError> {
    let refused = || TemplateError::NotCanonical(segment.to_owned());
    path::literal(segment).ok_or_else(refused)
}

/// Which hosts a route answers for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// `api.example.com`.
    Exact(String),
    /// `*.example.com`, kept as `.example.com`: one label or more before it.
    Suffix(String),
}

impl HostPattern {
    /// Reads `api.example.com`, `*.example.com`, or either with a port; case does not count.
    pub fn parse(text: &str) -> Option<Self> {
        let (wild, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let host = Host::parse(rest.as_bytes()).ok()?;
        let port = host.port().map(|p| format!(":{p}")).unwrap_or_default();
        let text = format!("{}{port}", host.name());
        match (text.is_empty(), wild) {
            (true, _) => None,
            (false, false) => Some(Self::Exact(text)),
            (false, true) => Some(Self::Suffix(format!(".{text}"))),
        }
    }

    /// Whether it names a port.
    pub fn has_port(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Exact(text) | Self::Suffix(text) => text
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(h) => f.write_str(h),
            Self::Suffix(s) => write!(f, "*{s}"),
        }
    }
}

/// Two routes that no request could tell apart: their positions in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The route that came first.
    pub first: usize,
    /// The route that could never win against it, nor lose.
    pub second: usize,
}

/// The routes of a policy, indexed. Lookup time does not grow with their number.
#[derive(Clone, Debug, Default)]
pub struct Router {
    virtual_hosts: BTreeMap<String, Tree>,
    exact: BTreeMap<String, Tree>,
    /// Longest first.
    suffixes: Vec<(String, Tree)>,
    any: Tree,
    /// Routes whose templates end with a slash.
    slashed: BTreeSet<usize>,
}

/// Where a route answers: everywhere, if neither list names anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// By the host of the request.
    pub hosts: &'a [HostPattern],
    /// By the name of the virtual host that Envoy chose.
    pub virtual_hosts: &'a [String],
}

/// Whether a slash at the end of a path counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slash {
    Ignored,
    Counts,
}

/// What is looked for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    method: &'a [u8],
    slash: Slash,
    slashed: &'a BTreeSet<usize>,
}

impl Router {
    /// Adds a route under its number.
    ///
    /// # Errors
    /// [`Conflict`] with a route added before.
    pub fn insert(
        &mut self,
        route: usize,
        places: Places<'_>,
        template: &Template,
        methods: &[String],
    ) -> Result<(), Conflict> {
        let everywhere = [HostPattern::Any];
        let hosts = match (places.hosts, places.virtual_hosts) {
            ([], []) => &everywhere,
            (hosts, _) => hosts,
        };
        for name in places.virtual_hosts {
            let tree = self.virtual_hosts.entry(name.clone()).or_default();
            tree.insert(route, template, methods)?;
        }
        for host in hosts {
            self.tree(host).insert(route, template, methods)?;
        }
        if template.slash {
            self.slashed.insert(route);
        }
        Ok(())
    }

    fn tree(&mut self, host: &HostPattern) -> &mut Tree {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(h) => self.exact.entry(h.clone()).or_default(),
            HostPattern::Suffix(s) => {
                let at = match self.suffixes.iter().position(|(have, _)| have == s) {
                    Some(at) => at,
                    None => {
                        let at = self
                            .suffixes
                            .partition_point(|(have, _)| have.len() >= s.len());
                        self.suffixes.insert(at, (s.clone(), Tree::default()));
                        at
                    }
                };
                match self.suffixes.get_mut(at) {
                    Some((_, tree)) => tree,
                    // The position was found or made just above.
                    None => &mut self.any,
                }
            }
        }
    }

    /// Whether any route asks for a host.
    pub fn names_hosts(&self) -> bool {
        !self.exact.is_empty() || !self.suffixes.is_empty()
    }

    /// Whether any route asks for one of Envoy's virtual hosts.
    pub fn names_virtual_hosts(&self) -> bool {
        !self.virtual_hosts.is_empty()
    }

    /// The route that a request belongs to, by one reading of its host and path.
    pub fn find(&self, host: &str, method: &[u8], path: &str) -> Option<usize> {
        self.find_by_host(host, self.wanted(method, Slash::Ignored), path)
    }

    /// Likewise, for readers that tell `/a` from `/a/`.
    pub fn find_exactly(&self, host: &str, method: &[u8], path: &str) -> Option<usize> {
        self.find_by_host(host, self.wanted(method, Slash::Counts), path)
    }

    /// The route of one of Envoy's virtual hosts that a request belongs to; `None` if it belongs
    /// to none that names this virtual host. `exactly`: for readers that tell `/a` from `/a/`.
    pub fn find_in(
        &self,
        virtual_host: &str,
        method: &[u8],
        path: &str,
        exactly: bool,
    ) -> Option<usize> {
        let slash = if exactly {
            Slash::Counts
        } else {
            Slash::Ignored
        };
        let tree = self.virtual_hosts.get(virtual_host)?;
        tree.find(self.wanted(method, slash), relative(path))
    }

    fn wanted<'a>(&'a self, method: &'a [u8], slash: Slash) -> Wanted<'a> {
        let slashed = &self.slashed;
        Wanted {
            method,
            slash,
            slashed,
        }
    }

    fn find_by_host(&self, host: &str, wanted: Wanted<'_>, path: &str) -> Option<usize> {
        let path = relative(path);
        let exact = if self.exact.is_empty() {
            None
        } else {
            self.exact.get(host)
        };
        exact
            .and_then(|tree| tree.find(wanted, path))
            .or_else(|| {
                self.suffixes
                    .iter()
                    .filter(|(suffix, _)| {
                        host.len() > suffix.len() && host.ends_with(suffix.as_str())
                    })
                    .find_map(|(_, tree)| tree.find(wanted, path))
            })
            .or_else(|| self.any.find(wanted, path))
    }
}

fn relative(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

#[derive(Clone, Debug, Default)]
struct Tree {
    literals: BTreeMap<String, Tree>,
    parameter: Option<Box<Tree>>,
    here: Methods,
    rest: Methods,
}

impl Tree {
    fn insert(
        &mut self,
        route: usize,
        template: &Template,
        methods: &[String],
    ) -> Result<(), Conflict> {
        let mut node = self;
        for segment in &template.segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Parameter => node.parameter.get_or_insert_default(),
            };
        }
        let table = if template.rest {
            &mut node.rest
        } else {
            &mut node.here
        };
        table.insert(route, methods)
    }

    /// `path` without its leading slash.
    fn find(&self, wanted: Wanted<'_>, path: &str) -> Option<usize> {
        if path.is_empty() {
            // The root has a slash at its end and no other form.
            return self.end(wanted, None);
        }
        let Some((segment, remainder)) = path.split_once('/') else {
            return self.step(path, |node| node.end(wanted, Some(false)), wanted);
        };
        let further = |node: &Self| match remainder {
            "" => node.end(wanted, Some(true)),
            more => node.find(wanted, more),
        };
        self.step(segment, further, wanted)
    }

    /// One segment on, where it leads further; else what takes all that follows.
    fn step(
        &self,
        segment: &str,
        further: impl Fn(&Self) -> Option<usize>,
        wanted: Wanted<'_>,
    ) -> Option<usize> {
        self.literals
            .get(segment)
            .and_then(&further)
            // A parameter is something, and no reader takes nothing for it.
            .or_else(|| match segment {
                "" => None,
                _ => further(self.parameter.as_ref()?),
            })
            .or_else(|| self.rest.find(wanted.method))
    }

    /// The path ends here, with a slash or without.
    fn end(&self, wanted: Wanted<'_>, slash: Option<bool>) -> Option<usize> {
        let here = self.here.find(wanted.method);
        let is_it = |route: &usize| match slash {
            Some(slash) if wanted.slash == Slash::Counts => wanted.slashed.contains(route) == slash,
            _ => true,
        };
        here.filter(is_it).or_else(|| self.rest.find(wanted.method))
    }
}

#[derive(Clone, Debug, Default)]
struct Methods {
    named: Vec<(String, usize)>,
    any: Option<usize>,
}

impl Methods {
    fn insert(&mut self, route: usize, methods: &[String]) -> Result<(), Conflict> {
        let conflict = |first| {
            Err(Conflict {
                first,
                second: route,
            })
        };
        if methods.is_empty() {
            return match self.any.replace(route) {
                Some(first) => conflict(first),
                None => Ok(()),
            };
        }
        for method in methods {
            if let Some((_, first)) = self.named.iter().find(|(m, _)| m == method) {
                return conflict(*first);
            }
            self.named.push((method.clone(), route));
        }
        Ok(())
    }

    fn find(&self, method: &[u8]) -> Option<usize> {
        self.named
            .iter()
            .find_map(|(m, route)| (m.as_bytes() == method).then_some(*route))
            .or(self.any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn router(routes: &[(&str, &[&str], &[&str])]) -> Result<Router, Conflict> {
        let mut router = Router::default();
        for (i, (path, hosts, methods)) in routes.iter().enumerate() {
            let hosts: Vec<_> = hosts
                .iter()
                .map(|h| HostPattern::parse(h).unwrap())
                .collect();
            let methods: Vec<_> = methods.iter().map(|m| m.to_string()).collect();
            let places = Places {
                hosts: &hosts,
                virtual_hosts: &[],
            };
            router.insert(i, places, &Template::parse(path).unwrap(), &methods)?;
        }
        Ok(router)
    }

    #[test]
    fn the_most_specific_route_wins_whatever_the_order() {
        let routes: [(&str, &[&str], &[&str]); 7] = [
            ("/{*rest}", &[], &[]),
            ("/v1/{any}/x", &[], &[]),
            ("/v1/users/{id}", &[], &["GET"]),
            ("/v1/users/me", &[], &[]),
            ("/v1/users/{id}", &[], &[]),
            ("/v1/users/{id}", &["api.example.com"], &[]),
            ("/v1/{*rest}", &["*.example.com"], &[]),
        ];
        let mut order: Vec<usize> = (0..routes.len()).collect();
        for _ in 0..routes.len() {
            order.rotate_left(1);
            let shuffled: Vec<_> = order.iter().map(|&i| routes[i]).collect();
            let router = router(&shuffled).unwrap();
            let find = |host: &str, method: &str, path: &str| {
                order[router.find(host, method.as_bytes(), path).unwrap()]
            };
            assert_eq!(find("h", "GET", "/v1/users/7"), 2);
            assert_eq!(find("h", "PUT", "/v1/users/7"), 4);
            assert_eq!(find("h", "GET", "/v1/users/me"), 3);
            assert_eq!(find("h", "GET", "/v1/users/x"), 2);
            assert_eq!(find("h", "GET", "/v1/jobs/x"), 1);
            assert_eq!(find("h", "GET", "/other"), 0);
            assert_eq!(find("api.example.com", "GET", "/v1/users/me"), 5);
            assert_eq!(find("www.example.com", "GET", "/v1/users/me"), 6);
            assert_eq!(find("example.com", "GET", "/v1/users/me"), 3);
        }
    }

    #[test]
    fn a_missing_method_falls_to_the_next_less_specific_route() {
        let r = router(&[
            ("/a/b", &[], &["GET"]),
            ("/a/{x}", &[], &["POST"]),
            ("/{*rest}", &[], &["PUT"]),
        ])
        .unwrap();
        assert_eq!(r.find("", b"GET", "/a/b"), Some(0));
        assert_eq!(r.find("", b"POST", "/a/b"), Some(1));
        assert_eq!(r.find("", b"PUT", "/a/b"), Some(2));
        assert_eq!(r.find("", b"DELETE", "/a/b"), None);
        assert_eq!(r.find("", b"get", "/a/b"), None);
    }

    #[test]
    fn a_rest_parameter_includes_the_root_of_its_subtree() {
        let r = router(&[("/v1/reports/{*rest}", &[], &[])]).unwrap();
        assert_eq!(r.find("", b"GET", "/v1/reports"), Some(0));
        assert_eq!(r.find("", b"GET", "/v1/reports/a/b"), Some(0));
        assert_eq!(r.find("", b"GET", "/v1/report"), None);
        assert_eq!(
            router(&[("/{*all}", &[], &[])])
                .unwrap()
                .find("", b"GET", "/"),
            Some(0)
        );
    }

    #[test]
    fn an_empty_segment_is_nothing_that_a_parameter_takes() {
        let r = router(&[("/a/{id}/b", &[], &[]), ("/a/{*rest}", &[], &[])]).unwrap();
        assert_eq!(r.find("", b"GET", "/a/x/b"), Some(0));
        assert_eq!(r.find("", b"GET", "/a//b"), Some(1));
        assert_eq!(r.find("", b"GET", "//a"), None);
        assert_eq!(r.find("", b"GET", "//"), None);
        let r = router(&[("/a/{id}", &[], &[])]).unwrap();
        assert_eq!(r.find("", b"GET", "/a//"), None);
        assert_eq!(r.find("", b"GET", "/a/"), None);
    }

    #[test]
    fn a_slash_at_the_end_counts_only_where_that_is_asked() {
        let r = router(&[
            ("/a", &[], &[]),
            ("/b/", &[], &[]),
            ("/u/{id}", &[], &[]),
            ("/{*rest}", &[], &[]),
        ])
        .unwrap();
        for (path, loose, exact) in [
            ("/a", 0, 0),
            ("/a/", 0, 3),
            ("/b", 1, 3),
            ("/b/", 1, 1),
            ("/u/7", 2, 2),
            ("/u/7/", 2, 3),
            ("/", 3, 3),
        ] {
            assert_eq!(r.find("", b"GET", path), Some(loose), "{path}");
            assert_eq!(r.find_exactly("", b"GET", path), Some(exact), "{path}");
        }
    }

    #[test]
    fn virtual_hosts_have_routes_of_their_own() {
        let mut r = Router::default();
        let corp = ["corp".to_owned()];
        let places = Places {
            hosts: &[],
            virtual_hosts: &corp,
        };
        let template = Template::parse("/a").unwrap();
        r.insert(0, places, &template, &[]).unwrap();
        r.insert(1, Places::default(), &template, &[]).unwrap();
        assert!(r.names_virtual_hosts() && !r.names_hosts());
        assert_eq!(r.find_in("corp", b"GET", "/a", false), Some(0));
        assert_eq!(r.find_in("corp", b"GET", "/b", false), None);
        assert_eq!(r.find_in("pub", b"GET", "/a", false), None);
        assert_eq!(r.find("corp", b"GET", "/a"), Some(1));
        assert_eq!(r.find_in("corp", b"GET", "/a/", true), None);
    }

    #[test]
    fn hosts_may_name_a_port() {
        let parsed = |text| HostPattern::parse(text);
        assert_eq!(
            parsed("API.example.com:81"),
            Some(HostPattern::Exact("api.example.com:81".into()))
        );
        assert_eq!(
            parsed("*.example.com:81"),
            Some(HostPattern::Suffix(".example.com:81".into()))
        );
        assert!(parsed("h:81").unwrap().has_port());
        assert!(!parsed("h").unwrap().has_port());
        assert!(!parsed("[::1]").unwrap().has_port());
        assert!(parsed("[::1]:81").unwrap().has_port());
        for text in ["", "*", "*.", "h:x", "a b", "x@h", "h:"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn routes_that_no_request_could_tell_apart_are_refused() {
        for pair in [
            [
                ("/u/{id}", &[][..], &["GET"][..]),
                ("/u/{name}", &[], &["GET", "PUT"]),
            ],
            [("/u", &[], &[]), ("/u/", &[], &[])],
            [("/a/%41", &[], &[]), ("/a/A", &[], &[])],
            [
                ("/u", &["H.example.com"], &[]),
                ("/u", &["x", "h.EXAMPLE.com"], &[]),
            ],
            [("/{*a}", &["*.e.com"], &[]), ("/{*b}", &["*.e.com"], &[])],
        ] {
            assert_eq!(
                router(&pair).unwrap_err(),
                Conflict {
                    first: 0,
                    second: 1
                }
            );
        }
    }

    #[test]
    fn bad_templates_are_refused_with_their_segment() {
        for (text, want) in [
            ("users", TemplateError::NotAbsolute),
            ("/a/../b", TemplateError::NotCanonical("..".into())),
            ("/a//b", TemplateError::NotCanonical(String::new())),
            ("/a%2fb", TemplateError::NotCanonical("a%2fb".into())),
            ("/a?b", TemplateError::NotCanonical("a?b".into())),
            ("/a;b", TemplateError::NotCanonical("a;b".into())),
            ("/%2541", TemplateError::NotCanonical("%2541".into())),
            ("/{id}.json", TemplateError::Brace("{id}.json".into())),
            ("/{}", TemplateError::Brace("{}".into())),
            ("/{*rest}/x", TemplateError::RestNotLast("{*rest}".into())),
        ] {
            assert_eq!(Template::parse(text).unwrap_err(), want, "{text}");
        }
    }

    /// The rule of the module's first paragraph, by brute force over all routes.
    fn slow_find(routes: &[(Template, Vec<String>)], method: &str, path: &str) -> Option<usize> {
        let parts: Vec<&str> = path.split('/').skip(1).filter(|s| !s.is_empty()).collect();
        let rank = |t: &Template| -> Option<Vec<u8>> {
            if parts.len() < t.segments.len() || (!t.rest && parts.len() > t.segments.len()) {
                return None;
            }
            let mut rank = Vec::new();
            for (s, p) in t.segments.iter().zip(&parts) {
                match s {
                    Segment::Literal(l) if l == p => rank.push(0),
                    Segment::Literal(_) => return None,
                    Segment::Parameter => rank.push(1),
                }
            }
            rank.push(if t.rest { 2 } else { 0 });
            Some(rank)
        };
        routes
            .iter()
            .enumerate()
            .filter(|(_, (_, m))| m.is_empty() || m.iter().any(|m| m == method))
            .filter_map(|(i, (t, m))| Some(((rank(t)?, m.is_empty()), i)))
            .min()
            .map(|(_, i)| i)
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn the_tree_finds_what_a_search_of_all_routes_finds(
            routes in proptest::collection::vec(
                (proptest::collection::vec(prop_oneof!["a", "b", "\\{x\\}"], 0..4), any::<bool>(), 0usize..3),
                1..12,
            ),
            path in proptest::collection::vec("[abc]", 0..5),
            method in prop_oneof!["GET", "PUT"],
        ) {
            let mut router = Router::default();
            let mut kept = Vec::new();
            for (segments, rest, m) in routes {
                let mut text = segments.iter().fold(String::new(), |t, s| t + "/" + s);
                if rest { text += "/{*rest}" }
                if text.is_empty() { text.push('/') }
                let template = Template::parse(&text).unwrap();
                let methods: Vec<String> = [&[][..], &["GET"], &["PUT"]][m].iter().map(|m| m.to_string()).collect();
                if router.insert(kept.len(), Places::default(), &template, &methods).is_ok() {
                    kept.push((template, methods));
                } else {
                    // A refused route leaves its traces only in conflicts.
                    return Ok(());
                }
            }
            let path = format!("/{}", path.join("/"));
            prop_assert_eq!(router.find("h", method.as_bytes(), &path), slow_find(&kept, &method, &path));
        }
    }
}
