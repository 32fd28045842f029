//! Higress: the `key-auth` plugin, as a WasmPlugin or as its configuration alone, and the
//! consumers that its console lists.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Kind, Object};
use super::found::Found;
use super::node::{Document, Node};
use super::{How, printable};
use keystile_model::error::Result;

mod tables;

use tables::{ANSWER, CONFIG, CONSUMER, CREDENTIAL, RESOURCE, RULE, SPEC};

/// Every kind of object that this importer knows.
pub const KINDS: [&Kind; 7] = [
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
    off: bool,
}

#[derive(Default)]
struct World<'n> {
    consumers: Vec<Consumer<'n>>,
    /// Scopes of each consumer, by its name.
    scopes: BTreeMap<String, BTreeSet<String>>,
}

pub fn read(documents: &[Document], how: &How, found: &mut Found) -> Result<()> {
    let mut world = World::default();
    for document in documents {
        let root = &document.root;
        let is = |name: &str| root.peek(name).is_some();
        if let Some(items) = root.list() {
            world.list(document, items, false, found)?;
        } else if is("kind") {
            world.resource(document, root, found)?;
        } else if is("data") {
            let answer = Object::root(document, &ANSWER, found)?;
            world.list(document, answer.list("data")?, false, found)?;
        } else if is("spec") || is("defaultConfig") {
            let spec = root.peek("spec").unwrap_or(root);
            root.see();
            world.spec(document, spec, found)?;
        } else {
            world.config(document, root, false, &document.file, found)?;
        }
    }
    world.settle(how, found)
}

impl<'n> World<'n> {
    fn resource(
        &mut self,
        document: &'n Document,
        node: &'n Node,
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
            for field in ["kind", "metadata"] {
                list.get(field).into_iter().for_each(Node::pass);
            }
            for item in list.list("items")? {
                self.resource(document, item, found)?;
            }
            return Ok(());
        }
        if kind != "WasmPlugin" || !is_ours {
            node.pass();
            found.leave(&place, "only the plugin `key-auth` is carried over");
            return Ok(());
        }
        let object = Object::open(node.see(), &RESOURCE, place, found)?;
        for field in ["kind", "metadata"] {
            object.get(field).into_iter().for_each(Node::pass);
        }
        match object.get("spec") {
            Some(spec) => self.spec(document, spec, found),
            None => Ok(()),
        }
    }

    fn spec(&mut self, document: &'n Document, node: &'n Node, found: &mut Found) -> Result<()> {
        let place = document.file.as_str();
        let spec = Object::open(node.see(), &SPEC, place, found)?;
        let off = spec.flag("defaultConfigDisable")? == Some(true);
        for field in ["defaultConfig", "pluginConfig"] {
            if let Some(config) = spec.get(field) {
                self.config(document, config, off, place, found)?;
            }
        }
        self.rules(spec.list("matchRules")?, place, found)
    }

    fn config(
        &mut self,
        document: &'n Document,
        node: &'n Node,
        off: bool,
        place: &str,
        found: &mut Found,
    ) -> Result<()> {
        let config = Object::open(node.see(), &CONFIG, place, found)?;
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
                format!("keys stand in {keys}{places}: list these in `credentials` of the policy"),
            );
        }
        if config.flag("global_auth")? != Some(true) {
            found.leave(place, "without `global_auth: true`, routes without a rule ask for no key: here every route asks for one, unless the policy makes it public");
        }
        if let Some(allow) = config.get("allow") {
            let names = allow.words().unwrap_or_default();
            self.allow(&names, "allowed", place, found);
        }
        self.rules(config.list("_rules_")?, place, found)
    }

    fn rules(&mut self, nodes: &'n [Node], place: &str, found: &mut Found) -> Result<()> {
        for (i, node) in nodes.iter().enumerate() {
            let place = format!("{place}: rule {}", i + 1);
            let rule = Object::open(node.see(), &RULE, place.as_str(), found)?;
            let mut names = Vec::new();
            for field in [
                "domain",
                "ingress",
                "service",
                "_match_route_",
                "_match_domain_",
                "_match_service_",
            ] {
                names.extend(rule.words(field)?);
            }
            let off = rule.flag("configDisable")? == Some(true);
            let mut allow = rule.words("allow")?;
            if let Some(config) = rule.get("config") {
                let config = Object::open(config, &CONFIG, place.as_str(), found)?;
                allow.extend(config.words("allow")?);
            }
            if off {
                found.leave(&place, "is switched off: these routes ask for no key there");
                continue;
            }
            let scope = names
                .first()
                .map_or_else(|| format!("rule-{}", i + 1), |n| (*n).to_owned());
            let scope = scope.replace([' ', ',', '"', '\\'], "-");
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

    /// A list of clients that may call some routes, which get a scope that others do not have.
    fn allow(&mut self, names: &[&str], scope: &str, place: &str, found: &mut Found) {
        found.leave(
            place,
            format!(
                "allows some consumers: they get scope `{scope}`; ask for it there (`any_scope`)"
            ),
        );
        for name in names {
            let scopes = self.scopes.entry((*name).to_owned()).or_default();
            scopes.insert(scope.to_owned());
        }
    }

    fn list(
        &mut self,
        document: &'n Document,
        nodes: &'n [Node],
        off: bool,
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
            self.consumers.push(Consumer { name, object, off });
        }
        Ok(())
    }

    fn settle(&self, how: &How, found: &mut Found) -> Result<()> {
        for consumer in &self.consumers {
            let place = consumer.object.place.as_str();
            let client = found.client(consumer.name);
            if consumer.off {
                found.shut(
                    &client,
                    place,
                    "its configuration is switched off (`defaultConfigDisable`)",
                );
            }
            if let Some(problem) = consumer.object.closed() {
                found.shut(&client, place, problem);
            }
            let scopes: Vec<String> = self
                .scopes
                .get(consumer.name)
                .into_iter()
                .flatten()
                .filter_map(|s| found.scope(s, place))
                .collect();
            let mut keys: Vec<&str> = consumer.object.text("credential")?.into_iter().collect();
            if let Some(node) = consumer.object.get("credentials") {
                keys.extend(of_credentials(node, place, found)?);
            }
            if keys.is_empty() {
                found.leave(place, "has no key");
            }
            for (n, key) in keys.iter().enumerate() {
                let place = format!("{place}, key {}", n + 1);
                if let Some(line) = found.plain_key(&place, &client, key, how) {
                    line.scopes.clone_from(&scopes);
                }
            }
        }
        let known: BTreeSet<&str> = self.consumers.iter().map(|c| c.name).collect();
        for name in self.scopes.keys().filter(|n| !known.contains(n.as_str())) {
            found.leave(
                &format!("`{}`", printable(name, 100)),
                "is allowed by a rule, and is no consumer of this file",
            );
        }
        Ok(())
    }
}

/// Keys as texts, or as the console lists them.
fn of_credentials<'n>(node: &'n Node, place: &str, found: &mut Found) -> Result<Vec<&'n str>> {
    if let Some(words) = node.words() {
        return Ok(words);
    }
    let mut keys = Vec::new();
    for node in node.list().unwrap_or_default() {
        let credential = Object::open(node.see(), &CREDENTIAL, place, found)?;
        if let Some(problem) = credential.closed() {
            credential.node.pass();
            found.leave(place, problem);
            continue;
        }
        let kind = credential.text("type")?.unwrap_or("key-auth");
        let mut values = credential.words("values")?;
        values.extend(credential.words("value")?);
        let source = (credential.text("source")?, credential.text("key")?);
        if kind != "key-auth" {
            found.leave(
                place,
                format!(
                    "{} credentials: only API keys are carried over",
                    printable(kind, 40)
                ),
            );
            continue;
        }
        if let (Some(source), name) = source {
            let name = name.map(|n| format!(" `{n}`")).unwrap_or_default();
            found.leave(
                place,
                format!(
                    "its key stands in {source}{name}: list this in `credentials` of the policy"
                ),
            );
        }
        keys.extend(values);
    }
    Ok(keys)
}
