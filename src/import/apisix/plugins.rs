//! Plugins of APISIX's consumers, credentials and consumer groups.

use super::tables;
use crate::closing::plugin_closes;
use crate::fields::Object;
use crate::found::Found;
use crate::limits::{self, PluginConfig, ReadLimits};
use crate::node::{Data, Node};
use crate::printable;
use keystile_model::error::Result;
use keystile_model::rules;

/// The settings of the plugins of a consumer, a credential or a group.
#[derive(Default)]
pub struct Plugins<'n> {
    pub key: Option<Object<'n>>,
    pub limits: ReadLimits,
    pub cidrs: Vec<String>,
    pub deny_cidrs: Vec<String>,
    shut: Option<String>,
}

impl<'n> Plugins<'n> {
    pub fn read(object: &Object<'n>, found: &mut Found) -> Result<Self> {
        let mut out = Self {
            shut: object.closed(),
            ..Self::default()
        };
        for status in object.all("status") {
            status.pass();
            if status.number() != Some(1) {
                out.shut = Some("it is switched off (`status`)".to_owned());
            }
        }
        let place = &object.place;
        for (name, node) in object.entries("plugins")? {
            match name {
                "key-auth" => {
                    let key = Object::open(node.see(), &tables::KEY_AUTH, place.as_str(), found)?;
                    pass_off(&key);
                    out.shut = out.shut.take().or_else(|| key.closed());
                    out.key = Some(key);
                }
                // A disabled plugin does nothing.
                _ if is_off(node) => node.pass(),
                "limit-count" => {
                    let config =
                        PluginConfig::open([node.see()], &limits::APISIX_COUNT, place, found)?;
                    config.pass_off();
                    out.shut = out.shut.take().or_else(|| config.closed());
                    out.limits.join(limits::apisix_count(&config));
                }
                "limit-req" => {
                    let config =
                        PluginConfig::open([node.see()], &limits::APISIX_REQ, place, found)?;
                    config.pass_off();
                    out.shut = out.shut.take().or_else(|| config.closed());
                    out.limits.join(limits::apisix_req(&config));
                }
                "ip-restriction" => out.networks(node, place, found)?,
                name if tables::SHUTS.contains(&name) => {
                    node.pass();
                    out.shut = Some(format!(
                        "plugin `{name}` restricts it; give it keys by hand"
                    ));
                }
                name => {
                    node.pass();
                    if !tables::HARMLESS.contains(&name) && plugin_closes(name, &[node]) {
                        out.shut = Some(format!(
                            "plugin `{}` may restrict it; give it keys by hand",
                            printable(name, 60)
                        ));
                    }
                    found.leave(place, format!("plugin `{}`", printable(name, 60)));
                }
            }
        }
        Ok(out)
    }

    fn networks(&mut self, node: &'n Node, place: &str, found: &mut Found) -> Result<()> {
        let object = Object::open(node.see(), &tables::IP_RESTRICTION, place, found)?;
        pass_off(&object);
        self.shut = self.shut.take().or_else(|| object.closed());
        for (field, into) in [
            ("whitelist", &mut self.cidrs),
            ("blacklist", &mut self.deny_cidrs),
        ] {
            let words = object.words(field)?;
            if object.get(field).is_some() && words.is_empty() {
                self.shut = Some(format!("`ip-restriction` with an empty `{field}`"));
            }
            for word in words {
                match rules::cidr(word) {
                    Ok(range) => into.push(range.to_string()),
                    Err(_) => {
                        let word = printable(word, 60);
                        self.shut = Some(format!(
                            "`ip-restriction`: `{word}` is not a range such as 10.0.0.0/8"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Why its consumers must be left out, if they must.
    pub fn closed(&self) -> Option<String> {
        let zero = self.limits.shut.then(|| "it has a limit of 0".to_owned());
        let unknown = || self.limits.closed.clone();
        self.shut.clone().or(zero).or_else(unknown)
    }
}

impl PluginConfig<'_> {
    fn pass_off(&self) {
        for field in ["_meta", "disable"] {
            self.get(field).into_iter().for_each(Node::pass);
        }
    }
}

pub fn pass_off(object: &Object<'_>) {
    for field in ["_meta", "disable"] {
        object.get(field).into_iter().for_each(Node::pass);
    }
}

/// Whether a plugin that closes is switched off: nothing but `_meta` does that, and nothing but a
/// clear yes.
pub fn is_off(settings: &Node) -> bool {
    let off = settings.peek("_meta").and_then(|meta| meta.peek("disable"));
    off.is_some_and(|off| matches!(off.data, Data::Bool(true)))
}

/// Whether the key of `key-auth` may be switched off, as either field may say it.
pub fn may_be_off(settings: &Node) -> bool {
    let said = |node: Option<&Node>| node.is_some_and(|n| n.flag() != Some(false));
    said(settings.peek("disable")) || said(settings.peek("_meta").and_then(|m| m.peek("disable")))
}
