//! Higress: the `key-auth` plugin, as a WasmPlugin or as its configuration alone, and the
//! consumers that its console lists.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Object, ObjectKind};
use super::found::Found;
use super::node::{ExportDocument, Node};
use super::{How, printable};
use keystile_model::error::Result;

mod parts;
mod scopes;
mod tables;

use parts::{of_credentials, of_metadata};
use tables::{ANSWER, CONFIG, CONSUMER, CREDENTIAL, RESOURCE, RULE, SPEC};

/// Every kind of object that this importer knows.
pub const KINDS: [&ObjectKind; 7] = [
    &RESOURCE,
    &SPEC,
    &CONFIG,
    &CONSUMER,
    &CREDENTIAL,
    &RULE,
    &ANSWER,
];

struct Consumer<'n> {
    name: &'n str,
    object: Object<'n>,
    /// Why it is left out.
    off: Option<String>,
    /// The plugin that it stands in.
    of: Option<usize>,
}

/// A plugin, and where it is in force.
struct Plugin {
    place: String,
    name: String,
    /// It is in force for some workloads or ports alone.
    narrowed: bool,
}

#[derive(Default)]
struct World<'n> {
    consumers: Vec<Consumer<'n>>,
    plugins: Vec<Plugin>,
    /// The plugin that is read.
    current: Option<usize>,
    /// Scopes of each consumer, by the plugin that says so and its name.
    scopes: BTreeMap<(Option<usize>, String), BTreeSet<String>>,
    /// The rule that each scope stands for.
    rules: BTreeMap<String, String>,
    /// Consumers that are denied somewhere, with the place and the reason.
    denied: BTreeMap<String, (String, String)>,
    /// Why all of them are left out, and where that stands.
    shut: Option<(String, String)>,
}

pub fn read(documents: &[ExportDocument], how: &How, found: &mut Found) -> Result<()> {
    let mut world = World::default();
    for document in documents {
        let root = &document.root;
        let is = |name: &str| root.peek(name).is_some();
        if let Some(items) = root.list() {
            world.list(document, items, None, found)?;
        } else if is("kind") {
            world.resource(document, root, None, found)?;
        } else if is("data") {
            let answer = Object::root(document, &ANSWER, found)?;
            world.list(document, answer.list("data")?, answer.closed(), found)?;
        } else if is("spec") {
            world.plugin(document, root, None, document.file.as_str(), found)?;
        } else if is("defaultConfig") {
            world.spec(document, root, None, ("", &document.file), found)?;
        } else {
            world.config(document, root, None, &document.file, found)?;
        }
    }
    world.settle(how, found)
}

impl<'n> World<'n> {
    fn resource(
        &mut self,
        document: &'n ExportDocument,
        node: &'n Node,
        off: Option<String>,
        found: &mut Found,
    ) -> Result<()> {
        let text = |node: Option<&'n Node>| node.and_then(Node::text).unwrap_or_default();
        let kind = text(node.peek("kind"));
        let name = text(node.peek("metadata").and_then(|m| m.peek("name")));
        let place = Object::at(
            &document.file,
            node,
            format!("{} `{}`", printable(kind, 40), printable(name, 80)),
        );
        let spec = node.peek("spec");
        let is_ours = spec.is_some_and(|spec| {
            let url = text(spec.peek("url"));
            let config = spec.peek("defaultConfig");
            name.contains("key-auth")
                || url.contains("key-auth")
                || config.is_some_and(|c| c.peek("consumers").is_some() && c.peek("keys").is_some())
        });
        if kind.ends_with("List") {
            let list = Object::open(node.see(), &RESOURCE, place, found)?;
            let off = off.or_else(|| list.get("metadata").and_then(of_metadata));
            let off = off.or_else(|| list.closed());
            for field in ["kind", "metadata"] {
                list.get(field).into_iter().for_each(Node::pass);
            }
            for item in list.list("items")? {
                self.resource(document, item, off.clone(), found)?;
            }
            return Ok(());
        }
        if kind != "WasmPlugin" || !is_ours {
            node.pass();
            found.leave(&place, "only the plugin `key-auth` is carried over");
            return Ok(());
        }
        self.plugin(document, node, off, &place, found)
    }

    fn plugin(
        &mut self,
        document: &'n ExportDocument,
        node: &'n Node,
        off: Option<String>,
        place: &str,
        found: &mut Found,
    ) -> Result<()> {
        let object = Object::open(node.see(), &RESOURCE, place, found)?;
        let metadata = object.get("metadata");
        let off = off.or_else(|| metadata.and_then(of_metadata));
        let off = off.or_else(|| object.closed());
        let of = |field: &str| metadata.and_then(|m| m.peek(field)?.text());
        let (space, name) = (of("namespace"), of("name").unwrap_or("key-auth"));
        let name = space.map_or_else(|| name.to_owned(), |space| format!("{space}/{name}"));
        for field in ["kind", "metadata"] {
            object.get(field).into_iter().for_each(Node::pass);
        }
        match object.get("spec") {
            Some(spec) => self.spec(document, spec, off, (&name, place), found),
            None => Ok(()),
        }
    }

    fn spec(
        &mut self,
        document: &'n ExportDocument,
        node: &'n Node,
        off: Option<String>,
        (name, at): (&str, &str),
        found: &mut Found,
    ) -> Result<()> {
        let place = document.file.as_str();
        let spec = Object::open(node.see(), &SPEC, place, found)?;
        let mut off = off.or_else(|| spec.closed());
        let mut narrowed = false;
        for field in ["selector", "match", "targetRef", "targetRefs"] {
            for node in spec.all(field) {
                node.pass();
                narrowed |= !node.is_empty();
            }
        }
        self.current = Some(self.plugins.len());
        self.plugins.push(Plugin {
            place: at.to_owned(),
            name: name.to_owned(),
            narrowed,
        });
        spec.flag("defaultConfigDisable")?;
        let mut disabled = spec.all("defaultConfigDisable");
        if disabled.any(|node| node.flag() != Some(false)) {
            let problem = "its configuration is switched off (`defaultConfigDisable`)";
            off.get_or_insert_with(|| problem.to_owned());
        }
        for field in ["defaultConfig", "pluginConfig"] {
            if let Some(config) = spec.get(field) {
                self.config(document, config, off.clone(), place, found)?;
            }
        }
        self.rules(spec.list("matchRules")?, place, found)?;
        self.current = None;
        Ok(())
    }

    fn config(
        &mut self,
        document: &'n ExportDocument,
        node: &'n Node,
        off: Option<String>,
        place: &str,
        found: &mut Found,
    ) -> Result<()> {
        let config = Object::open(node.see(), &CONFIG, place, found)?;
        let off = off.or_else(|| config.closed());
        self.deny(&config, place);
        self.list(document, config.list("consumers")?, off, found)?;
        let keys = config.words("keys")?;
        let places = match (config.flag("in_header")?, config.flag("in_query")?) {
            (Some(false), _) => " in the query",
            (_, Some(false)) => " in a header",
            _ => "",
        };
        if !keys.is_empty() {
            let keys = keys.join(", ");
            found.leave(
                place,
                format!(
                    "keys are expected in {keys}{places}: list these in `credentials` of the policy"
                ),
            );
        }
        if config.flag("global_auth")? != Some(true) {
            found.leave(place, "without `global_auth: true`, routes without a rule ask for no key: here every route asks for one, unless the policy makes it public");
        }
        if let Some(allow) = config.get("allow") {
            let names = allow.words().unwrap_or_default();
            let scope = self.free(["allowed".to_owned()], "allowed", "allowed");
            self.allow(&names, &scope, place, found);
        }
        self.rules(config.list("_rules_")?, place, found)
    }

    fn rules(&mut self, nodes: &'n [Node], place: &str, found: &mut Found) -> Result<()> {
        for (i, node) in nodes.iter().enumerate() {
            let place = format!("{place}: rule {}", i + 1);
            let rule = Object::open(node.see(), &RULE, place.as_str(), found)?;
            self.deny(&rule, &place);
            let mut closed = rule.closed();
            let mut selects = Vec::new();
            for field in [
                "domain",
                "ingress",
                "service",
                "_match_route_",
                "_match_domain_",
                "_match_service_",
            ] {
                let names = rule.words(field)?;
                selects.extend(names.into_iter().map(|name| (field, name)));
            }
            let off = rule.flag("configDisable")? == Some(true);
            let mut allow = rule.words("allow")?;
            if let Some(config) = rule.get("config") {
                let config = Object::open(config, &CONFIG, place.as_str(), found)?;
                self.deny(&config, &place);
                closed = closed.or_else(|| config.closed());
                allow.extend(config.words("allow")?);
            }
            if let Some(problem) = closed {
                self.keep_out(&allow, &place, &problem);
            }
            if off {
                found.leave(&place, "is switched off: these routes ask for no key there");
                continue;
            }
            let scope = self.scope_of(&selects, &place, i + 1);
            let names: Vec<&str> = selects.iter().map(|(_, name)| *name).collect();
            let names = names.join(", ");
            self.allow(
                &allow,
                &scope,
                &format!("{place} ({})", printable(&names, 200)),
                found,
            );
        }
        Ok(())
    }

    /// Consumers that a list denies stay out; all of them if it cannot be read.
    fn deny(&mut self, object: &Object<'_>, place: &str) {
        let Some(node) = object.get("deny").filter(|node| !node.is_empty()) else {
            return;
        };
        node.pass();
        match node.words() {
            Some(names) if !names.is_empty() => {
                self.keep_out(&names, place, "`deny` names it; give it keys by hand");
            }
            _ => self.keep_out(&[], place, "`deny` cannot be read; give it keys by hand"),
        }
    }

    /// Leaves out some consumers, or all if none are named.
    fn keep_out(&mut self, names: &[&str], place: &str, problem: &str) {
        let why = (place.to_owned(), problem.to_owned());
        if names.is_empty() {
            self.shut.get_or_insert(why);
            return;
        }
        for name in names {
            let denied = self.denied.entry((*name).to_owned());
            denied.or_insert_with(|| why.clone());
        }
    }

    fn list(
        &mut self,
        document: &'n ExportDocument,
        nodes: &'n [Node],
        off: Option<String>,
        found: &mut Found,
    ) -> Result<()> {
        for (i, node) in nodes.iter().enumerate() {
            found.meet(&document.file);
            let Some(name) = node.peek("name").and_then(Node::text) else {
                node.pass();
                found.leave(&format!("{}: consumers[{i}]", document.file), "has no name");
                continue;
            };
            let what = format!("consumer `{}`", printable(name, 100));
            let place = Object::at(&document.file, node, what);
            let object = Object::open(node.see(), &CONSUMER, place, found)?;
            object.get("name");
            let off = off.clone();
            let of = self.current;
            self.consumers.push(Consumer {
                name,
                object,
                off,
                of,
            });
        }
        Ok(())
    }

    fn settle(mut self, how: &How, found: &mut Found) -> Result<()> {
        self.scopes_of_plugins(found);
        // A key that stands in several plugins opens what each of them protects.
        let mut of_key: BTreeMap<(&str, &str), BTreeSet<&String>> = BTreeMap::new();
        let mut keys_of = Vec::new();
        for consumer in &self.consumers {
            let place = consumer.object.place.as_str();
            let mut keys: Vec<&str> = consumer.object.text("credential")?.into_iter().collect();
            if let Some(node) = consumer.object.get("credentials") {
                keys.extend(of_credentials(node, place, found)?);
            }
            for key in &keys {
                let scopes = of_key.entry((consumer.name, key)).or_default();
                scopes.extend(self.scopes(consumer));
            }
            keys_of.push(keys);
        }
        for (consumer, keys) in self.consumers.iter().zip(keys_of) {
            let place = consumer.object.place.as_str();
            let client = found.client(consumer.name);
            if let Some(problem) = &consumer.off {
                found.shut(&client, place, problem.as_str());
            }
            let denied = self.denied.get(consumer.name).or(self.shut.as_ref());
            if let Some((at, problem)) = denied {
                found.shut(&client, at, problem.as_str());
            }
            if let Some(problem) = consumer.object.closed() {
                found.shut(&client, place, problem);
            }
            if keys.is_empty() {
                found.leave(place, "has no key");
            }
            for (n, key) in keys.iter().enumerate() {
                let scopes = of_key.get(&(consumer.name, *key)).into_iter().flatten();
                let scopes: Vec<String> = scopes.filter_map(|s| found.scope(s, place)).collect();
                let place = format!("{place}, key {}", n + 1);
                if let Some(line) = found.plain_key(&place, &client, key, how) {
                    line.scopes = scopes;
                }
            }
        }
        let known: BTreeSet<&str> = self.consumers.iter().map(|c| c.name).collect();
        for (_, name) in self.scopes.keys() {
            if !known.contains(name.as_str()) {
                found.leave(
                    &format!("`{}`", printable(name, 100)),
                    "is allowed by a rule, but is not a consumer of this file",
                );
            }
        }
        Ok(())
    }
}
