//! What APISIX's routes, services and global rules say about consumers. They belong in the policy,
//! but a consumer that is denied there must not be let in here.

use std::collections::BTreeMap;

use super::plugins::{is_off, pass_off};
use super::tables;
use crate::fields::Object;
use crate::found::Found;
use crate::node::{Data, Node};
use crate::printable;
use keystile_model::error::Result;

/// Consumers and groups that are denied somewhere, and where.
#[derive(Default)]
pub struct Denied {
    pub consumers: BTreeMap<String, String>,
    pub groups: BTreeMap<String, String>,
    /// Where something stands that may deny any of them, and what.
    pub all: Option<(String, String)>,
}

impl Denied {
    /// Keeps all consumers out if a field closes what they stand in.
    pub fn shut(&mut self, around: &Object<'_>) {
        if let Some(problem) = around.closed() {
            self.all.get_or_insert((around.place.clone(), problem));
        }
    }

    /// Searches everything in a list of routes or services.
    pub fn look(&mut self, node: &Node, place: &str, found: &mut Found) -> Result<()> {
        match &node.see().data {
            Data::List(items) => {
                for item in items {
                    self.look(item, place, found)?;
                }
            }
            Data::Map(pairs) => {
                for (name, value) in pairs {
                    match name.as_str() {
                        "consumer-restriction" if !is_off(value) => {
                            self.restriction(value, place, found)?;
                        }
                        "key-auth" => {
                            if let Some(name) = value.peek("anonymous_consumer") {
                                let name = printable(name.text().unwrap_or_default(), 80);
                                found.leave(
                                    place,
                                    format!("plugin `key-auth` lets callers without a key in as consumer `{name}`: here they are refused, unless the policy makes these routes public"),
                                );
                            }
                            value.pass();
                        }
                        _ => self.look(value, place, found)?,
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn restriction(&mut self, node: &Node, place: &str, found: &mut Found) -> Result<()> {
        let object = Object::open(node.see(), &tables::RESTRICTION, place, found)?;
        pass_off(&object);
        if let Some(problem) = object.closed() {
            let problem = format!("`consumer-restriction`: {problem}");
            self.all.get_or_insert((place.to_owned(), problem));
        }
        let kind = object.text("type")?.unwrap_or("consumer_name");
        let into = match kind {
            "consumer_name" => &mut self.consumers,
            "consumer_group_id" => &mut self.groups,
            _ => {
                node.pass();
                found.leave(place, "plugin `consumer-restriction` by routes or services");
                return Ok(());
            }
        };
        for name in object.words("blacklist")? {
            into.insert(name.to_owned(), place.to_owned());
        }
        let allowed = object.words("whitelist")?;
        let by_method = object.get("allowed_by_methods");
        by_method.into_iter().for_each(Node::pass);
        if !allowed.is_empty() || by_method.is_some() {
            let allowed = printable(&allowed.join(", "), 200);
            found.leave(
                place,
                format!("plugin `consumer-restriction` allows some consumers alone ({allowed}): give their keys a scope, and ask for it there (`any_scope`)"),
            );
        }
        Ok(())
    }
}
