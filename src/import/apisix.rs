//! Apache APISIX: `apisix.yaml` of the standalone mode, ADC's files, or what the Admin API of
//! APISIX 2 and 3 answers about consumers, credentials and consumer groups.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Object, ObjectKind};
use super::found::Found;
use super::limits;
use super::node::{Data, ExportDocument, Node};
use super::{How, moment, printable};
use keystile_model::error::Result;

mod consumer;
mod labels;
mod plugins;
mod routes;
mod tables;

use plugins::Plugins;

/// Every kind of object that this importer knows.
pub const KINDS: [&ObjectKind; 9] = [
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

/// When an object is deleted by itself.
#[derive(Clone, Copy, Default)]
enum Expiry {
    #[default]
    Never,
    /// Seconds since the epoch.
    At(u64),
    /// After a time from a moment that the export does not hold.
    Unsaid,
}

struct Consumer<'n> {
    name: String,
    object: Object<'n>,
    expires: Expiry,
}

struct Credential<'n> {
    /// The username of the consumer that it belongs to.
    owner: String,
    label: String,
    object: Object<'n>,
    expires: Expiry,
}

#[derive(Default)]
struct World<'n> {
    consumers: Vec<Consumer<'n>>,
    credentials: Vec<Credential<'n>>,
    groups: Vec<(String, Object<'n>)>,
    /// Groups of consumers that are listed in the group.
    members: BTreeMap<String, String>,
    /// Groups that are deleted by themselves, and where they stand.
    passing: BTreeMap<String, String>,
    denied: routes::Denied,
}

pub fn read(documents: &[ExportDocument], how: &How, found: &mut Found) -> Result<()> {
    let mut world = World::default();
    for document in documents {
        world.document(document, found)?;
    }
    let names: BTreeSet<&str> = world.consumers.iter().map(|c| c.name.as_str()).collect();
    for credential in &world.credentials {
        let (owner, label) = (&credential.owner, &credential.label);
        if !names.contains(owner.as_str()) {
            credential.object.node.pass();
            found.leave(
                &credential.object.place,
                format!("credential `{label}`: its consumer `{owner}` is not in this file"),
            );
        }
    }
    let groups = world.groups(found)?;
    let mut rules: BTreeMap<&str, Rules> = BTreeMap::new();
    for consumer in &world.consumers {
        let own = world.consumer(consumer, &groups, how, found)?;
        let there = rules.entry(&consumer.name).or_insert_with(|| own.clone());
        if *there != own {
            let client = crate::found::client_name(&consumer.name);
            let problem = "it appears in the export twice, with other limits or ranges";
            found.shut(&client, &consumer.object.place, problem);
        }
    }
    Ok(())
}

/// Ranges that are allowed and denied, and limits.
type Rules = (Vec<String>, Vec<String>, Vec<String>);

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
#[derive(Default)]
struct Groups<'g> {
    plans: BTreeMap<&'g str, String>,
    /// Why their members are left out.
    shut: BTreeMap<&'g str, String>,
    networks: BTreeMap<&'g str, Networks>,
}

impl<'n> World<'n> {
    /// What the consumer groups say about their members.
    fn groups(&self, found: &mut Found) -> Result<Groups<'_>> {
        let mut out = Groups::default();
        for (id, group) in &self.groups {
            for field in ["id", "name", "username", "desc", "description"] {
                group.get(field);
            }
            labels::name_labels(group, &group.place, found);
            let mut plugins = Plugins::read(group, found)?;
            plugins.limits.report(&group.place, found);
            if let Some(problem) = plugins.closed() {
                let problem = format!("group `{id}`: {problem}");
                out.shut.entry(id).or_insert(problem);
            }
            if let Some(plan) = plugins.limits.plan() {
                out.plans.insert(id, found.plan(id, plan, &group.place));
            }
            let networks = (plugins.cidrs, plugins.deny_cidrs);
            let Some(there) = out.networks.remove(id.as_str()) else {
                out.networks.insert(id.as_str(), networks);
                continue;
            };
            // A group that stands twice: both count.
            let (joined, void) = both(there, networks);
            if void {
                let problem =
                    format!("group `{id}` appears twice, with ranges that do not overlap");
                out.shut.entry(id).or_insert(problem);
            }
            out.networks.insert(id, joined);
        }
        Ok(out)
    }

    fn document(&mut self, document: &'n ExportDocument, found: &mut Found) -> Result<()> {
        if let Data::List(items) = &document.root.see().data {
            for (i, item) in items.iter().enumerate() {
                let place = format!("{}: [{i}]", document.file);
                match item.peek("value") {
                    Some(_) => self.listed(document, item, place, found)?,
                    None => self.object(document, "", item, Expiry::Never, found)?,
                }
            }
            return Ok(());
        }
        let file = Object::root(document, &tables::FILE, found)?;
        self.denied.shut(&file);
        let action = file.text("action")?.unwrap_or_default();
        if ["delete", "expire"].iter().any(|a| action.starts_with(a)) {
            let problem = format!(
                "an answer says that it was deleted (`action: {}`)",
                printable(action, 40)
            );
            self.denied
                .all
                .get_or_insert((document.file.clone(), problem));
        }
        for field in ["consumers", "consumer_groups", "credentials"] {
            for node in file.list(field)? {
                self.object(document, field, node, Expiry::Never, found)?;
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
        document: &'n ExportDocument,
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
        document: &'n ExportDocument,
        listed: &Object<'n>,
        found: &mut Found,
    ) -> Result<()> {
        let key = listed.text("key")?.unwrap_or_default();
        let expires = match (listed.get("expiration"), listed.get("ttl")) {
            (Some(at), _) => moment::of(at).map_or(Expiry::Unsaid, Expiry::At),
            (None, Some(ttl)) if ttl.number() != Some(0) => Expiry::Unsaid,
            _ => Expiry::Never,
        };
        match listed.get("value") {
            Some(value) => self.object(document, key, value, expires, found),
            None => Ok(()),
        }
    }

    /// Classifies an object by its path: `/apisix/consumers/jack/credentials/c1`.
    fn object(
        &mut self,
        document: &'n ExportDocument,
        path: &str,
        node: &'n Node,
        expires: Expiry,
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
                self.credentials.push(Credential {
                    owner: (*owner).to_owned(),
                    label,
                    object,
                    expires,
                });
            }
            [.., "consumer_groups", last] if !last.is_empty() => {
                let object = open("consumer group", last, found)?;
                for member in object.list("consumers")? {
                    if let Some(name) = member.peek("username").and_then(Node::text) {
                        self.members.insert(name.to_owned(), (*last).to_owned());
                    }
                    self.object(document, "consumers", member, expires, found)?;
                }
                if !matches!(expires, Expiry::Never) {
                    self.passing
                        .insert((*last).to_owned(), object.place.clone());
                }
                self.groups.push(((*last).to_owned(), object));
            }
            [.., "consumers", last] if !last.is_empty() => {
                let object = open("consumer", last, found)?;
                self.consumers.push(Consumer {
                    name: (*last).to_owned(),
                    object,
                    expires,
                });
            }
            [
                ..,
                kind
                @ ("routes" | "services" | "global_rules" | "plugin_configs" | "stream_routes"),
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
                found.leave(&place, "is not a consumer, credential or consumer group");
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
