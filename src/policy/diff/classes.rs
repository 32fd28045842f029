//! The classes of requests that two policies tell apart, each with an example.
//!
//! A host matters by the names and suffixes that it matches, a method by its name or by not being
//! named in either policy, a path by the set of templates that match it. The possible sets are
//! found like the states of an automaton: from each set of places in the two policies' templates,
//! one step for each literal there and one for any other segment. An example for each pattern with
//! text around parameters is tried as well, and one for each two patterns that some segment
//! matches.

use std::collections::{BTreeMap, BTreeSet};

use keystile_core::policy::{Policy, RawPolicy};
use keystile_core::request::route::{Comparison, HostPattern, Pattern, Template};

pub use super::example::Example;
use super::example::fresh;
use super::paths::paths;

/// All classes.
pub struct Classes {
    hosts: Vec<Example>,
    methods: Vec<Example>,
    paths: Vec<Example>,
}

/// The name of a virtual host as the host of an example: no host looks like it.
pub fn virtual_host(name: &str) -> String {
    format!("[{name}]")
}

/// The route that a request belongs to, by the filter's own router. An example of a virtual
/// host is a request whose host no rule names.
pub fn route_of(policy: &Policy, host: &str, method: &str, path: &str) -> Option<usize> {
    let method = method.as_bytes();
    let name = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    name.and_then(|name| policy.router.find_in(Comparison::Usual, name, method, path))
        .or_else(|| policy.router.find(host, method, path))
}

/// Requests that neither policy distinguishes.
pub struct Class<'c> {
    /// An example of their host.
    pub host: &'c str,
    /// Its number.
    pub host_number: usize,
    /// An example of their method.
    pub method: &'c str,
    /// Its number.
    pub method_number: usize,
    /// An example of their path.
    pub path: &'c str,
    /// Their path as a template.
    pub pattern: &'c str,
}

impl Classes {
    /// The classes of two policies; none if there are too many.
    pub fn of_both(a: &RawPolicy, b: &RawPolicy) -> Option<Self> {
        Some(Self {
            hosts: hosts(a, b),
            methods: methods(a, b),
            paths: paths(&shapes(a, b))?,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hosts
            .len()
            .saturating_mul(self.methods.len())
            .saturating_mul(self.paths.len())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Class<'_>> {
        self.paths.iter().flat_map(move |path| {
            self.methods
                .iter()
                .enumerate()
                .flat_map(move |(m, method)| {
                    self.hosts.iter().enumerate().map(move |(h, host)| Class {
                        host: &host.text,
                        host_number: h,
                        method: &method.text,
                        method_number: m,
                        path: &path.text,
                        pattern: &path.words,
                    })
                })
        })
    }

    /// Pairs of methods and hosts by name: methods with the same hosts are grouped, and nothing
    /// stands for all.
    pub fn words(&self, at: &BTreeSet<(usize, usize)>) -> Vec<(Vec<String>, Vec<String>)> {
        let mut hosts_of: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (method, host) in at {
            hosts_of.entry(*method).or_default().insert(*host);
        }
        let mut methods_of: BTreeMap<BTreeSet<usize>, Vec<usize>> = BTreeMap::new();
        for (method, hosts) in hosts_of {
            methods_of.entry(hosts).or_default().push(method);
        }
        let names = |all: &[Example], numbers: &mut dyn Iterator<Item = usize>| -> Vec<String> {
            let numbers: Vec<usize> = numbers.collect();
            if numbers.len() == all.len() {
                return Vec::new();
            }
            let names = numbers.into_iter().filter_map(|n| all.get(n));
            names.map(|e| e.words.clone()).collect()
        };
        methods_of
            .into_iter()
            .map(|(hosts, methods)| {
                (
                    names(&self.methods, &mut methods.into_iter()),
                    names(&self.hosts, &mut hosts.into_iter()),
                )
            })
            .collect()
    }
}

/// An example of each pattern of hosts, and last of a host that none matches.
pub fn hosts(a: &RawPolicy, b: &RawPolicy) -> Vec<Example> {
    let patterns: BTreeSet<HostPattern> = a
        .routes
        .iter()
        .chain(&b.routes)
        .flat_map(|r| &r.hosts)
        .filter_map(|h| HostPattern::parse(h))
        .collect();
    let exact: BTreeSet<&str> = patterns
        .iter()
        .filter_map(|p| match p {
            HostPattern::Exact(h) => Some(h.as_str()),
            _ => None,
        })
        .collect();
    let mut out: Vec<Example> = Vec::new();
    for pattern in &patterns {
        let text = match pattern {
            HostPattern::Exact(h) => h.clone(),
            HostPattern::Suffix(s) => fresh(&exact, |label| format!("{label}{s}")),
            HostPattern::Any => continue,
        };
        out.push(Example {
            text,
            words: pattern.to_string(),
        });
    }
    let routes = a.routes.iter().chain(&b.routes);
    let virtual_hosts: BTreeSet<&String> = routes.flat_map(|r| &r.virtual_hosts).collect();
    for name in virtual_hosts {
        out.push(Example {
            text: virtual_host(name),
            words: format!("virtual host {name}"),
        });
    }
    let other = |label: &str| format!("{label}.invalid");
    let matched = |host: &str| {
        patterns
            .iter()
            .any(|p| matches!(p, HostPattern::Suffix(s) if host.ends_with(s.as_str())))
    };
    // A name under no suffix of either policy, with as many labels of its own as needed.
    let mut text = fresh(&exact, other);
    while matched(&text) || exact.contains(text.as_str()) {
        text.push('x');
    }
    out.push(Example {
        text,
        words: "*".to_owned(),
    });
    out
}

/// The methods that routes name, and finally one that none does.
pub fn methods(a: &RawPolicy, b: &RawPolicy) -> Vec<Example> {
    let named: BTreeSet<&str> = a
        .routes
        .iter()
        .chain(&b.routes)
        .flat_map(|r| r.methods.iter().map(String::as_str))
        .collect();
    let other = fresh(&named, |word| word.to_ascii_uppercase());
    named
        .into_iter()
        .map(|m| Example {
            text: m.to_owned(),
            words: m.to_owned(),
        })
        .chain([Example {
            text: other.clone(),
            words: "*".to_owned(),
        }])
        .collect()
}

fn shapes(a: &RawPolicy, b: &RawPolicy) -> Vec<Vec<String>> {
    let routes = a.routes.iter().chain(&b.routes);
    routes.filter_map(|r| segments(&r.path)).collect()
}

/// The segments of a template's shape: text, text with `{}` in it, `{}`, and at the end
/// `{*}` or `{+}`.
pub fn segments(template: &str) -> Option<Vec<String>> {
    let shape = Template::parse(template).ok()?.to_string();
    Some(
        shape
            .split('/')
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

/// The name of a class of requests: the more specific of the two routes that they belong to, or
/// their own pattern if there is neither.
pub fn label(before: Option<&str>, after: Option<&str>, pattern: &str) -> String {
    match (before, after) {
        (None, None) => "where no route matches".to_owned(),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (Some(before), Some(after)) if within(after, before) => after.to_owned(),
        (Some(before), Some(after)) if within(before, after) => before.to_owned(),
        _ => pattern.to_owned(),
    }
}

/// Whether every path of one template is a path of another.
fn within(inner: &str, outer: &str) -> bool {
    match (segments(inner), segments(outer)) {
        (Some(inner), Some(outer)) => shape_within(&inner, &outer),
        _ => false,
    }
}

/// The same of two shapes.
pub fn shape_within(inner: &[String], outer: &[String]) -> bool {
    let tail = |s: &[String]| {
        s.last()
            .filter(|s| matches!(s.as_str(), "{*}" | "{+}"))
            .cloned()
    };
    let plain = |s: &[String]| s.len() - usize::from(tail(s).is_some());
    let (n, m) = (plain(inner), plain(outer));
    let is_long_enough = match (tail(inner).as_deref(), tail(outer).as_deref()) {
        (None, None) => n == m,
        (Some(_), None) => false,
        (_, Some("{*}")) | (Some("{+}"), _) => n >= m,
        _ => n > m,
    };
    is_long_enough
        && inner
            .iter()
            .zip(outer)
            .take(m)
            .all(|(i, o)| segment_within(i, o))
}

fn segment_within(inner: &str, outer: &str) -> bool {
    if outer == "{}" || inner == outer {
        return true;
    }
    match (Pattern::of_shape(inner), Pattern::of_shape(outer)) {
        (_, None) => false,
        // No text has this character, so only a parameter takes it.
        (Some(inner), Some(outer)) => outer.fits(&inner.filled("\u{1}"), Comparison::Usual),
        (None, Some(outer)) => inner != "{}" && outer.fits(inner, Comparison::Usual),
    }
}
