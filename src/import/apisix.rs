//! Apache APISIX: `apisix.yaml` of the standalone mode, ADC's files, or what the Admin API of
//! APISIX 2 and 3 answers about consumers, credentials and consumer groups.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Kind, Object};
use super::found::Found;
use super::limits;
use super::node::{Data, Document, Node};
use super::{How, printable};
use keystile_model::error::Result;

mod plugins;
mod routes;
mod tables;

use plugins::{Plugins, is_off, pass_off};

/// All that this importer knows.
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
    /// Groups of consumers that stand in their group.
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
    let mut groups = BTreeMap::new();
    for (id, group) in &world.groups {
        let mut plugins = Plugins::read(group, found)?;
        plugins.limits.report(&group.place, found);
        if let Some(problem) = plugins.closed() {
            shut.insert(id, format!("group `{id}`: {problem}"));
        }
        if let Some(plan) = plugins.limits.plan() {
            plans.insert(id, found.plan(id, plan));
        }
        groups.insert(id.as_str(), (plugins.cidrs, plugins.deny_cidrs));
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

/// What groups of consumers say, by their id.
struct Groups<'g> {
    plans: BTreeMap<&'g str, String>,
    /// Why their members stay out.
    shut: BTreeMap<&'g str, String>,
    /// Ranges that are allowed and denied.
    networks: BTreeMap<&'g str, (Vec<String>, Vec<String>)>,
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
            found.leave(
                &place,
                "what routes ask for stands in the policy; write it there",
            );
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

    /// Files an object by its path: `/apisix/consumers/jack/credentials/c1`.
    #[expect(clippy::too_many_lines, reason = "to be cut into steps")]
    fn object(
        &mut self,
        document: &'n Document,
        path: &str,
        node: &'n Node,
        found: &mut Found,
    ) -> Result<()> {
        let own = |names: [&str; 3]| {
            let text = names.iter().find_map(|n| node.peek(n)?.text());
            text.unwrap_or_default().to_owned()
        };
        let id = own(["id", "name", "username"]);
        let path = match path {
            "consumers" | "credentials" | "" => {
                format!("consumers/{}", own(["username", "id", "name"]))
            }
            "consumer_groups" => format!("consumer_groups/{id}"),
            path => path.to_owned(),
        };
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let place = |what: &str, name: &str| {
            Object::at(
                &document.file,
                node,
                format!("{what} `{}`", printable(name, 100)),
            )
        };
        match parts.as_slice() {
            [.., "consumers", owner, "credentials", last] => {
                let object = Object::open(
                    node.see(),
                    &tables::OBJECT,
                    place("credential", last),
                    found,
                )?;
                let label = object.text("name")?.unwrap_or(last).to_owned();
                self.credentials.push(((*owner).to_owned(), label, object));
            }
            [.., "consumer_groups", last] if !last.is_empty() => {
                let object = Object::open(
                    node.see(),
                    &tables::OBJECT,
                    place("consumer group", last),
                    found,
                )?;
                for member in object.list("consumers")? {
                    if let Some(name) = member.peek("username").and_then(Node::text) {
                        self.members.insert(name.to_owned(), (*last).to_owned());
                    }
                    self.object(document, "consumers", member, found)?;
                }
                self.groups.push(((*last).to_owned(), object));
            }
            [.., "consumers", last] if !last.is_empty() => {
                let object =
                    Object::open(node.see(), &tables::OBJECT, place("consumer", last), found)?;
                self.consumers.push(((*last).to_owned(), object));
            }
            [
                ..,
                kind @ ("routes" | "services" | "global_rules" | "plugin_configs"),
                last,
            ] => {
                let place = place(kind, last);
                self.denied.look(node, &place, found)?;
                found.leave(
                    &place,
                    "what routes ask for stands in the policy; write it there",
                );
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

    #[expect(clippy::too_many_lines, reason = "to be cut into steps")]
    fn consumer(
        &self,
        (username, object): &(String, Object<'n>),
        groups: &Groups<'_>,
        how: &How,
        found: &mut Found,
    ) -> Result<()> {
        let place = &object.place;
        let client = found.client(username);
        let group = object.text("group_id")?;
        let group = group.or_else(|| self.members.get(username).map(String::as_str));
        if let Some(group) = group {
            match groups.plans.get(group) {
                Some(plan) => found.put_on(&client, plan, place),
                None => found.leave(
                    place,
                    format!("group `{group}` has no limits, so it becomes no plan"),
                ),
            }
            if !groups.networks.contains_key(group) {
                let problem = format!("its group `{group}` is not in the export");
                found.shut(&client, place, problem);
            }
            if let Some(problem) = groups.shut.get(group) {
                found.shut(&client, place, problem);
            }
        }
        let at = self.denied.consumers.get(username);
        let by_group = group.and_then(|g| self.denied.groups.get(g));
        if let Some(at) = at.or(by_group) {
            let problem = format!("`consumer-restriction` denies it ({at}); give it keys by hand");
            found.shut(&client, place, problem);
        }
        let described = object.text("desc")?.or(object.text("description")?);
        if let (Some(words), Some(line)) = (described, found.clients.get_mut(&client)) {
            line.description = format!("{}: {}", line.description, printable(words, 150));
        }
        for field in ["username", "name", "id", "type"] {
            object.get(field);
        }
        let mut plugins = Plugins::read(object, found)?;
        plugins.limits.report(place, found);
        if let Some(problem) = plugins.closed() {
            found.shut(&client, place, problem);
        }
        // A consumer's own plugin goes before the same one of its group.
        if plugins.cidrs.is_empty()
            && plugins.deny_cidrs.is_empty()
            && let Some((cidrs, deny)) = group.and_then(|g| groups.networks.get(g))
        {
            plugins.cidrs.clone_from(cidrs);
            plugins.deny_cidrs.clone_from(deny);
        }
        let mut keys: Vec<(String, Option<Object<'n>>)> = Vec::new();
        keys.extend(plugins.key.take().map(|key| (String::new(), Some(key))));
        let theirs = self
            .credentials
            .iter()
            .filter(|(owner, ..)| owner == username);
        for (_, label, credential) in theirs {
            keys.push((
                label.clone(),
                of_credential(credential, label, &client, found)?,
            ));
        }
        for node in object.list("credentials")? {
            let credential = Object::open(node.see(), &tables::OBJECT, place.as_str(), found)?;
            let label = credential.text("name")?.or(credential.text("id")?);
            let label = label.unwrap_or_default().to_owned();
            keys.push((
                label.clone(),
                of_credential(&credential, &label, &client, found)?,
            ));
        }
        let keys = keys
            .into_iter()
            .filter_map(|(label, key)| Some((label, key?)));
        for (n, (label, auth)) in keys.enumerate() {
            let place = format!("{place}, key {}", n + 1);
            let Some(secret) = auth.text("key")? else {
                found.leave(&place, "key-auth without a key");
                continue;
            };
            let off = is_off(auth.node);
            if let Some(key) = found.plain_key(&place, &client, secret, how) {
                key.name = label;
                key.disabled = off;
                key.limits = plugins.limits.words();
                key.cidrs.clone_from(&plugins.cidrs);
                key.deny_cidrs.clone_from(&plugins.deny_cidrs);
            }
        }
        Ok(())
    }
}

/// The key of a credential. What else it says cannot be said of one key, so it is passed on to
/// the client.
fn of_credential<'n>(
    credential: &Object<'n>,
    label: &str,
    client: &str,
    found: &mut Found,
) -> Result<Option<Object<'n>>> {
    let place = format!(
        "{}, credential `{}`",
        credential.place,
        printable(label, 100)
    );
    for field in ["name", "id", "desc", "description"] {
        credential.get(field);
    }
    let plugins = Plugins::read(credential, found)?;
    if let Some(problem) = plugins.closed() {
        found.shut(client, &place, problem);
    } else if !plugins.limits.limits.is_empty()
        || !plugins.cidrs.is_empty()
        || !plugins.deny_cidrs.is_empty()
    {
        found.shut(
            client,
            &place,
            "a credential with rules of its own; give it keys by hand",
        );
    }
    let mut key = plugins.key;
    if let Some(config) = credential.get("config") {
        if credential.text("type")? == Some("key-auth") {
            key = Some(Object::open(
                config,
                &tables::KEY_AUTH,
                place.as_str(),
                found,
            )?);
        } else {
            config.pass();
        }
    }
    if let Some(key) = &key {
        pass_off(key);
        if let Some(problem) = key.closed() {
            found.shut(client, &place, problem);
        }
    } else {
        found.leave(&place, "only key-auth credentials are carried over");
    }
    Ok(key)
}
