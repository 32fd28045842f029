//! Operations of a host and of a wider one, such as `eu.example.com` and `*.example.com`. A policy
//! looks at the narrowest host first, whatever the path; so what a wider host requires is written
//! for a narrower one as well, where both may match the same requests.

use std::collections::{BTreeMap, BTreeSet};

use super::security::Demand;
use super::shape::Shape;

/// What each host and method requires.
type Asks = BTreeMap<(String, String), Demand>;

/// Writes what wider hosts require for narrower ones.
pub fn spread(shapes: &mut BTreeMap<String, Shape>) {
    let hosts: BTreeSet<&String> = shapes
        .values()
        .flat_map(|shape| shape.asks.keys().map(|(host, _)| host))
        .collect();
    let mut more: Vec<(String, Asks)> = Vec::new();
    for narrow in &hosts {
        let wider: Vec<&&String> = hosts.iter().filter(|wide| within(narrow, wide)).collect();
        if wider.is_empty() {
            continue;
        }
        let has = |shape: &Shape, host: &str| shape.asks.keys().any(|(h, _)| h == host);
        let there: Vec<&String> = shapes
            .iter()
            .filter(|(_, shape)| has(shape, narrow))
            .map(|(name, _)| name)
            .collect();
        for (name, shape) in shapes.iter() {
            let wider = wider.iter().filter(|wide| has(shape, wide));
            for wide in wider {
                if there.iter().any(|other| overlap(name, other)) {
                    more.push((name.clone(), together(&shape.asks, narrow, wide)));
                }
            }
        }
    }
    for (name, asks) in more {
        let Some(shape) = shapes.get_mut(&name) else {
            continue;
        };
        for (key, demand) in asks {
            let demand = match shape.asks.get(&key) {
                Some(before) => before.and(&demand),
                None => demand,
            };
            shape.asks.insert(key, demand);
        }
    }
}

/// What a narrow host requires, with what a wider one does.
fn together(asks: &Asks, narrow: &str, wide: &str) -> Asks {
    let get = |host: &str, method: &str| asks.get(&(host.to_owned(), method.to_owned()));
    // As a route is found for a method: its own, for HEAD that of GET, that of all others.
    let of = |host: &str, method: &str| {
        get(host, method)
            .or_else(|| get(host, "GET").filter(|_| method == "HEAD"))
            .or_else(|| get(host, ""))
    };
    let methods = asks.keys().filter(|(h, _)| h == narrow || h == wide);
    let mut out = Asks::new();
    for (_, method) in methods {
        let demand = match (of(narrow, method), of(wide, method)) {
            (Some(one), Some(other)) => one.and(other),
            (None, Some(one)) => one.clone(),
            _ => continue,
        };
        out.insert((narrow.to_owned(), method.clone()), demand);
    }
    out
}

/// Whether every request to a host is one to another, which is not the same.
fn within(narrow: &str, wide: &str) -> bool {
    let suffix = wide.strip_prefix('*');
    narrow != wide
        && (wide.is_empty() || suffix.is_some_and(|s| narrow.ends_with(s)))
        && !narrow.is_empty()
}

/// Whether a request may match both of two paths: in doubt, it may.
fn overlap(one: &str, other: &str) -> bool {
    let mut one = one.split('/').filter(|s| !s.is_empty());
    let mut other = other.split('/').filter(|s| !s.is_empty());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(a), b) if takes_more(a) => return b.is_some(),
            (a, Some(b)) if takes_more(b) => return a.is_some(),
            (Some(a), Some(b)) if alike(a, b) => {}
            _ => return false,
        }
    }
}

/// Whether a text may match both of two segments: they begin and end alike.
fn alike(one: &str, other: &str) -> bool {
    let ends = |segment: &'_ str| {
        let before = segment
            .find('{')
            .map(|at| segment.split_at(at).0.to_owned());
        let behind = segment
            .rfind('}')
            .map(|at| segment.split_at(at + 1).1.to_owned());
        before.zip(behind)
    };
    match (ends(one), ends(other)) {
        (None, None) => one == other,
        (Some((before, behind)), None) => other.starts_with(&before) && other.ends_with(&behind),
        (None, Some((before, behind))) => one.starts_with(&before) && one.ends_with(&behind),
        (Some((a, b)), Some((c, d))) => {
            (a.starts_with(&c) || c.starts_with(&a)) && (b.ends_with(&d) || d.ends_with(&b))
        }
    }
}

fn takes_more(segment: &str) -> bool {
    segment.contains('{') && segment.contains('+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_overlap_unless_a_text_differs() {
        for (one, other, both) in [
            ("/a/b", "/a/{}", true),
            ("/a/b", "/{}/b", true),
            ("/a/b", "/a/c", false),
            ("/a", "/a/b", false),
            ("/", "/", true),
            ("/{p+}", "/a/b/c", true),
            ("/a/{p+}", "/a", false),
            ("/a/b", "/{p+}", true),
            ("/c/b", "/a/{p+}", false),
            ("/{x}.json", "/a.json", true),
            ("/{x}.json", "/a.csv", false),
            ("/a{x}", "/{x}b", true),
            ("/a{x}", "/b{x}", false),
            ("/v{n}", "/v{n}-x", true),
        ] {
            assert_eq!(overlap(one, other), both, "{one} {other}");
        }
        assert!(within("a.b.c", "*.b.c") && within("*.a.b.c", "*.b.c") && within("a", ""));
        assert!(!within("b.c", "*.b.c") && !within("*.b.c", "a.b.c") && !within("", "a"));
    }
}
