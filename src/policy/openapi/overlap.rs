//! Paths that match some of the same requests.
//!
//! OpenAPI looks for the path first, whatever its servers and methods are: of several that match,
//! the one with text where another has a parameter ("concrete", OpenAPI 3.1, section 4.8.8.2). A
//! policy looks for the host first, and a request whose method a route does not list falls to the
//! next route that matches. Where that would let in more, the draft says what is required.

use core::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use keystile_core::request::route::{Comparison, Pattern};

use super::notes::Notes;
use super::security::Demand;
use super::shape::PathShape;

/// Adds what paths require on the hosts and for the methods of others that would take their
/// requests and require less.
pub fn settle(shapes: &mut BTreeMap<String, PathShape>, notes: &mut Notes) {
    for shape in shapes.values_mut() {
        shape.join_hosts(notes);
    }
    // What is added can itself take requests of a third path.
    loop {
        let all: Vec<(Vec<&str>, &PathShape)> = shapes
            .iter()
            .map(|(shape, s)| (segments(shape), s))
            .collect();
        let mut missing: Vec<Missing> = Vec::new();
        for (general, loose) in all.iter().filter(|(_, s)| s.may_open_too_much()) {
            for (specific, strict) in &all {
                if !comes_first(specific, general) {
                    continue;
                }
                let Some(both) = both(specific, general) else {
                    continue;
                };
                let pair = Pair {
                    loose,
                    strict,
                    own: joined(specific),
                    both: joined(&both),
                };
                missing.extend(pair.missing());
            }
        }
        missing.retain(|m| m.is_new(shapes));
        if missing.is_empty() {
            return;
        }
        for found in missing {
            found.add(shapes, notes);
        }
    }
}

/// Two paths that match some of the same requests.
struct Pair<'s> {
    /// The less specific one.
    loose: &'s PathShape,
    strict: &'s PathShape,
    /// The shape of the latter.
    own: String,
    /// The shape of what both match.
    both: String,
}

/// What has to be required, because of another path.
struct Missing {
    shape: String,
    host: String,
    method: String,
    demand: Demand,
    /// The other path.
    other: String,
    /// The document has the method elsewhere alone.
    is_undocumented: bool,
}

impl Pair<'_> {
    fn missing(&self) -> Vec<Missing> {
        let mut out = Vec::new();
        for ((host, method), asked) in &self.loose.asks {
            let mut methods: BTreeSet<&String> = BTreeSet::from([method]);
            if method.is_empty() {
                methods.extend(self.strict.asks.keys().map(|(_, method)| method));
            }
            for method in methods {
                if self.strict.asked_at(host, method).is_some() {
                    continue;
                }
                match self.strict.asked_beyond(host, method) {
                    Some(own) => out.extend(self.on_host(host, method, asked, own)),
                    None if asked.needs_key() => {}
                    None => self.undocumented(host, method, &mut out),
                }
            }
        }
        out
    }

    /// The more specific path has the host as well, but the other one names it. What is more specific
    /// counts, but opens nothing here that would have been closed.
    fn on_host(&self, host: &str, method: &str, asked: &Demand, own: &Demand) -> Option<Missing> {
        let demand = match own.needs_key() {
            true => own.clone(),
            false => asked.and(own),
        };
        (demand != *asked).then(|| self.one(&self.own, host, method, demand, false))
    }

    /// The more specific path requires a key, and does not have the method.
    fn undocumented(&self, host: &str, method: &str, out: &mut Vec<Missing>) {
        let strict = self.strict;
        let keyed = strict.asks.iter().filter(|(_, demand)| demand.needs_key());
        for ((own, _), _) in keyed {
            let narrower = match (includes(own, host), includes(host, own)) {
                (true, _) => host,
                (_, true) => own,
                _ => continue,
            };
            if strict.asked_at(narrower, method).is_some() {
                continue;
            }
            out.push(self.one(&self.both, narrower, method, Demand::key(), true));
            if method.is_empty() && self.both != self.own {
                let own = strict.asks.iter();
                out.extend(
                    own.filter(|((own, _), _)| includes(own, narrower))
                        .map(|((_, m), d)| self.one(&self.both, narrower, m, d.clone(), false)),
                );
            }
        }
    }

    fn one(
        &self,
        shape: &str,
        host: &str,
        method: &str,
        demand: Demand,
        is_undocumented: bool,
    ) -> Missing {
        Missing {
            shape: shape.to_owned(),
            host: host.to_owned(),
            method: method.to_owned(),
            demand,
            other: self.loose.path.clone(),
            is_undocumented,
        }
    }
}

impl Missing {
    /// A shape that the document has, or that was added, is compared with the other by itself.
    fn is_new(&self, shapes: &BTreeMap<String, PathShape>) -> bool {
        let known = shapes.get(&self.shape);
        known.is_none_or(|shape| shape.asked_at(&self.host, &self.method).is_none())
    }

    fn add(self, shapes: &mut BTreeMap<String, PathShape>, notes: &mut Notes) {
        let shape = shapes
            .entry(self.shape)
            .or_insert_with_key(|shape| PathShape {
                path: named(shape),
                asks: BTreeMap::new(),
            });
        let place = place_of(&self.method, &shape.path);
        let other = self.other;
        notes.add(
            &place,
            match self.is_undocumented {
                true => format!("is not in the document, but `{other}` would open it; a key is required"),
                false => format!(
                    "also matches `{other}`, whose hosts come first, but is more specific; its own requirement is written for them as well"
                ),
            },
        );
        let entry = shape.asks.entry((self.host, self.method));
        entry
            .and_modify(|demand| *demand = demand.and(&self.demand))
            .or_insert(self.demand);
    }
}

impl PathShape {
    /// Two paths may differ in the names of their parameters alone, and in their hosts.
    fn join_hosts(&mut self, notes: &mut Notes) {
        let both: Vec<_> = self
            .asks
            .iter()
            .filter_map(|((host, method), asked)| {
                let both = asked.and(self.asked_beyond(host, method)?);
                (both != *asked).then(|| ((host.clone(), method.clone()), both))
            })
            .collect();
        for ((host, method), demand) in both {
            notes.add(
                &place_of(&method, &self.path),
                format!("is in the document for more hosts than `{host}` as well, with another requirement; both are required on `{host}`"),
            );
            self.asks.insert((host, method), demand);
        }
    }

    /// Whether it could take requests of a path that requires more: those for all hosts come last.
    fn may_open_too_much(&self) -> bool {
        self.asks
            .iter()
            .any(|((host, _), demand)| !host.is_empty() || !demand.needs_key())
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

/// How messages call an operation.
fn place_of(method: &str, path: &str) -> String {
    match method {
        "" => format!("every method of {path}"),
        method => format!("{method} {path}"),
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

fn joined<S: AsRef<str>>(segments: &[S]) -> String {
    match segments {
        [] => "/".to_owned(),
        all => all
            .iter()
            .fold(String::new(), |path, s| path + "/" + s.as_ref()),
    }
}

/// A shape with names for its parameters.
fn named(shape: &str) -> String {
    let mut out = String::new();
    for (n, text) in shape.split("{}").enumerate() {
        if n > 0 {
            out += &format!("{{p{n}}}");
        }
        out += text;
    }
    out.replace("{+}", "{rest+}").replace("{*}", "{*rest}")
}

/// The shape of the paths that fit two shapes.
fn both(a: &[&str], b: &[&str]) -> Option<Vec<String>> {
    let owned = |rest: &[&str]| rest.iter().map(|s| (*s).to_owned()).collect();
    Some(match (a.split_first(), b.split_first()) {
        (None, None) => Vec::new(),
        (Some((&"{*}", _)), _) => owned(b),
        (_, Some((&"{*}", _))) => owned(a),
        (None, _) | (_, None) => return None,
        (Some((&"{+}", _)), _) => owned(b),
        (_, Some((&"{+}", _))) => owned(a),
        (Some((x, a)), Some((y, b))) => {
            let mut out = vec![fit(x, y)?];
            out.extend(both(a, b)?);
            out
        }
    })
}

/// The same of two segments.
fn fit(x: &str, y: &str) -> Option<String> {
    let either = match (Pattern::of_shape(x), Pattern::of_shape(y)) {
        _ if x == "{}" => y.to_owned(),
        _ if y == "{}" => x.to_owned(),
        (None, None) => return (x == y).then(|| x.to_owned()),
        (Some(pattern), None) => return pattern.fits(y, Comparison::Usual).then(|| y.to_owned()),
        (None, Some(pattern)) => return pattern.fits(x, Comparison::Usual).then(|| x.to_owned()),
        (Some(x), Some(y)) => x.and(&y)?.to_string(),
    };
    Some(either)
}

/// Whether one of two paths that meet is chosen for what fits both.
fn comes_first(one: &[&str], other: &[&str]) -> bool {
    // A path that ends comes before one that goes on.
    let length = one.len().max(other.len());
    let segment = |i: usize| {
        let [x, y] = [one, other].map(|path| path.get(i).copied().unwrap_or_default());
        by_specificity(x, y)
    };
    (0..length).map(segment).find(|order| order.is_ne()) == Some(Ordering::Less)
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
