//! Apache APISIX: `apisix.yaml` of the standalone mode, ADC's files, or what the Admin API of
//! APISIX 2 and 3 answers about consumers, credentials and consumer groups.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Kind, Object};
use super::found::Found;
use super::limits;
use super::node::{Data, Document, Node};
use super::{How, printable};
use keystile_model::error::Result;

mod consumer;
mod plugins;
mod routes;
mod tables;

use plugins::Plugins;

/// Every kind of object that this importer knows.
pub const KINDS: [&Kind; 9] = [
    &tables::FILE,
    &tables::LISTED,
    &tables::NODE,
    &tables::OBJECT,
    &tables::KEY_AUTH,
    &tables::IP_RESTRICTION,
    &tables::RESTRICTION,
    &limits::APISIX_COUNT,
    &limits::APISIX_REQ,
];

#[derive(Default)]
struct World<'n> {
    consumers: Vec<(String, Object<'n>)>,
    /// With the username of the consumer that each belongs to.
    credentials: Vec<(String, String, Object<'n>)>,
    groups: Vec<(String, Object<'n>)>,
    /// Groups of consumers that are listed in the group.
    members: BTreeMap<String, String>,
    denied: routes::Denied,
}

pub fn read(documents: &[Document], how: &How, found: &mut Found) -> Result<()> {
    let mut world = World::default();
    for document in documents {
        world.document(document, found)?;
    }
    let names: BTreeSet<&str> = world.consumers.iter().map(|(n, _)| n.as_str()).collect();
    for (owner, label, credential) in &world.credentials {
        if !names.contains(owner.as_str()) {
            credential.node.pass();
            found.leave(
                &credential.place,
                format!("credential `{label}`: its consumer `{owner}` is not in this file"),
            );
        }
    }
    let mut plans: BTreeMap<&str, String> = BTreeMap::new();
    let mut shut: BTreeMap<&str, String> = BTreeMap::new();
    let mut groups: BTreeMap<&str, Networks> = BTreeMap::new();
    for (id, group) in &world.groups {
        for field in ["id", "name", "username", "desc", "description"] {
            group.get(field);
        }
        let mut plugins = Plugins::read(group, found)?;
        plugins.limits.report(&group.place, found);
        if let Some(problem) = plugins.closed() {
            let problem = format!("group `{id}`: {problem}");
            shut.entry(id).or_insert(problem);
        }
        if let Some(plan) = plugins.limits.plan() {
            plans.insert(id, found.plan(id, plan, &group.place));
        }
        let networks = (plugins.cidrs, plugins.deny_cidrs);
        let Some(there) = groups.remove(id.as_str()) else {
            groups.insert(id.as_str(), networks);
            continue;
        };
        // A group that stands twice: both count.
        let (joined, void) = both(there, networks);
        if void {
            let problem = format!("group `{id}` stands twice, with ranges that share none");
            shut.entry(id).or_insert(problem);
        }
        groups.insert(id, joined);
    }
    let groups = Groups {
        plans,
        shut,
        networks: groups,
    };
    for consumer in &world.consumers {
        world.consumer(consumer, &groups, how, found)?;
    }
    Ok(())
}

/// Ranges that are allowed and denied.
type Networks = (Vec<String>, Vec<String>);

/// What two places say together, and whether no range is left.
fn both((mut cidrs, mut deny): Networks, (other, denied): Networks) -> (Networks, bool) {
    let mut void = false;
    if cidrs.is_empty() {
        cidrs = other;
    } else if !other.is_empty() {
        cidrs.retain(|range| other.contains(range));
        void = cidrs.is_empty();
    }
    deny.extend(denied);
    ((cidrs, deny), void)
}

/// The settings of consumer groups, by id.
struct Groups<'g> {
    plans: BTreeMap<&'g str, String>,
    /// Why their members are left out.
    shut: BTreeMap<&'g str, String>,
    networks: BTreeMap<&'g str, Networks>,
}

impl<'n> World<'n> {
    fn document(&mut self, document: &'n Document, found: &mut Found) -> Result<()> {
        if let Data::List(items) = &document.root.see().data {
            for (i, item) in items.iter().enumerate() {
                let place = format!("{}: [{i}]", document.file);
                match item.peek("value") {
                    Some(_) => self.listed(document, item, place, found)?,
                    None => self.object(document, "", item, found)?,
                }
            }
            return Ok(());
        }
        let file = Object::root(document, &tables::FILE, found)?;
        self.denied.shut(&file);
        for field in ["consumers", "consumer_groups", "credentials"] {
            for node in file.list(field)? {
                self.object(document, field, node, found)?;
            }
        }
        for field in [
            "routes",
            "services",
            "global_rules",
            "plugin_configs",
            "stream_routes",
        ] {
            let Some(node) = file.get(field).filter(|n| !n.is_empty()) else {
                continue;
            };
            let place = Object::at(&document.file, node, format_args!("`{field}`"));
            self.denied.look(node, &place, found)?;
            found.leave(&place, "write what routes require into the policy");
        }
        for (i, node) in file.list("list")?.iter().enumerate() {
            self.listed(
                document,
                node,
                format!("{}: list[{i}]", document.file),
                found,
            )?;
        }
        if let Some(node) = file.get("node") {
            let old = Object::open(node, &tables::NODE, document.file.as_str(), found)?;
            self.denied.shut(&old);
            // An empty list is written as an object.
            if let Some(nodes) = old.get("nodes") {
                for (i, node) in nodes.list().unwrap_or_default().iter().enumerate() {
                    self.listed(
                        document,
                        node,
                        format!("{}: nodes[{i}]", document.file),
                        found,
                    )?;
                }
            }
            self.one(document, &old, found)?;
        }
        self.one(document, &file, found)
    }

    fn listed(
        &mut self,
        document: &'n Document,
        node: &'n Node,
        place: String,
        found: &mut Found,
    ) -> Result<()> {
        let listed = Object::open(node.see(), &tables::LISTED, place, found)?;
        self.denied.shut(&listed);
        self.one(document, &listed, found)
    }

    /// An object with the path that it is stored under.
    fn one(
        &mut self,
        document: &'n Document,
        listed: &Object<'n>,
        found: &mut Found,
    ) -> Result<()> {
        let key = listed.text("key")?.unwrap_or_default();
        match listed.get("value") {
            Some(value) => self.object(document, key, value, found),
            None => Ok(()),
        }
    }

    /// Classifies an object by its path: `/apisix/consumers/jack/credentials/c1`.
    fn object(
        &mut self,
        document: &'n Document,
        path: &str,
        node: &'n Node,
        found: &mut Found,
    ) -> Result<()> {
        let path = whole_path(path, node);
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let place = |what: &str, name: &str| {
            Object::at(
                &document.file,
                node,
                format!("{what} `{}`", printable(name, 100)),
            )
        };
        let open = |what: &str, name: &str, found: &mut Found| {
            Object::open(node.see(), &tables::OBJECT, place(what, name), found)
        };
        match parts.as_slice() {
            [.., "consumers", owner, "credentials", last] => {
                let object = open("credential", last, found)?;
                let label = object.text("name")?.unwrap_or(last).to_owned();
                self.credentials.push(((*owner).to_owned(), label, object));
            }
            [.., "consumer_groups", last] if !last.is_empty() => {
                let object = open("consumer group", last, found)?;
                for member in object.list("consumers")? {
                    if let Some(name) = member.peek("username").and_then(Node::text) {
                        self.members.insert(name.to_owned(), (*last).to_owned());
                    }
                    self.object(document, "consumers", member, found)?;
                }
                self.groups.push(((*last).to_owned(), object));
            }
            [.., "consumers", last] if !last.is_empty() => {
                let object = open("consumer", last, found)?;
                self.consumers.push(((*last).to_owned(), object));
            }
            [
                ..,
                kind @ ("routes" | "services" | "global_rules" | "plugin_configs"),
                last,
            ] => {
                let place = place(kind, last);
                self.denied.look(node, &place, found)?;
                found.leave(&place, "write what routes require into the policy");
                return Ok(());
            }
            _ => {
                node.pass();
                let place =
                    Object::at(&document.file, node, format!("`{}`", printable(&path, 100)));
                found.leave(&place, "is no consumer, credential or consumer group");
                return Ok(());
            }
        }
        found.meet(&document.file);
        Ok(())
    }
}

/// The path of an object, where its list alone is known.
fn whole_path(path: &str, node: &Node) -> String {
    let own = |names: [&str; 3]| {
        let text = names.iter().find_map(|n| node.peek(n)?.text());
        text.unwrap_or_default().to_owned()
    };
    match path {
        "consumers" | "credentials" | "" => {
            format!("consumers/{}", own(["username", "id", "name"]))
        }
        "consumer_groups" => format!("consumer_groups/{}", own(["id", "name", "username"])),
        path => path.to_owned(),
    }
}
