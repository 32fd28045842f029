//! The parts of a SecurityPolicy and of a Secret.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keystile_core::key::Digest;
use zeroize::Zeroizing;

use super::tables;
use crate::fields::{Object, ObjectKind};
use crate::found::Found;
use crate::node::Node;
use crate::{How, printable};
use keystile_model::error::Result;

/// Why a policy is not in force, as Envoy Gateway says in its status: no Gateway accepts it.
pub fn refused(status: &Node) -> Option<String> {
    let mut said: Vec<bool> = Vec::new();
    let mut of: Vec<&Node> = items(status, "conditions").iter().collect();
    for ancestor in items(status, "ancestors") {
        of.extend(items(ancestor, "conditions"));
    }
    for condition in of {
        let is = condition.peek("type").and_then(Node::text);
        if is == Some("Accepted") {
            said.push(condition.peek("status").and_then(Node::flag) == Some(true));
        }
    }
    let none = !said.is_empty() && said.iter().all(|accepted| !accepted);
    none.then(|| {
        "Envoy Gateway has not accepted its SecurityPolicy (`status`); give it keys by hand"
            .to_owned()
    })
}

fn items<'n>(node: &'n Node, field: &str) -> &'n [Node] {
    let list = node.peek(field).and_then(Node::list);
    list.unwrap_or_default()
}

impl<'n> Secret<'n> {
    /// Another state of the same Secret: what is not the same in both is in doubt.
    pub fn join(&mut self, others: BTreeMap<&'n str, (bool, &'n Node)>) {
        let key = |(encoded, node): &(bool, &'n Node)| (*encoded, node.text().map(str::to_owned));
        let names: Vec<&'n str> = self.entries.keys().chain(others.keys()).copied().collect();
        for name in names {
            if self.entries.get(name).map(key) != others.get(name).map(key) {
                self.unsure.insert(name);
            }
        }
        for (name, value) in others {
            self.entries.entry(name).or_insert(value);
        }
    }
}

/// Where keys are sent in requests, and the client's name to upstreams.
pub fn of_places(
    auth: &Object<'_>,
    place: &str,
    shut: &mut Option<String>,
    found: &mut Found,
) -> Result<()> {
    let mut places = Vec::new();
    for node in auth.list("extractFrom")? {
        let from = Object::open(node.see(), &tables::PLACES, place, found)?;
        *shut = shut.take().or_else(|| from.closed());
        for (field, word) in [
            ("headers", "header"),
            ("params", "query"),
            ("cookies", "cookie"),
        ] {
            places.extend(from.words(field)?.iter().map(|n| format!("{word} {n}")));
        }
    }
    if let Some(header) = auth
        .text("forwardClientIDHeader")?
        .filter(|h| !h.is_empty())
    {
        let header = printable(header, 80);
        found.leave(
            place,
            format!("`{header}` tells the upstream who calls: write it as `identity.client` of the policy"),
        );
    }
    if !places.is_empty() {
        let places = places.join(", ");
        found.leave(
            place,
            format!("keys are expected in {places}: list these in `credentials` of the policy"),
        );
    }
    Ok(())
}

pub fn named(
    node: &Node,
    kind: &'static ObjectKind,
    space: &str,
    place: &str,
    shut: &mut Option<String>,
    found: &mut Found,
) -> Result<Name> {
    let object = Object::open(node, kind, place, found)?;
    *shut = shut.take().or_else(|| object.closed());
    let space = object
        .text("namespace")?
        .filter(|s| !s.is_empty())
        .unwrap_or(space);
    let name = object.text("name")?.unwrap_or_default();
    Ok((space.to_owned(), name.to_owned()))
}

pub fn target(
    node: &Node,
    place: &str,
    shut: &mut Option<String>,
    found: &mut Found,
) -> Result<String> {
    let target = Object::open(node.see(), &tables::TARGET, place, found)?;
    *shut = shut.take().or_else(|| target.closed());
    let kind = target.text("kind")?.unwrap_or("HTTPRoute");
    let section = target.text("sectionName")?;
    let name = target.text("name")?.unwrap_or("by label");
    for field in ["matchLabels", "matchExpressions"] {
        target.get(field).into_iter().for_each(Node::pass);
    }
    let section = section.map(|s| format!(" ({s})")).unwrap_or_default();
    Ok(printable(&format!("{kind} {name}{section}"), 150))
}

pub fn of_entry(
    client: &str,
    encoded: bool,
    value: &Node,
    place: &str,
    scopes: Vec<String>,
    how: &How,
    found: &mut Found,
) {
    let Some(text) = value.text() else {
        found.leave(place, "holds no key");
        return;
    };
    let Some(key) = key_of(encoded, text) else {
        found.leave(place, "is not base64 of a text");
        return;
    };
    let client = found.client(client);
    let scopes: Vec<String> = scopes
        .iter()
        .filter_map(|s| found.scope(s, place))
        .collect();
    if let Some(line) = found.plain_key(place, &client, &key, how) {
        line.scopes = scopes;
    }
}

/// An entry that is left out keeps the same key out elsewhere, too.
pub fn close(encoded: bool, value: &Node, place: &str, found: &mut Found) {
    let key = value.text().and_then(|text| key_of(encoded, text));
    if let Some(key) = key {
        found.dead(place, Digest::of_foreign(key.as_bytes()));
    }
}

/// The key of an entry.
fn key_of(encoded: bool, text: &str) -> Option<Zeroizing<String>> {
    let bytes = Zeroizing::new(match encoded {
        true => STANDARD
            .decode(text.split_whitespace().collect::<String>())
            .unwrap_or_default(),
        false => text.as_bytes().to_vec(),
    });
    let key = std::str::from_utf8(&bytes).ok().filter(|k| !k.is_empty())?;
    // `kubectl create secret --from-file` keeps the line feed of the file.
    Some(Zeroizing::new(
        key.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

/// A namespace and a name.
pub(super) type Name = (String, String);

pub(super) struct Secret<'n> {
    pub(super) place: String,
    /// By client; `true` if the key is in base64.
    pub(super) entries: BTreeMap<&'n str, (bool, &'n Node)>,
    /// Clients whose key is another elsewhere in the export.
    pub(super) unsure: BTreeSet<&'n str>,
    /// Why its keys are left out.
    pub(super) shut: Option<String>,
}
