//! A policy drafted from an OpenAPI document: paths, methods, `security` and servers.
//!
//! The draft never lets in more than the document does: where a rule cannot be said in a
//! policy, a stricter one is written; where the document is silent, a key is asked for.
//! Each such place is listed.

use std::collections::{BTreeMap, BTreeSet};

use keystile_core::request::route::{HostPattern, Template};
use serde::Serialize;

use crate::file as policy_file;
use keystile_model::error::{Result, refuse};

mod document;
mod place;
mod security;
mod text;

use document::Operation;
use place::{Base, bases, template};
use security::Demand;

/// How to draft.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Leave the hosts of the servers out: the routes answer for every host.
    pub any_host: bool,
}

/// A policy, and what the document says that it does not.
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
    /// Scopes that they ask for.
    pub scopes: usize,
    /// What could not be said, and what was said in its place.
    pub unsaid: Vec<Unsaid>,
}

/// Something that could not be said.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Unsaid {
    /// What, and what was done about it.
    pub problem: String,
    /// Where: operations, servers or security schemes.
    pub places: Vec<String>,
}

/// What could not be said so far, by problem.
#[derive(Default)]
struct Notes(BTreeMap<String, BTreeSet<String>>);

impl Notes {
    fn add(&mut self, place: &str, problem: impl Into<String>) {
        self.0
            .entry(problem.into())
            .or_default()
            .insert(place.to_owned());
    }
}

/// A route in the making: of one path shape.
struct Shape {
    path: String,
    /// By host (empty for every one) and method.
    asks: BTreeMap<(String, String), Demand>,
}

/// A route as it is written.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    path: String,
    methods: Vec<String>,
    hosts: Vec<String>,
    demand: Demand,
}

/// Drafts a policy. `name` is what messages call the document.
///
/// # Errors
/// A document that is no OpenAPI 3, or holds no path that a policy could name.
pub fn draft(name: &str, text: &str, how: How) -> Result<Drafted> {
    let document = document::read(name, text)?;
    let mut notes = Notes::default();
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    let mut operations = 0;
    for (path, item) in &document.paths {
        let item = document.path_item(item, path, &mut notes);
        for (method, operation) in item.operations() {
            operations += 1;
            let place = format!("{method} {path}");
            let demand = security::demand(&document, operation, &place, &mut notes);
            let servers = [&operation.servers, &item.servers, &document.servers]
                .into_iter()
                .find(|s| !s.is_empty())
                .map_or(&[][..], Vec::as_slice);
            let many = document.multi_segment(item, operation);
            for Base { host, prefix } in bases(servers, &place, &mut notes) {
                let whole = format!("{prefix}{path}");
                let Some(found) = template(&whole, &many, &place, &mut notes) else {
                    continue;
                };
                let mut demand = demand.clone();
                if found.widened && !matches!(demand, Demand::Key { .. }) {
                    notes.add(
                        &place,
                        "would open more paths than the document names; a key is asked for",
                    );
                    demand = Demand::key();
                }
                let host = if how.any_host { String::new() } else { host };
                let shape = shapes.entry(found.shape).or_insert_with(|| Shape {
                    path: found.path,
                    asks: BTreeMap::new(),
                });
                shape.ask(host, method, demand, &place, &mut notes);
            }
        }
    }
    let lines = lines(shapes);
    if lines.is_empty() {
        return Err(refuse(
            format_args!("{name}: holds no path that a policy could name"),
            "name an OpenAPI document with `paths`",
        ));
    }
    let realm = lines
        .iter()
        .flat_map(|l| &l.hosts)
        .find(|h| matches!(HostPattern::parse(h), Some(HostPattern::Exact(_))));
    let credentials = security::credentials(&document, &mut notes);
    let unsaid: Vec<Unsaid> = notes
        .0
        .into_iter()
        .map(|(problem, places)| Unsaid {
            problem,
            places: places.into_iter().collect(),
        })
        .collect();
    let policy = text::policy(&document, realm, &credentials, &lines, unsaid.len());
    // What is handed out has passed the same check as what is handed in.
    let checked = policy_file::parse("the draft", policy)?;
    Ok(Drafted {
        paths: document.paths.len(),
        operations,
        routes: lines.len(),
        scopes: checked.policy.scopes.len(),
        unsaid,
        policy: checked.text,
    })
}

impl Shape {
    fn ask(&mut self, host: String, method: &str, demand: Demand, place: &str, notes: &mut Notes) {
        let key = (host, method.to_owned());
        let merged = match self.asks.get(&key) {
            None => demand,
            Some(before) if *before == demand => return,
            Some(before) => {
                notes.add(
                    place,
                    format!(
                        "no request can be told apart from one to `{}` that asks for something else; both are asked for",
                        self.path
                    ),
                );
                before.and(&demand)
            }
        };
        self.asks.insert(key, merged);
    }
}

/// One line for the methods and hosts that ask for the same.
fn lines(shapes: BTreeMap<String, Shape>) -> Vec<Line> {
    let mut out = Vec::new();
    for Shape { path, mut asks } in shapes.into_values() {
        // Whoever may GET may ask for the head of the same (RFC 9110 section 9.3.2).
        let heads: Vec<_> = asks
            .iter()
            .filter(|((_, method), _)| method == "GET")
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
                // Every host is said by leaving the field out, so it cannot stand in a list.
                [
                    any.first().map(|_| Vec::new()),
                    Some(named).filter(|n| !n.is_empty()),
                ]
                .into_iter()
                .flatten()
                .map(|hosts| Line {
                    path: path.clone(),
                    methods: methods.clone(),
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

/// The shape of a path: equal shapes match the same paths.
fn shape(path: &str) -> Option<String> {
    Template::parse(path).ok().map(|t| t.to_string())
}

#[cfg(test)]
mod tests;
