//! Routes: path templates, and the one route that a request belongs to.
//!
//! The most specific route wins, whatever the order in the file: first by host
//! (exact, then `*.suffix`, longest first, then any), then by path, segment by
//! segment (literal, then `{name}`, then `{*rest}`), then by method (named, then
//! any). That is the precedence of the Kubernetes Gateway API. Two routes that no
//! request could tell apart are a [`Conflict`]. A request that fits a route's path
//! but none of its methods falls to the next less specific one.

use core::fmt;
use std::collections::BTreeMap;

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
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// It does not begin with `/`.
    NotAbsolute,
    /// A literal segment could not be matched: it is not canonical.
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
                "segment `{s}` can match no request: write it without `.`/`..` segments, \
                 empty segments, `;`, `?` and needless escapes"
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
        let body = body.strip_suffix('/').unwrap_or(body);
        let mut template = Self {
            segments: Vec::new(),
            rest: false,
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
    if segment.is_empty() || segment.contains(['?', ';']) {
        return Err(refused());
    }
    let path = format!("/{segment}");
    let canonical = path::canonical(path.as_bytes()).map_err(|_| refused())?;
    match canonical.path.strip_prefix('/') {
        Some(s) if !s.is_empty() => Ok(s.to_owned()),
        _ => Err(refused()),
    }
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
    /// Reads `api.example.com` or `*.example.com`; case and port do not count.
    pub fn parse(text: &str) -> Option<Self> {
        let (wild, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let host = path::canonical_host(rest.as_bytes()).into_owned();
        let fine = !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':'));
        match (fine, wild) {
            (false, _) => None,
            (true, false) => Some(Self::Exact(host)),
            (true, true) => Some(Self::Suffix(format!(".{host}"))),
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
    exact: BTreeMap<String, Tree>,
    /// Longest first.
    suffixes: Vec<(String, Tree)>,
    any: Tree,
}

impl Router {
    /// Adds a route under its number.
    ///
    /// # Errors
    /// [`Conflict`] with a route added before.
    pub fn insert(
        &mut self,
        route: usize,
        hosts: &[HostPattern],
        template: &Template,
        methods: &[String],
    ) -> Result<(), Conflict> {
        let everywhere = [HostPattern::Any];
        let hosts = if hosts.is_empty() { &everywhere } else { hosts };
        for host in hosts {
            self.tree(host).insert(route, template, methods)?;
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

    /// The route that a request belongs to. `host` and `path` are canonical.
    pub fn find(&self, host: &str, method: &[u8], path: &str) -> Option<usize> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let exact = if self.exact.is_empty() {
            None
        } else {
            self.exact.get(host)
        };
        exact
            .and_then(|tree| tree.find(method, path))
            .or_else(|| {
                self.suffixes
                    .iter()
                    .filter(|(suffix, _)| {
                        host.len() > suffix.len() && host.ends_with(suffix.as_str())
                    })
                    .find_map(|(_, tree)| tree.find(method, path))
            })
            .or_else(|| self.any.find(method, path))
    }
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

    /// `path` without its leading slash; empty at the end.
    fn find(&self, method: &[u8], path: &str) -> Option<usize> {
        if path.is_empty() {
            return self.here.find(method).or_else(|| self.rest.find(method));
        }
        let (segment, remainder) = path.split_once('/').unwrap_or((path, ""));
        self.literals
            .get(segment)
            .and_then(|node| node.find(method, remainder))
            .or_else(|| self.parameter.as_ref()?.find(method, remainder))
            .or_else(|| self.rest.find(method))
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
            router.insert(i, &hosts, &Template::parse(path).unwrap(), &methods)?;
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
                ("/u", &["x", "h.EXAMPLE.com:80"], &[]),
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
                if router.insert(kept.len(), &[], &template, &methods).is_ok() {
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
