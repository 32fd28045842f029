//! Servers as hosts and base paths, and paths as templates.

use std::collections::BTreeSet;

use keystile_core::request::route::{HostPattern, Template};

use super::document::Server;
use super::notes::Notes;

/// The most servers to which the values of variables are expanded.
const MOST: usize = 1024;

/// Where the paths of a document begin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerBase {
    /// As a policy writes it; empty for all hosts.
    pub host: String,
    /// Without a slash at the end.
    pub prefix: String,
    /// The hosts are more than the document names.
    pub is_inexact: bool,
}

/// Where the paths begin; at least one place.
pub fn bases(servers: &[Server], place: &str, notes: &mut Notes) -> BTreeSet<ServerBase> {
    let mut out = BTreeSet::new();
    for server in servers {
        for url in values(server, place, notes) {
            out.insert(base(&url, server, place, notes));
        }
    }
    if out.is_empty() {
        out.insert(ServerBase {
            host: String::new(),
            prefix: String::new(),
            is_inexact: false,
        });
    }
    // All hosts include the named ones.
    let everywhere: Vec<String> = out
        .iter()
        .filter(|b| b.host.is_empty())
        .map(|b| b.prefix.clone())
        .collect();
    out.retain(|b| b.host.is_empty() || !everywhere.contains(&b.prefix));
    out
}

/// The URL with each combination of the values that its variables list.
fn values(server: &Server, place: &str, notes: &mut Notes) -> Vec<String> {
    let mut out = vec![server.url.clone()];
    for (name, variable) in server.variables.iter() {
        let hole = format!("{{{name}}}");
        if !server.url.contains(&hole) {
            continue;
        }
        // More than a segment, or less, cannot replace one.
        let is_odd = variable.default.is_empty() || variable.default.contains('/');
        // Clients that are told nothing else use the default, whether it is listed or not.
        let mut listed = variable.values.clone();
        if !listed.is_empty() && !variable.default.is_empty() && !listed.contains(&variable.default)
        {
            listed.push(variable.default.clone());
        }
        let values = match listed.as_slice() {
            [] if is_odd => core::slice::from_ref(&variable.default),
            [] => continue,
            all if out.len().saturating_mul(all.len()) > MOST => {
                notes.add(
                    &at(server, place),
                    format!(
                        "`{hole}` has too many values to list; `{}` is used",
                        variable.default
                    ),
                );
                core::slice::from_ref(&variable.default)
            }
            all => all,
        };
        out = out
            .iter()
            .flat_map(|url| values.iter().map(|v| url.replace(&hole, v)))
            .collect();
    }
    out
}

fn at(server: &Server, place: &str) -> String {
    match server.url.as_str() {
        "" => place.to_owned(),
        url => format!("server {url}"),
    }
}

fn base(url: &str, server: &Server, place: &str, notes: &mut Notes) -> ServerBase {
    let at = at(server, place);
    let (authority, path) = match without_scheme(url) {
        None => ("", url),
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
    };
    let (host, is_inexact) = host(authority, server, &at, notes);
    ServerBase {
        host,
        prefix: prefix(path, server, &at, notes),
        is_inexact,
    }
}

/// The path of a server's URL. A variable whose values are not listed is a parameter of it.
fn prefix(path: &str, server: &Server, at: &str, notes: &mut Notes) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').filter(|s| !s.is_empty()) {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let prefix = segments.iter().fold(String::new(), |p, s| p + "/" + s);
    let is_declared = |name: &str| server.variables.iter().any(|(known, _)| known == name);
    for name in Segment::new(&prefix).names {
        if !is_declared(&name) {
            notes.add(
                at,
                format!("`{{{name}}}` is not among its `variables`; it is treated as a parameter of the path"),
            );
        }
    }
    let is_relative = !path.is_empty() && !path.starts_with('/');
    if is_relative {
        let prefix = if prefix.is_empty() { "/" } else { &prefix };
        notes.add(
            at,
            format!("is relative to the document's location; `{prefix}` is used"),
        );
    }
    prefix
}

/// What follows the scheme of a URL, whatever it is; `None` for a relative URL.
fn without_scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("//")?;
    let name = scheme.strip_suffix(':').unwrap_or(scheme);
    let in_name = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    let is_scheme = match name.split_once('{') {
        None => name.bytes().all(in_name),
        // Part of it may be a variable.
        Some(_) => !name.contains('/'),
    };
    is_scheme.then_some(rest)
}

/// The host as a policy writes it, and whether it takes more than the document names.
fn host(authority: &str, server: &Server, at: &str, notes: &mut Notes) -> (String, bool) {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        // The port does not count; brackets hold an IPv6 address.
        Some((before, port)) if !port.contains(']') => {
            if !matches!(port, "" | "80" | "443") {
                notes.add(
                    at,
                    "names a port, which a policy does not look at; its routes apply to every port of the host",
                );
            }
            before
        }
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    // No host, or a variable for any host.
    if host.is_empty() || variable(host).is_some() {
        return (String::new(), false);
    }
    let pattern = match host.split_once('.') {
        Some((label, rest)) if variable(label).is_some() => {
            format!("*.{}", filled(rest, server, at, notes))
        }
        _ => filled(host, server, at, notes),
    };
    let is_host = |pattern: &String| HostPattern::parse(pattern).is_some();
    if is_host(&pattern) {
        return (pattern.to_ascii_lowercase(), false);
    }
    let beside = pattern
        .split_once('.')
        .filter(|(_, rest)| rest.contains('.'));
    let beside = beside.map(|(_, rest)| format!("*.{rest}")).filter(is_host);
    let shown = beside
        .as_ref()
        .map_or("every host".to_owned(), |p| format!("`{p}`"));
    notes.add(
        at,
        format!("names a host that a policy cannot express; its routes apply to {shown}"),
    );
    (beside.unwrap_or_default().to_ascii_lowercase(), true)
}

/// The name of a variable that takes the whole text.
fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    (!name.contains(['{', '}'])).then_some(name)
}

/// Variables replaced by their defaults.
fn filled(text: &str, server: &Server, at: &str, notes: &mut Notes) -> String {
    let mut out = text.to_owned();
    for (name, variable) in server.variables.iter() {
        let hole = format!("{{{name}}}");
        if out.contains(&hole) {
            out = out.replace(&hole, &variable.default);
            notes.add(
                at,
                format!("`{hole}` can be anything; `{}` is used", variable.default),
            );
        }
    }
    out
}

/// A path that a policy can express.
pub struct PolicyPath {
    /// The template.
    pub path: String,
    /// Its shape: equal shapes match the same paths.
    pub shape: String,
    /// It matches paths that the document does not name.
    pub widened: bool,
}

/// A path as a template; none if no template can express it.
pub fn template(
    path: &str,
    many: &BTreeSet<String>,
    place: &str,
    notes: &mut Notes,
) -> Option<PolicyPath> {
    let path = without_query(path);
    // What follows `#` only tells operations with one path apart: no client sends it.
    let path = path.split('#').next().unwrap_or_default();
    let cut = path.split('?').next().unwrap_or_default();
    let mut widened = cut.len() < path.len();
    if widened {
        notes.add(place, "contains `?`; only the path before it is used");
    }
    let segments: Vec<&str> = cut.split('/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    let mut out = String::new();
    for (i, segment) in segments.iter().enumerate() {
        if segment.is_empty() && i == last {
            break;
        }
        let is_last = segments.iter().skip(i + 1).all(|s| s.is_empty());
        let mut written = Segment::new(segment);
        widened |= written.separate(place, notes);
        let written = written.written(many, is_last, place, notes);
        if Template::parse(&format!("/{written}")).is_err() {
            notes.add(
                place,
                format!(
                    "no request can match segment `{segment}`; requests to this path are refused"
                ),
            );
            return None;
        }
        out.push('/');
        out.push_str(&written);
    }
    if out.is_empty() || cut.ends_with('/') {
        out.push('/');
    }
    match shape(&out) {
        Some(shape) => Some(PolicyPath {
            path: out,
            shape,
            widened,
        }),
        None => {
            notes.add(
                place,
                "is a path that a policy cannot express; requests to it are refused",
            );
            None
        }
    }
}

/// A path without the parameters of its query (RFC 6570, sections 3.2.8 and 3.2.9), which a
/// request may leave out.
fn without_query(path: &str) -> String {
    let mut out = path.to_owned();
    while let Some(from) = out.find("{?").or_else(|| out.find("{&"))
        && let Some(to) = out.get(from..).and_then(|rest| rest.find('}'))
    {
        out.replace_range(from..=from + to, "");
    }
    out
}

/// A segment as the document has it: texts, and names of parameters between them.
struct Segment<'s> {
    texts: Vec<&'s str>,
    names: Vec<String>,
}

impl<'s> Segment<'s> {
    /// Unclosed braces are left as they are.
    fn new(segment: &'s str) -> Self {
        let (mut texts, mut names) = (Vec::new(), Vec::new());
        let mut rest = segment;
        while let Some((text, behind)) = rest.split_once('{')
            && let Some((name, behind)) = behind.split_once('}')
        {
            texts.push(text);
            names.push(name.to_owned());
            rest = behind;
        }
        texts.push(rest);
        Self { texts, names }
    }

    /// Makes one parameter of those with no text between; whether there are such.
    fn separate(&mut self, place: &str, notes: &mut Notes) -> bool {
        let mut found = false;
        let mut at = 1;
        while at < self.names.len() {
            if self.texts.get(at).is_some_and(|text| text.is_empty()) {
                self.texts.remove(at);
                let second = self.names.remove(at);
                if let Some(first) = self.names.get_mut(at - 1) {
                    notes.add(
                        place,
                        format!("`{{{first}}}{{{second}}}` cannot be told apart; they become one parameter"),
                    );
                    *first = format!("{first}_{second}");
                }
                found = true;
            } else {
                at += 1;
            }
        }
        found
    }

    /// As a policy writes it.
    fn written(
        &self,
        many: &BTreeSet<String>,
        is_last: bool,
        place: &str,
        notes: &mut Notes,
    ) -> String {
        let is_alone = self.names.len() == 1 && self.texts.iter().all(|text| text.is_empty());
        let mut out = self.texts.first().copied().unwrap_or_default().to_owned();
        for (name, text) in self.names.iter().zip(self.texts.iter().skip(1)) {
            let clean = clean(name);
            // `{proxy+}` is the API Gateway's notation.
            let takes_more = name.ends_with('+') || many.contains(name);
            if takes_more && is_alone && is_last {
                return format!("{{{clean}+}}");
            }
            if takes_more || name.contains('*') {
                notes.add(
                    place,
                    format!("`{{{name}}}` may span several segments; only one is matched"),
                );
            }
            out += &format!("{{{clean}}}{text}");
        }
        out
    }
}

/// A parameter's name as a policy writes it.
fn clean(name: &str) -> String {
    let name = name.trim_matches(['+', '*']);
    let clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    match clean.is_empty() {
        true => "p".to_owned(),
        false => clean,
    }
}

/// The shape of a path: equal shapes match the same paths.
fn shape(path: &str) -> Option<String> {
    Template::parse(path).ok().map(|t| t.to_string())
}
