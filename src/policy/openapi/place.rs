//! Servers as hosts and base paths, and paths as templates.

use std::collections::BTreeSet;

use keystile_core::request::route::{HostPattern, Template};

use super::document::Server;
use super::{Notes, shape};

/// The most servers that the values of variables are multiplied out to.
const MOST: usize = 64;

/// Where the paths of a document begin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Base {
    /// As a policy writes it; empty for every host.
    pub host: String,
    /// Without a slash at the end.
    pub prefix: String,
}

/// Where the paths begin; at least one place.
pub fn bases(servers: &[Server], place: &str, notes: &mut Notes) -> BTreeSet<Base> {
    let mut out = BTreeSet::new();
    for server in servers {
        for url in values(server) {
            out.insert(base(&url, server, place, notes));
        }
    }
    if out.is_empty() {
        out.insert(Base {
            host: String::new(),
            prefix: String::new(),
        });
    }
    // Every host includes the named ones.
    let everywhere: Vec<String> = out
        .iter()
        .filter(|b| b.host.is_empty())
        .map(|b| b.prefix.clone())
        .collect();
    out.retain(|b| b.host.is_empty() || !everywhere.contains(&b.prefix));
    out
}

/// The URL with each combination of the values that its variables list.
fn values(server: &Server) -> Vec<String> {
    let mut out = vec![server.url.clone()];
    for (name, variable) in &server.variables {
        let hole = format!("{{{name}}}");
        if !server.url.contains(&hole) || variable.values.is_empty() {
            continue;
        }
        if out.len().saturating_mul(variable.values.len()) > MOST {
            continue;
        }
        out = out
            .iter()
            .flat_map(|url| variable.values.iter().map(|v| url.replace(&hole, v)))
            .collect();
    }
    out
}

fn base(url: &str, server: &Server, place: &str, notes: &mut Notes) -> Base {
    let at = if server.url.is_empty() {
        place.to_owned()
    } else {
        format!("server {}", server.url)
    };
    let rest = ["https://", "http://", "wss://", "ws://", "//"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    let (authority, path) = match rest {
        None => ("", url),
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let prefix: Vec<String> = path
        .split('/')
        .filter(|s| !s.is_empty())
        .map(|s| match variable(s) {
            Some(name) => format!("{{{name}}}"),
            None => filled(s, server, &at, notes),
        })
        .filter(|s| !s.is_empty())
        .collect();
    let prefix = prefix.iter().fold(String::new(), |p, s| p + "/" + s);
    Base {
        host: host(authority, server, &at, notes),
        prefix,
    }
}

fn host(authority: &str, server: &Server, at: &str, notes: &mut Notes) -> String {
    if authority.is_empty() {
        return String::new();
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        // The port does not count; brackets hold an IPv6 address.
        Some((before, after)) if !after.contains(']') => before,
        _ => host,
    };
    let pattern = match host.split_once('.') {
        Some((label, rest)) if variable(label).is_some() => {
            format!("*.{}", filled(rest, server, at, notes))
        }
        _ => filled(host, server, at, notes),
    };
    match HostPattern::parse(&pattern) {
        Some(_) => pattern.to_ascii_lowercase(),
        None => {
            notes.add(
                at,
                "names no host that a policy can name; its routes answer for every host",
            );
            String::new()
        }
    }
}

/// The name of a variable that takes the whole text.
fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    (!name.contains(['{', '}'])).then_some(name)
}

/// Variables replaced by their defaults.
fn filled(text: &str, server: &Server, at: &str, notes: &mut Notes) -> String {
    let mut out = text.to_owned();
    for (name, variable) in &server.variables {
        let hole = format!("{{{name}}}");
        if out.contains(&hole) {
            out = out.replace(&hole, &variable.default);
            notes.add(
                at,
                format!("`{hole}` can be anything; `{}` is taken", variable.default),
            );
        }
    }
    out
}

/// A path that a policy can name.
pub struct Named {
    /// The template.
    pub path: String,
    /// Its shape: equal shapes match the same paths.
    pub shape: String,
    /// It takes paths that the document does not name.
    pub widened: bool,
}

/// A path as a template; none if no template can say it.
pub fn template(
    path: &str,
    many: &BTreeSet<String>,
    place: &str,
    notes: &mut Notes,
) -> Option<Named> {
    let cut = path.split(['?', '#']).next().unwrap_or_default();
    let mut widened = cut.len() < path.len();
    if widened {
        notes.add(
            place,
            "holds `?` or `#`, which is not looked at; the path before it is taken",
        );
    }
    let segments: Vec<&str> = cut.split('/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    let mut out = String::new();
    for (i, segment) in segments.iter().enumerate() {
        if segment.is_empty() && i == last {
            continue;
        }
        out.push('/');
        let Some(open) = segment.find('{') else {
            if Template::parse(&format!("/{segment}")).is_err() {
                notes.add(
                    place,
                    format!("segment `{segment}` can match no request; these are refused"),
                );
                return None;
            }
            out.push_str(segment);
            continue;
        };
        let inner = segment.get(open + 1..).unwrap_or_default();
        let name = inner.split('}').next().unwrap_or_default();
        if variable(segment).is_none() {
            widened = true;
            notes.add(
                place,
                format!("segment `{segment}` is more than one parameter; every segment in its place is taken"),
            );
        }
        let clean: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let clean = if clean.is_empty() {
            "p".to_owned()
        } else {
            clean
        };
        match (many.contains(name), i == last) {
            (true, true) => {
                // It takes none as well.
                widened = true;
                out.push_str(&format!("{{*{clean}}}"));
            }
            (true, false) => {
                notes.add(
                    place,
                    format!("`{{{name}}}` takes several segments, and more follow; one is taken"),
                );
                out.push_str(&format!("{{{clean}}}"));
            }
            (false, _) => out.push_str(&format!("{{{clean}}}")),
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    match shape(&out) {
        Some(shape) => Some(Named {
            path: out,
            shape,
            widened,
        }),
        None => {
            notes.add(
                place,
                "is no path that a policy can name; requests to it are refused",
            );
            None
        }
    }
}
