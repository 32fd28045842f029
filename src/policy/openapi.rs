//! A policy drafted from an OpenAPI document: paths, methods, `security` and servers.
//!
//! The draft never lets in more than the document does: if a policy cannot express a rule, a
//! stricter one is written; if the document is silent, a key is required. Each such place is
//! listed.

use std::collections::{BTreeMap, BTreeSet};

use keystile_core::request::route::HostPattern;
use serde::Serialize;

use crate::file as policy_file;
use keystile_model::error::{Code, Result, refuse};

mod credentials;
mod document;
mod extensible;
mod notes;
mod overlap;
mod path_item;
mod read;
mod reference;
mod security;
mod shape;
mod syntax;
mod text;
mod urls;

use credentials::Schemes;
use document::{Document, LocatedOperation};
use notes::Notes;
pub use notes::Unsaid;
pub use reference::Beside;
use reference::DocumentFiles;
use security::Demand;
use shape::PathShape;
use text::Line;
use urls::{ServerBase, bases, template};

/// How to draft.
#[derive(Clone, Copy, Default)]
pub struct DraftOptions<'f> {
    /// Leave out the hosts of the servers, so that the routes apply to every host.
    pub any_host: bool,
    /// Reads files beside the document that it refers to; without this, such references are
    /// refused.
    pub beside: Option<Beside<'f>>,
}

/// A policy, and what the document says that the policy does not.
#[derive(Serialize)]
pub struct Drafted {
    /// The text of `policy.yaml`.
    pub policy: String,
    /// Paths of the document.
    pub paths: usize,
    /// Operations of the document.
    pub operations: usize,
    /// Routes of the policy.
    pub routes: usize,
    /// Scopes that they require.
    pub scopes: usize,
    /// What could not be expressed, and what replaced it.
    pub unsaid: Vec<Unsaid>,
}

/// Drafts a policy. `name` is what messages call the document.
///
/// # Errors
/// If the document is not OpenAPI 3, refers to something that does not exist, or has no path that a
/// policy could express.
pub fn draft(name: &str, text: &str, how: DraftOptions<'_>) -> Result<Drafted> {
    let document = read::read(name, text)?;
    let files = DocumentFiles::new(name, text, how.beside);
    let mut notes = Notes::default();
    let all = operations(&document, &files, &mut notes)?;
    let schemes = Schemes::new(&document, &all, &files, &mut notes)?;
    let mut shapes = shapes(&document, &all, &schemes, (&files, how), &mut notes);
    overlap::settle(&mut shapes, &mut notes);
    let lines = lines(shapes);
    if lines.is_empty() {
        return Err(refuse(
            Code::OpenapiInvalid,
            format_args!("{name}: holds no path that a policy could name"),
            "name an OpenAPI document with `paths`",
        ));
    }
    let realm = lines
        .iter()
        .flat_map(|l| &l.hosts)
        .find(|h| matches!(HostPattern::parse(h), Some(HostPattern::Exact(_))));
    let credentials = schemes.credentials(&mut notes);
    let written = |notes: &Notes| {
        let policy = text::policy(&document, realm, &credentials, &lines, notes.0.len());
        // The draft has passed the same check as any policy.
        policy_file::parse("the draft", policy)
    };
    let mut checked = written(&notes)?;
    // Methods that a path does not name may pass by a template, as the document has it.
    let open = crate::check::check(&checked).warnings;
    if !open.is_empty() {
        for warning in open {
            notes.add("routes", warning);
        }
        checked = written(&notes)?;
    }
    let unsaid = notes.unsaid();
    Ok(Drafted {
        paths: document.paths.len(),
        operations: all.len(),
        routes: lines.len(),
        scopes: checked.policy.scopes.len(),
        unsaid,
        policy: checked.text,
    })
}

/// What each path requires, by its shape.
fn shapes(
    document: &Document,
    all: &[(String, LocatedOperation)],
    schemes: &Schemes,
    (files, how): (&DocumentFiles<'_>, DraftOptions<'_>),
    notes: &mut Notes,
) -> BTreeMap<String, PathShape> {
    let mut shapes: BTreeMap<String, PathShape> = BTreeMap::new();
    for (path, found) in all {
        let method = found.method.as_deref().unwrap_or_default();
        let place = place_of(path, found);
        let demand = security::demand(document, schemes, &found.operation, &place, notes);
        let of_items = found.items.iter().map(|item| &item.servers);
        let servers = core::iter::once(&found.operation.servers)
            .chain(of_items)
            .chain([&document.servers])
            .find(|s| !s.is_empty())
            .map_or(&[][..], Vec::as_slice);
        let many = document.multi_segment(found, files);
        for base in bases(servers, &place, notes) {
            let ServerBase {
                host,
                prefix,
                is_inexact,
            } = base;
            let whole = format!("{prefix}{path}");
            let Some(named) = template(&whole, &many, &place, notes) else {
                continue;
            };
            let mut demand = demand.clone();
            let widened = match (named.widened, is_inexact && !how.any_host) {
                (true, _) => Some("paths"),
                (_, true) => Some("hosts"),
                _ => None,
            };
            if let Some(what) = widened.filter(|_| !demand.needs_key()) {
                notes.add(
                    &place,
                    format!("would open more {what} than the document names; a key is required"),
                );
                demand = Demand::key();
            }
            let host = if how.any_host { String::new() } else { host };
            let shape = shapes.entry(named.shape).or_insert_with(|| PathShape {
                path: named.path,
                asks: BTreeMap::new(),
            });
            shape.ask(host, method, demand, &place, notes);
        }
    }
    shapes
}

/// Every operation with its path.
fn operations(
    document: &Document,
    files: &DocumentFiles<'_>,
    notes: &mut Notes,
) -> Result<Vec<(String, LocatedOperation)>> {
    let mut out = Vec::new();
    for (path, item) in &document.paths {
        if !path.starts_with('/') {
            notes.add(path, "does not begin with `/`; requests to it are refused");
            continue;
        }
        let (found, unknown) = document.operations(path, item, files)?;
        for field in unknown {
            let field: String = field.chars().filter(|c| !c.is_control()).take(60).collect();
            notes.add(
                path,
                format!("`{field}` is not a field of OpenAPI; left out"),
            );
        }
        for found in found {
            let is_method = |m: &String| !m.is_empty() && m.bytes().all(is_in_method);
            if found.method.as_ref().is_none_or(is_method) {
                out.push((path.clone(), found));
            } else {
                notes.add(
                    &place_of(path, &found),
                    "is not a method that a policy can name; it is refused",
                );
            }
        }
    }
    Ok(out)
}

/// How messages call an operation.
fn place_of(path: &str, found: &LocatedOperation) -> String {
    format!(
        "{} {path}",
        found.method.as_deref().unwrap_or("every method of")
    )
}

/// Methods in a policy have no lower-case letters.
fn is_in_method(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_".contains(&b)
}

/// One line for the methods and hosts with the same requirements.
fn lines(shapes: BTreeMap<String, PathShape>) -> Vec<Line> {
    let mut out = Vec::new();
    for PathShape { path, mut asks } in shapes.into_values() {
        // Callers that may GET may also use HEAD (RFC 9110 section 9.3.2), unless there is an
        // operation for the other methods.
        let is_other = |host: &String| asks.contains_key(&(host.clone(), String::new()));
        let heads: Vec<_> = asks
            .iter()
            .filter(|((host, method), _)| method == "GET" && !is_other(host))
            .map(|((host, _), demand)| ((host.clone(), "HEAD".to_owned()), demand.clone()))
            .collect();
        for (key, demand) in heads {
            asks.entry(key).or_insert(demand);
        }
        let mut by_method: BTreeMap<(String, Demand), BTreeSet<String>> = BTreeMap::new();
        for ((host, method), demand) in asks {
            by_method.entry((method, demand)).or_default().insert(host);
        }
        let mut by_hosts: BTreeMap<(Demand, BTreeSet<String>), Vec<String>> = BTreeMap::new();
        for ((method, demand), hosts) in by_method {
            by_hosts.entry((demand, hosts)).or_default().push(method);
        }
        let mut of_shape: Vec<Line> = by_hosts
            .into_iter()
            .flat_map(|((demand, hosts), methods)| {
                let (any, named): (Vec<_>, Vec<_>) = hosts.into_iter().partition(String::is_empty);
                // All hosts are expressed by leaving out the field, so that cannot be in a list.
                [
                    any.first().map(|_| Vec::new()),
                    Some(named).filter(|n| !n.is_empty()),
                ]
                .into_iter()
                .flatten()
                .map(|hosts| Line {
                    path: path.clone(),
                    // All methods are expressed by leaving out the field.
                    methods: match methods.first() {
                        Some(first) if first.is_empty() => Vec::new(),
                        _ => methods.clone(),
                    },
                    hosts,
                    demand: demand.clone(),
                })
                .collect::<Vec<_>>()
            })
            .collect();
        of_shape.sort_by(|a, b| (&a.methods, &a.hosts).cmp(&(&b.methods, &b.hosts)));
        out.extend(of_shape);
    }
    out
}

#[cfg(test)]
mod tests;
