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

use crate::request::host::Host;
use crate::request::path;

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
    /// Some template has a capital letter.
    has_capitals: bool,
}

/// Where a route answers: everywhere, if neither list names anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// By the host of the request.
    pub hosts: &'a [HostPattern],
    /// By the name of the virtual host that Envoy chose.
    pub virtual_hosts: &'a [String],
}

/// How a reader compares paths with templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// A slash at the end is ignored, and `/A` is not `/a`.
    Usual,
    /// `/a` is not `/a/` either.
    MindsSlash,
    /// `/A` is `/a`, unless another template has it as it is: Express, ASP.NET, IIS.
    IgnoresCase,
}

/// What is looked for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    method: &'a [u8],
    comparison: Comparison,
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
        self.has_capitals |= template.segments.iter().any(|segment| match segment {
            Segment::Literal(text) => has_capitals(text),
            Segment::Parameter => false,
        });
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

    /// Whether a template has a capital letter. If none has, a path without one reads the same
    /// to readers that ignore case.
    pub fn has_capitals(&self) -> bool {
        self.has_capitals
    }

    /// Whether a route's template ends with a slash.
    pub fn ends_with_slash(&self, route: usize) -> bool {
        self.slashed.contains(&route)
    }

    /// The route that a request belongs to, by one reading of its host and path.
    pub fn find(&self, host: &str, method: &[u8], path: &str) -> Option<usize> {
        self.find_as(Comparison::Usual, host, method, path)
    }

    /// Likewise, as other readers compare.
    pub fn find_as(
        &self,
        comparison: Comparison,
        host: &str,
        method: &[u8],
        path: &str,
    ) -> Option<usize> {
        self.find_by_host(host, self.wanted(method, comparison), path)
    }

    /// The route of one of Envoy's virtual hosts that a request belongs to; `None` if it belongs
    /// to none that names this virtual host.
    pub fn find_in(
        &self,
        comparison: Comparison,
        virtual_host: &str,
        method: &[u8],
        path: &str,
    ) -> Option<usize> {
        let tree = self.virtual_hosts.get(virtual_host)?;
        tree.find(self.wanted(method, comparison), relative(path))
    }

    fn wanted<'a>(&'a self, method: &'a [u8], comparison: Comparison) -> Wanted<'a> {
        let slashed = &self.slashed;
        Wanted {
            method,
            comparison,
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

/// Escapes are in upper case, and count: nobody is hurt by a look too many.
pub(crate) fn has_capitals(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_uppercase())
}

fn relative(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

#[derive(Clone, Debug, Default)]
struct Tree {
    literals: BTreeMap<String, Tree>,
    /// Those of them that have capital letters.
    capitals: Vec<String>,
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
                Segment::Literal(text) => {
                    if has_capitals(text) && !node.capitals.contains(text) {
                        node.capitals.push(text.clone());
                    }
                    node.literals.entry(text.clone()).or_default()
                }
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
        // Not `split_once`, which looks for characters: a slash is one byte, and found as one.
        let slash = path.bytes().position(|b| b == b'/');
        let parts = slash.and_then(|at| path.split_at_checked(at));
        let Some((segment, remainder)) = parts else {
            return self.step(path, |node| node.end(wanted, Some(false)), wanted);
        };
        let remainder = relative(remainder);
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
            .or_else(|| match wanted.comparison {
                Comparison::IgnoresCase => self.spelled_otherwise(segment).find_map(&further),
                Comparison::Usual | Comparison::MindsSlash => None,
            })
            // A parameter is something, and no reader takes nothing for it.
            .or_else(|| match segment {
                "" => None,
                _ => further(self.parameter.as_ref()?),
            })
            .or_else(|| self.rest.find(wanted.method))
    }

    /// What a segment leads to if capital letters are as good as small ones.
    #[cold]
    fn spelled_otherwise(&self, segment: &str) -> impl Iterator<Item = &Self> {
        let alike = self
            .capitals
            .iter()
            .filter(|l| l.eq_ignore_ascii_case(segment));
        let alike = alike.filter(|l| l.as_str() != segment).cloned();
        let small = segment.to_ascii_lowercase();
        let all = core::iter::once(small)
            .filter(|s| s != segment)
            .chain(alike);
        let found: Vec<&Self> = all.filter_map(|l| self.literals.get(&l)).collect();
        found.into_iter()
    }

    /// The path ends here, with a slash or without.
    fn end(&self, wanted: Wanted<'_>, slash: Option<bool>) -> Option<usize> {
        let here = self.here.find(wanted.method);
        let is_it = |route: &usize| match slash {
            Some(slash) if wanted.comparison == Comparison::MindsSlash => {
                wanted.slashed.contains(route) == slash
            }
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
mod tests;
