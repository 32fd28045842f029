//! Which requests pass with less than their author may have meant.

use std::collections::{BTreeMap, BTreeSet};

use keystile_core::policy::{Auth, Mode, Policy, Preflight, RawPolicy, RawRoute, Unmatched};
use keystile_core::request::route::HostPattern;

use crate::diff::classes::{self, Example, route_of};

/// The most requests for which the router is asked: about a second of work.
pub(super) const MOST: usize = 4_000_000;

/// What distinguishes findings: two routes are reported once for each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Another method of the same path and host.
    Methods,
    /// The same method and path at another host.
    Hosts,
}

/// Where a request goes that needs no key, or any key at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// To a route that needs no key.
    Open(usize),
    /// To no route, with any key.
    AnyKey,
}

/// An example of what passes, and all methods that do.
pub(super) struct Seen {
    pub(super) path: String,
    /// None where every host does.
    pub(super) host: Option<String>,
    pub(super) methods: BTreeSet<usize>,
}

/// A route, taken apart once.
pub(super) struct Known<'p> {
    pub(super) raw: &'p RawRoute,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) shape: Vec<String>,
}

impl Known<'_> {
    /// How closely it names a host; none if it does not match.
    pub(super) fn rank(&self, host: &str) -> Option<usize> {
        let virtual_hosts = &self.raw.virtual_hosts;
        if self.hosts.is_empty() && virtual_hosts.is_empty() {
            return Some(0);
        }
        let chosen = |name: &String| classes::virtual_host(name) == host;
        if virtual_hosts.iter().any(chosen) {
            return Some(usize::MAX);
        }
        let ranks = self.hosts.iter().filter_map(|pattern| match pattern {
            HostPattern::Any => Some(0),
            HostPattern::Exact(h) => (h == host).then_some(usize::MAX),
            HostPattern::Suffix(s) => {
                (host.len() > s.len() && host.ends_with(s.as_str())).then_some(s.len())
            }
        });
        ranks.max()
    }

    pub(super) fn names(&self, method: &str) -> bool {
        self.raw.methods.iter().any(|m| m == method)
    }

    pub(super) fn scoped(&self) -> bool {
        !self.raw.scopes.is_empty() || !self.raw.any_scope.is_empty()
    }

    pub(super) fn keyed(&self) -> bool {
        self.raw.auth == Auth::Required
    }

    pub(super) fn within(&self, other: &Self) -> bool {
        classes::shape_within(&self.shape, &other.shape)
    }
}

pub(super) struct Look<'p> {
    pub(super) policy: &'p Policy,
    pub(super) routes: Vec<Known<'p>>,
    pub(super) hosts: Vec<Example>,
    pub(super) methods: Vec<Example>,
    pub(super) seen: BTreeMap<(usize, Kind, Way), Seen>,
    /// Requests asked about.
    pub(super) asked: usize,
    /// There were more than could be examined.
    pub(super) cut: bool,
}

impl<'p> Look<'p> {
    pub(super) fn at(raw: &'p RawPolicy, policy: &'p Policy) -> Self {
        let known = |raw: &'p RawRoute| Known {
            raw,
            hosts: raw
                .hosts
                .iter()
                .filter_map(|h| HostPattern::parse(h))
                .collect(),
            shape: classes::segments(&raw.path).unwrap_or_default(),
        };
        let routes: Vec<Known<'p>> = raw.routes.iter().map(known).collect();
        let mut hosts = classes::hosts(raw, raw);
        let named: BTreeSet<String> = hosts.iter().map(|h| h.text.clone()).collect();
        let bare: BTreeSet<&str> = routes
            .iter()
            .flat_map(|r| r.hosts.iter().filter_map(bare))
            .filter(|b| !named.contains(*b))
            .collect();
        // The host that no route names comes last.
        let bare = bare.into_iter().map(|b| Example {
            text: b.to_owned(),
            words: b.to_owned(),
        });
        hosts.splice(0..0, bare);
        Self {
            policy,
            hosts,
            methods: classes::methods(raw, raw),
            routes,
            seen: BTreeMap::new(),
            asked: 0,
            cut: false,
        }
    }

    pub(super) fn scan(&mut self) {
        if !self.routes.iter().any(Known::keyed) {
            return;
        }
        let hosts: Vec<String> = self.hosts.iter().map(|h| h.text.clone()).collect();
        for host in &hosts {
            let shapes: Vec<&Vec<String>> = self
                .routes
                .iter()
                .filter(|r| r.rank(host).is_some())
                .map(|r| &r.shape)
                .collect();
            let Some(paths) = crate::diff::paths::paths(&shapes) else {
                self.cut = true;
                continue;
            };
            for path in &paths {
                if self.asked > MOST {
                    self.cut = true;
                    return;
                }
                self.path(host, &path.text);
            }
        }
    }

    /// Where each method of a path goes at a host.
    pub(super) fn path(&mut self, host: &str, path: &str) {
        let answers: Vec<Option<usize>> = (0..self.methods.len())
            .map(|m| self.ask(host, m, path))
            .collect();
        let keyed: BTreeSet<usize> = answers
            .iter()
            .flatten()
            .copied()
            .filter(|p| self.routes.get(*p).is_some_and(Known::keyed))
            .collect();
        for p in keyed {
            for (m, answer) in answers.iter().enumerate() {
                match self.way(*answer, p) {
                    Some(way) if !self.meant(way, p, host, m) => {
                        self.found((p, Kind::Methods, way), host, path, m);
                    }
                    None if *answer == Some(p) => self.elsewhere(p, m, path),
                    _ => {}
                }
            }
        }
    }

    /// Whether the same request passes at a host that the route does not name.
    pub(super) fn elsewhere(&mut self, p: usize, m: usize, path: &str) {
        let Some(route) = self.routes.get(p) else {
            return;
        };
        if route.hosts.is_empty() {
            return;
        }
        let bare = route.hosts.iter().filter_map(bare).map(str::to_owned);
        let other = self.hosts.last().map(|h| h.text.clone());
        let others: Vec<String> = bare.chain(other).collect();
        for host in others {
            let Some(route) = self.routes.get(p).filter(|r| r.rank(&host).is_none()) else {
                continue;
            };
            let answer = route_of(self.policy, &host, self.method(m), path);
            let by = answer.and_then(|o| self.routes.get(o));
            // A rule for exactly this host, or exactly this path, was meant for it.
            let meant = by
                .is_some_and(|o| o.rank(&host) > Some(0) || (o.within(route) && !route.within(o)));
            self.asked += 1;
            if let Some(way) = self.way(answer, p).filter(|_| !meant) {
                self.found((p, Kind::Hosts, way), &host, path, m);
                return;
            }
        }
    }

    pub(super) fn ask(&mut self, host: &str, method: usize, path: &str) -> Option<usize> {
        self.asked += 1;
        route_of(self.policy, host, self.method(method), path)
    }

    pub(super) fn method(&self, number: usize) -> &str {
        self.methods.get(number).map_or("", |m| m.text.as_str())
    }

    /// What an answer means beside a route that requires a key.
    pub(super) fn way(&self, answer: Option<usize>, p: usize) -> Option<Way> {
        match answer {
            Some(o) => {
                let keyed = self.routes.get(o).is_none_or(Known::keyed);
                (!keyed).then_some(Way::Open(o))
            }
            None => {
                let scoped = self.routes.get(p).is_some_and(Known::scoped);
                let any = self.policy.unmatched == Unmatched::Authenticated;
                (scoped && any).then_some(Way::AnyKey)
            }
        }
    }

    /// Whether the policy explicitly opens this method at this path or host.
    pub(super) fn meant(&self, way: Way, p: usize, host: &str, method: usize) -> bool {
        let Way::Open(o) = way else { return false };
        let (Some(open), Some(keyed)) = (self.routes.get(o), self.routes.get(p)) else {
            return false;
        };
        open.rank(host) > keyed.rank(host)
            || (open.within(keyed) && open.names(self.method(method)))
    }

    pub(super) fn found(&mut self, key: (usize, Kind, Way), host: &str, path: &str, method: usize) {
        let any =
            key.1 == Kind::Methods && self.routes.get(key.0).is_some_and(|r| r.hosts.is_empty());
        let seen = self.seen.entry(key).or_insert_with(|| Seen {
            path: path.to_owned(),
            host: (!any).then(|| host.to_owned()),
            methods: BTreeSet::new(),
        });
        seen.methods.insert(method);
    }

    /// Routes for `OPTIONS` that preflights bypass.
    pub(super) fn preflights(&self) -> Vec<usize> {
        self.past_preflights(|route| route.names("OPTIONS"))
    }

    /// Routes that require a key and do not name `OPTIONS`, if preflights need none.
    pub(super) fn open_to_preflights(&self) -> Vec<usize> {
        self.past_preflights(|route| !route.names("OPTIONS"))
    }

    fn past_preflights(&self, wanted: impl Fn(&Known<'_>) -> bool) -> Vec<usize> {
        let allow = self.policy.preflight == Preflight::Allow;
        let routes = self.routes.iter().enumerate();
        routes
            .filter(|(_, r)| allow && r.keyed() && wanted(r))
            .map(|(i, _)| i)
            .collect()
    }

    /// Open routes, with the routes inside them that require a key.
    pub(super) fn spellings(&self) -> Vec<(usize, Vec<usize>)> {
        let hosts = |a: &Known<'_>, b: &Known<'_>| {
            a.hosts.is_empty() || b.hosts.is_empty() || a.hosts.iter().any(|h| b.hosts.contains(h))
        };
        let wide = |r: &Known<'_>| {
            r.shape
                .last()
                .is_some_and(|s| matches!(s.as_str(), "{*}" | "{+}"))
        };
        let inside = |open: &Known<'_>| -> Vec<usize> {
            let routes = self.routes.iter().enumerate();
            routes
                .filter(|(_, r)| r.keyed() && r.within(open) && !open.within(r) && hosts(r, open))
                .map(|(i, _)| i)
                .collect()
        };
        let routes = self.routes.iter().enumerate();
        routes
            .filter(|(_, r)| !r.keyed() && wide(r))
            .map(|(o, r)| (o, inside(r)))
            .filter(|(_, inside)| !inside.is_empty())
            .collect()
    }

    pub(super) fn shadow(&self) -> bool {
        self.policy.mode == Mode::Shadow
    }
}

/// The name that `*.example.com` does not include.
fn bare(pattern: &HostPattern) -> Option<&str> {
    match pattern {
        HostPattern::Suffix(s) => s.strip_prefix('.'),
        _ => None,
    }
}
