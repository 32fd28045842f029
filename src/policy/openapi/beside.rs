//! Paths that match some of the same requests.
//!
//! OpenAPI looks for the path first, whatever its servers and methods are: of several that match,
//! the one with text where another has a parameter ("concrete", OpenAPI 3.1, section 4.8.8.2). A
//! policy looks for the host first, and a request whose method a route does not list falls to the
//! next route that matches. Where that would let in more, the draft says what is required.

use core::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use keystile_core::request::route::{Comparison, Pattern};

use super::security::Demand;
use super::{Notes, Shape};

/// Adds what paths require on the hosts and for the methods of others that would take their
/// requests and require less.
pub fn settle(shapes: &mut BTreeMap<String, Shape>, notes: &mut Notes) {
    // What is added can itself take requests of a third path.
    loop {
        let all: Vec<(Vec<&str>, &str, &Shape)> = shapes
            .iter()
            .map(|(shape, s)| (segments(shape), shape.as_str(), s))
            .collect();
        let mut missing: Vec<(String, Missing)> = Vec::new();
        for (general, _, loose) in all.iter().filter(|(.., s)| s.may_open_too_much()) {
            for (specific, shape, strict) in &all {
                if meet(general, specific) && comes_first(specific, general) {
                    let found = strict.missing_beside(loose).into_iter();
                    missing.extend(found.map(|m| ((*shape).to_owned(), m)));
                }
            }
        }
        if missing.is_empty() {
            return;
        }
        for (shape, found) in missing {
            if let Some(strict) = shapes.get_mut(&shape) {
                strict.add(found, notes);
            }
        }
    }
}

/// What a path has to require on a host, because of another path.
struct Missing {
    host: String,
    method: String,
    demand: Demand,
    /// The other path.
    other: String,
    /// The document has the method elsewhere alone.
    is_undocumented: bool,
}

impl Shape {
    /// Whether it could take requests of a path that requires more: those for all hosts come last.
    fn may_open_too_much(&self) -> bool {
        self.asks
            .iter()
            .any(|((host, _), demand)| !host.is_empty() || !demand.needs_key())
    }

    fn missing_beside(&self, loose: &Self) -> Vec<Missing> {
        let mut out = Vec::new();
        for ((host, method), asked) in &loose.asks {
            let mut methods: BTreeSet<&String> = BTreeSet::from([method]);
            if method.is_empty() {
                methods.extend(self.asks.keys().map(|(_, method)| method));
            }
            let mut add = |host: &str, method: &str, demand, is_undocumented| {
                out.push(Missing {
                    host: host.to_owned(),
                    method: method.to_owned(),
                    demand,
                    other: loose.path.clone(),
                    is_undocumented,
                });
            };
            for method in methods {
                if self.asked_at(host, method).is_some() {
                    continue;
                }
                if let Some(own) = self.asked_beyond(host, method) {
                    let both = asked.and(own);
                    if both != *asked {
                        add(host, method, both, false);
                    }
                    continue;
                }
                if asked.needs_key() {
                    continue;
                }
                let keyed = self.asks.iter().filter(|(_, demand)| demand.needs_key());
                for ((own, _), _) in keyed {
                    let narrower = match (includes(own, host), includes(host, own)) {
                        (true, _) => host,
                        (_, true) => own,
                        _ => continue,
                    };
                    if self.asked_at(narrower, method).is_none() {
                        add(narrower, method, Demand::key(), true);
                    }
                }
            }
        }
        out
    }

    fn add(&mut self, found: Missing, notes: &mut Notes) {
        let Missing { host, other, .. } = found;
        let place = match found.method.as_str() {
            "" => format!("every method of {}", self.path),
            method => format!("{method} {}", self.path),
        };
        notes.add(
            &place,
            match found.is_undocumented {
                true => format!("is not in the document, but `{other}` would open it; a key is required"),
                false => format!(
                    "is taken by `{other}` on host `{host}`, which requires something else; both are required there"
                ),
            },
        );
        let entry = self.asks.entry((host, found.method));
        entry
            .and_modify(|demand| *demand = demand.and(&found.demand))
            .or_insert(found.demand);
    }

    /// What requests with a method need on exactly these hosts.
    fn asked_at(&self, host: &str, method: &str) -> Option<&Demand> {
        let get = (method == "HEAD").then_some("GET");
        [Some(method), Some(""), get]
            .into_iter()
            .flatten()
            .find_map(|method| self.asks.get(&(host.to_owned(), method.to_owned())))
    }

    /// Likewise by the narrowest entry for more hosts than these.
    fn asked_beyond(&self, host: &str, method: &str) -> Option<&Demand> {
        let hosts: BTreeSet<&String> = self.asks.keys().map(|(host, _)| host).collect();
        let mut wider: Vec<&String> = hosts
            .into_iter()
            .filter(|wider| *wider != host && includes(wider, host))
            .collect();
        wider.sort_by_key(|host| core::cmp::Reverse(host.len()));
        wider
            .into_iter()
            .find_map(|host| self.asked_at(host, method))
    }
}

/// Whether all hosts of one pattern are hosts of another.
fn includes(outer: &str, inner: &str) -> bool {
    match outer.strip_prefix('*') {
        _ if outer.is_empty() || outer == inner => true,
        Some(suffix) => inner.len() > suffix.len() && inner.ends_with(suffix) && inner != outer,
        None => false,
    }
}

fn segments(shape: &str) -> Vec<&str> {
    shape.split('/').filter(|s| !s.is_empty()).collect()
}

/// Whether some path fits both.
fn meet(a: &[&str], b: &[&str]) -> bool {
    match (a.split_first(), b.split_first()) {
        (Some((&"{*}", _)), _) | (_, Some((&"{*}", _))) | (None, None) => true,
        (None, _) | (_, None) => false,
        (Some((&"{+}", _)), _) | (_, Some((&"{+}", _))) => true,
        (Some((x, a)), Some((y, b))) => fit(x, y) && meet(a, b),
    }
}

fn fit(x: &str, y: &str) -> bool {
    match (Pattern::of_shape(x), Pattern::of_shape(y)) {
        _ if x == "{}" || y == "{}" => true,
        (None, None) => x == y,
        (Some(pattern), None) => pattern.fits(y, Comparison::Usual),
        (None, Some(pattern)) => pattern.fits(x, Comparison::Usual),
        (Some(x), Some(y)) => x.and(&y).is_some(),
    }
}

/// Whether one of two paths that meet is chosen for what fits both.
fn comes_first(one: &[&str], other: &[&str]) -> bool {
    let length = one.len().max(other.len());
    let at = |path: &[&str], i: usize| path.get(i).copied().unwrap_or_default().to_owned();
    (0..length)
        .map(|i| by_specificity(&at(one, i), &at(other, i)))
        .find(|order| order.is_ne())
        == Some(Ordering::Less)
}

fn by_specificity(x: &str, y: &str) -> Ordering {
    let rank = |segment: &str| match segment {
        "{}" => 2,
        "{+}" => 3,
        "{*}" => 4,
        text => usize::from(text.contains("{}")),
    };
    rank(x)
        .cmp(&rank(y))
        .then_with(|| match (Pattern::of_shape(x), Pattern::of_shape(y)) {
            (Some(x), Some(y)) => x.by_specificity(&y),
            _ => Ordering::Equal,
        })
}
