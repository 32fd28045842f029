//! Kong's declarative configuration: consumers with key-auth credentials, ACL groups, consumer
//! groups, rate-limiting plugins. Credentials, memberships and plugins may be inside their owner or
//! in lists of their own, as `db_export` writes them.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Object, ObjectKind};
use super::found::Found;
use super::limits;
use super::node::ExportDocument;
use super::{How, printable};
use keystile_model::error::Result;

mod apart;
mod duplicates;
mod person;
mod plugins;
mod reference;
mod repeated_key;
mod tables;

use person::{Consumer, of_plugins};
use plugins::{Around, Gates, Plugin, Shared, services};
use reference::{ReferencedNames, UNREAD_GROUP, reference, workspace};

/// Every kind of object that this importer knows.
pub const KINDS: [&ObjectKind; 12] = [
    &tables::FILE,
    &tables::CONSUMER,
    &tables::CREDENTIAL,
    &tables::ACL,
    &tables::GROUP,
    &tables::MEMBERSHIP,
    &tables::SERVICE,
    &tables::PLUGIN,
    &limits::KONG,
    &limits::KONG_ADVANCED,
    &tables::KEY_AUTH,
    &tables::ACL_PLUGIN,
];

#[derive(Default)]
struct Group<'n> {
    place: String,
    closed: Option<String>,
    plugins: Vec<Plugin<'n>>,
}

#[derive(Default)]
struct World<'n> {
    people: Vec<Consumer<'n>>,
    by_id: BTreeMap<String, Vec<usize>>,
    by_username: BTreeMap<String, Vec<usize>>,
    /// Those of all files.
    usernames: BTreeSet<String>,
    groups: BTreeMap<String, Group<'n>>,
    group_names: BTreeMap<String, String>,
    known_groups: BTreeSet<String>,
    gates: Gates,
    /// Why nobody is taken over, if a file says so.
    closed: Option<String>,
}

pub fn read(documents: &[ExportDocument], how: &How, found: &mut Found) -> Result<()> {
    let mut files = Vec::new();
    for document in documents {
        files.push((document, Object::root(document, &tables::FILE, found)?));
    }
    let mut shared: Shared<'_> = BTreeMap::new();
    for (_, file) in &files {
        for (name, node) in file.entries("_plugin_configs")? {
            // A configuration that no plugin names has no effect.
            node.pass();
            shared.entry(name).or_default().push(node);
        }
    }
    let mut world = World::default();
    for (_, file) in &files {
        world.closed = world.closed.take().or_else(|| file.closed());
        let nodes = file.list("consumers")?.iter();
        let names = nodes.filter_map(|node| node.peek("username")?.text());
        world.usernames.extend(names.map(str::to_owned));
    }
    for (document, file) in &files {
        world.consumers(document, file, &shared, found)?;
    }
    for (document, file) in &files {
        world.groups(document, file, &shared, found)?;
    }
    for (document, file) in &files {
        world.lists(document, file, found)?;
        let mut plugins = Vec::new();
        for field in ["plugins", "consumer_group_plugins"] {
            let place = format!("{}: {field}", document.file);
            let nodes = file.list(field)?;
            plugins.extend(plugins::read(
                nodes,
                &place,
                &Around::default(),
                &shared,
                found,
            )?);
        }
        for field in ["services", "routes"] {
            services(
                file.list(field)?,
                &document.file,
                &shared,
                &mut plugins,
                found,
            )?;
        }
        if !plugins.is_empty() {
            found.meet(&document.file);
        }
        for plugin in plugins {
            world.place(plugin, found)?;
        }
    }
    world.settle_groups();
    world.settle_workspaces(found);
    world.settle(how, found)
}

impl<'n> World<'n> {
    fn consumers(
        &mut self,
        document: &'n ExportDocument,
        file: &Object<'n>,
        shared: &Shared<'n>,
        found: &mut Found,
    ) -> Result<()> {
        for (i, node) in file.list("consumers")?.iter().enumerate() {
            found.meet(&document.file);
            let name = ["username", "custom_id", "id"]
                .iter()
                .find_map(|n| node.peek(n)?.text().filter(|t| !t.is_empty()));
            let Some(original) = name else {
                node.pass();
                found.leave(&format!("{}: consumers[{i}]", document.file), "has no name");
                continue;
            };
            let what = format!("consumer `{}`", printable(original, 100));
            let place = Object::at(&document.file, node, what);
            let object = Object::open(node.see(), &tables::CONSUMER, place, found)?;
            let (id, username) = (object.text("id")?, object.text("username")?);
            if username.is_none_or(str::is_empty) && self.usernames.contains(original) {
                node.pass();
                found.leave(
                    &object.place,
                    "has the name that is another consumer's `username`",
                );
                continue;
            }
            let at = self.people.len();
            if let Some(id) = id {
                self.by_id.entry(id.to_owned()).or_default().push(at);
            }
            if let Some(username) = username {
                let name = username.to_owned();
                self.by_username.entry(name).or_default().push(at);
            }
            let around = Around {
                consumer: Some(vec![original.to_owned()]),
                ..Around::default()
            };
            let plugins = plugins::read(
                object.list("plugins")?,
                &object.place,
                &around,
                shared,
                found,
            )?;
            let mut person = Consumer::read(original, object, found)?;
            person.plugins = plugins;
            person.workspace = workspace(file, &person.object)?;
            self.people.push(person);
        }
        Ok(())
    }

    fn groups(
        &mut self,
        document: &'n ExportDocument,
        file: &Object<'n>,
        shared: &Shared<'n>,
        found: &mut Found,
    ) -> Result<()> {
        for (i, node) in file.list("consumer_groups")?.iter().enumerate() {
            found.meet(&document.file);
            let place = format!("{}: consumer_groups[{i}]", document.file);
            let object = Object::open(node.see(), &tables::GROUP, place, found)?;
            let (name, id) = (object.text("name")?, object.text("id")?);
            let Some(name) = name.or(id) else {
                node.pass();
                found.leave(&object.place, "has no name");
                continue;
            };
            if let Some(id) = id {
                self.group_names.insert(id.to_owned(), name.to_owned());
            }
            let place = Object::at(&document.file, node, format!("consumer group `{name}`"));
            self.known_groups.insert(name.to_owned());
            let around = Around {
                group: Some(vec![name.to_owned()]),
                ..Around::default()
            };
            let group = self.groups.entry(name.to_owned()).or_default();
            group.place.clone_from(&place);
            group.closed = group.closed.take().or_else(|| object.closed());
            for plugin in plugins::read(object.list("plugins")?, &place, &around, shared, found)? {
                self.place(plugin, found)?;
            }
            for member in object.list("consumers")? {
                let mut closed = None;
                let who = reference(member, &place, &mut closed, found)?;
                if let Some(i) = self.owner(who.as_ref(), &place, found) {
                    self.join(i, vec![name.to_owned()]);
                    self.close(i, closed);
                }
            }
        }
        Ok(())
    }

    /// Separate lists, whose items name their consumer.
    fn lists(
        &mut self,
        document: &'n ExportDocument,
        file: &Object<'n>,
        found: &mut Found,
    ) -> Result<()> {
        type Add<'n> = fn(&mut World<'n>, usize, Object<'n>, &mut Found) -> Result<()>;
        let credential: Add<'n> = |world, i, object, _| {
            if let Some(person) = world.people.get_mut(i) {
                person.credentials.push(object);
            }
            Ok(())
        };
        let acl: Add<'n> = |world, i, object, _| {
            let person = world.people.get_mut(i);
            person.map_or(Ok(()), |person| person.acl(&object))
        };
        let member: Add<'n> = |world, i, object, found| {
            let Some(group) = object.get("consumer_group") else {
                return Ok(());
            };
            let mut closed = object.closed();
            match reference(group, &object.place, &mut closed, found)? {
                Some(group) => world.join(i, group),
                None => closed = closed.or_else(|| Some(UNREAD_GROUP.to_owned())),
            }
            world.close(i, closed);
            Ok(())
        };
        for (field, kind, add) in [
            ("keyauth_credentials", &tables::CREDENTIAL, credential),
            ("acls", &tables::ACL, acl),
            ("consumer_group_consumers", &tables::MEMBERSHIP, member),
        ] {
            for (i, node) in file.list(field)?.iter().enumerate() {
                found.meet(&document.file);
                let place = format!("{}: {field}[{i}]", document.file);
                let object = Object::open(node.see(), kind, place, found)?;
                let mut closed = None;
                let who = match object.get("consumer") {
                    Some(node) => reference(node, &object.place, &mut closed, found)?,
                    None => None,
                };
                let closed =
                    closed.or_else(|| object.closed().filter(|_| field != "keyauth_credentials"));
                for i in self.owners(who.as_ref()).to_vec() {
                    self.close(i, closed.clone());
                }
                match self.owner(who.as_ref(), &object.place, found) {
                    Some(i) => add(self, i, object, found)?,
                    None => node.pass(),
                }
            }
        }
        Ok(())
    }

    fn owners(&self, names: Option<&ReferencedNames>) -> &[usize] {
        let of = |name: &String| self.by_id.get(name).or(self.by_username.get(name));
        let all = names.and_then(|names| names.iter().find_map(of));
        all.map_or(&[], Vec::as_slice)
    }

    /// The consumer of that id or username, if there is exactly one.
    fn owner(
        &self,
        name: Option<&ReferencedNames>,
        place: &str,
        found: &mut Found,
    ) -> Option<usize> {
        match self.owners(name) {
            [one] => return Some(*one),
            [] => found.leave(place, "names no consumer of this file"),
            _ => found.leave(place, "names a consumer that appears here twice"),
        }
        None
    }

    /// Leaves a consumer out, if there is a reason.
    fn close(&mut self, person: usize, why: Option<String>) {
        if let Some(person) = self.people.get_mut(person) {
            person.close(why);
        }
    }

    fn join(&mut self, person: usize, group: ReferencedNames) {
        if let Some(person) = self.people.get_mut(person) {
            person.in_groups.push(group);
        }
    }

    /// The name of a group that is referred to, and whether it stands in the export.
    fn group(&self, names: &ReferencedNames) -> (String, bool) {
        let known = |name: &String| {
            let by_id = self.group_names.get(name);
            by_id.or(self.known_groups.get(name)).cloned()
        };
        match names.iter().find_map(known) {
            Some(name) => (name, true),
            None => (names.last().cloned().unwrap_or_default(), false),
        }
    }

    /// Assigns a plugin to its owner.
    fn place(&mut self, mut plugin: Plugin<'n>, found: &mut Found) -> Result<()> {
        if let Some(group) = &plugin.group {
            plugin.group = Some(vec![self.group(group).0]);
        }
        match (&plugin.consumer, &plugin.group) {
            (None, None) => return self.gates.add(&plugin, found),
            (Some(consumer), _) => {
                let all = self.owners(Some(consumer)).to_vec();
                if all.is_empty() {
                    plugin.pass();
                    found.leave(&plugin.place, "names no consumer of this file");
                }
                for i in all {
                    let person = self.people.get_mut(i);
                    person
                        .into_iter()
                        .for_each(|p| p.plugins.push(plugin.clone()));
                }
            }
            (None, Some(group)) => {
                let name = group.first().cloned().unwrap_or_default();
                let group = self.groups.entry(name).or_default();
                group.plugins.push(plugin);
            }
        }
        Ok(())
    }

    fn settle(&self, how: &How, found: &mut Found) -> Result<()> {
        let mut plans: BTreeMap<&str, String> = BTreeMap::new();
        let mut shut: BTreeMap<&str, String> = BTreeMap::new();
        for (name, group) in &self.groups {
            let place = match group.place.as_str() {
                "" => format!("consumer group `{name}`"),
                place => place.to_owned(),
            };
            let (mut limits, closed) = of_plugins(&group.plugins, &place, found)?;
            limits.report(&place, found);
            if let Some(closed) = closed.or_else(|| group.closed.clone()) {
                shut.insert(name, closed);
            }
            if let Some(plan) = limits.plan() {
                plans.insert(name, found.plan(name, plan, &place));
            }
        }
        let every = duplicates::keys(&self.people, found)?;
        for person in &self.people {
            person.settle(&self.gates, &plans, &shut, (&every, how), found)?;
            if let Some(closed) = &self.closed {
                person.shut(closed, found);
            }
        }
        Ok(())
    }
}
