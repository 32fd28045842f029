//! Kong's plugins: limits of consumers and groups, and what belongs in the policy.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::{ACL_PLUGIN, HARMLESS, KEY_AUTH, PLUGIN, SERVICE, SHUTS};
use super::{ReferencedNames, reference};
use crate::closing::plugin_closes;
use crate::fields::{Object, ObjectKind};
use crate::found::Found;
use crate::limits::{self, PluginConfig, ReadLimits};
use crate::node::Node;
use keystile_model::error::Result;

/// A plugin, and what it is in force for.
#[derive(Clone)]
pub struct Plugin<'n> {
    pub name: String,
    pub consumer: Option<ReferencedNames>,
    pub group: Option<ReferencedNames>,
    /// The service or route that it is narrowed to.
    pub at: Option<String>,
    pub place: String,
    /// Why it may shut out more than is known.
    pub closed: Option<String>,
    settings: Vec<&'n Node>,
    /// A shared configuration that it names but that the file does not contain.
    missing: Option<String>,
}

/// The context of a plugin.
#[derive(Clone, Default)]
pub struct Around {
    pub consumer: Option<ReferencedNames>,
    pub group: Option<ReferencedNames>,
    pub at: Option<String>,
}

/// Shared configurations, by name; several if files have one of the same name.
pub type Shared<'n> = BTreeMap<&'n str, Vec<&'n Node>>;

/// Reads plugins; disabled ones do nothing and are skipped.
pub fn read<'n>(
    nodes: &'n [Node],
    place: &str,
    around: &Around,
    shared: &Shared<'n>,
    found: &mut Found,
) -> Result<Vec<Plugin<'n>>> {
    let mut out = Vec::new();
    let nested = around.consumer.is_some() || around.group.is_some() || around.at.is_some();
    for (i, node) in nodes.iter().enumerate() {
        let mut place = match nested {
            true => place.to_owned(),
            false => format!("{place}[{i}]"),
        };
        let object = Object::open(node.see(), &PLUGIN, place.as_str(), found)?;
        let name = object.text("name")?.unwrap_or_default().to_owned();
        let mut closed = object.closed();
        let mut refer = |field: &str, found: &mut Found| match object.get(field) {
            Some(node) => reference(node, &object.place, &mut closed, found),
            None => Ok(None),
        };
        // A reference that cannot be read names nobody; such a plugin is not one for everybody.
        let nobody = object.get("consumer").map(|_| ReferencedNames::new());
        let consumer = refer("consumer", found)?
            .or(nobody)
            .or_else(|| around.consumer.clone());
        let group = refer("consumer_group", found)?.or_else(|| around.group.clone());
        let called = |names: ReferencedNames| names.last().cloned().unwrap_or_default();
        let service = refer("service", found)?.map(|s| format!("service `{}`", called(s)));
        let route = refer("route", found)?.map(|r| format!("route `{}`", called(r)));
        let own = object.get("config");
        let named = object.text("_config")?;
        let theirs = named.and_then(|name| shared.get(name));
        if theirs.is_some_and(|all| all.len() > 1) {
            let name = crate::printable(named.unwrap_or_default(), 60);
            closed.get_or_insert_with(|| format!("`_config: {name}` appears in several files"));
        }
        if object.flag("enabled")? == Some(false) {
            own.into_iter().for_each(Node::pass);
            continue;
        }
        let at = route.or(service);
        if let Some(at) = &at {
            place = format!("{place} at {at}");
        }
        out.push(Plugin {
            place,
            closed,
            missing: named.filter(|_| theirs.is_none()).map(str::to_owned),
            settings: own
                .into_iter()
                .chain(theirs.into_iter().flatten().copied())
                .collect(),
            at: at.or_else(|| around.at.clone()),
            consumer,
            group,
            name,
        });
    }
    Ok(out)
}

/// Plugins of services and routes, and of the routes in services.
pub fn services<'n>(
    nodes: &'n [Node],
    file: &str,
    shared: &Shared<'n>,
    out: &mut Vec<Plugin<'n>>,
    found: &mut Found,
) -> Result<()> {
    for node in nodes {
        let names = ["name", "id"].iter().find_map(|n| node.peek(n)?.text());
        let name = names.unwrap_or("without a name");
        let place = Object::at(file, node, format!("service or route `{name}`"));
        let object = Object::open(node.see(), &SERVICE, place, found)?;
        for field in ["name", "id"] {
            object.get(field);
        }
        if object.flag("enabled")? == Some(false) {
            found.leave(
                &object.place,
                "it is switched off: leave its routes out of the policy",
            );
        }
        let around = Around {
            at: Some(format!("service or route `{name}`")),
            ..Around::default()
        };
        out.extend(read(
            object.list("plugins")?,
            &object.place,
            &around,
            shared,
            found,
        )?);
        services(object.list("routes")?, file, shared, out, found)?;
    }
    Ok(())
}

impl<'n> Plugin<'n> {
    fn config(&self, kind: &'static ObjectKind, found: &mut Found) -> Result<PluginConfig<'n>> {
        if let Some(name) = &self.missing {
            let problem = format!("`_config: {name}` names no shared configuration of this file");
            found.leave(&self.place, problem);
        }
        PluginConfig::open(self.settings.iter().copied(), kind, &self.place, found)
    }

    /// Marks it as handled as a whole.
    pub fn pass(&self) {
        self.settings.iter().for_each(|n| n.pass());
    }

    /// Whether it shuts out or restricts in a way that a key cannot express.
    pub fn shuts(&self) -> bool {
        SHUTS.contains(&self.name.as_str())
    }

    /// Whether it may do so, because it is one that is not known.
    pub fn may_shut(&self) -> bool {
        let is_known = HARMLESS.contains(&self.name.as_str());
        !is_known && plugin_closes(&self.name, &self.settings)
    }

    /// The limits of a consumer's or a group's plugin. None if it sets none.
    pub fn limits(&self, found: &mut Found) -> Result<Option<ReadLimits>> {
        type Kongs = fn(&PluginConfig<'_>) -> ReadLimits;
        let (kind, read): (&'static ObjectKind, Kongs) = match self.name.as_str() {
            "rate-limiting" => (&limits::KONG, limits::kong),
            // A setting of a group in `db_export`, which names no plugin, is one of these.
            "rate-limiting-advanced" => (&limits::KONG_ADVANCED, limits::kong_advanced),
            _ => return Ok(None),
        };
        let config = self.config(kind, found)?;
        let mut read = read(&config);
        read.closed = config.closed();
        Ok(Some(read))
    }
}

/// What plugins of services and routes, and global ones, say about groups.
#[derive(Default)]
pub struct Gates {
    /// Groups that an `acl` denies, and where.
    pub denied: BTreeMap<String, String>,
    /// Whether that also applies to consumer groups, by the group's name.
    pub denied_groups: BTreeSet<String>,
    /// Consumer groups that an `acl` allows.
    pub allowed_groups: BTreeSet<String>,
    /// Why a group may be denied of which that cannot be read.
    pub unread: Option<String>,
}

impl Gates {
    /// Plugins that belong to no consumer: what routes require is in the policy.
    pub fn add(&mut self, plugin: &Plugin<'_>, found: &mut Found) -> Result<()> {
        let place = plugin.place.clone();
        match plugin.name.as_str() {
            "acl" => self.acl(plugin, &place, found)?,
            "key-auth" => key_auth(plugin, &place, found)?,
            "rate-limiting" | "rate-limiting-advanced" => {
                plugin.pass();
                found.leave(
                    &place,
                    "its limit: write it as `limit` of the routes in the policy",
                );
            }
            "request-termination" => {
                plugin.pass();
                found.leave(
                    &place,
                    "it refuses every request: leave these routes out of the policy",
                );
            }
            name => {
                plugin.pass();
                found.leave(
                    &place,
                    format!("plugin `{name}`: configure what it does in Envoy"),
                );
            }
        }
        Ok(())
    }

    fn acl(&mut self, plugin: &Plugin<'_>, place: &str, found: &mut Found) -> Result<()> {
        let config = plugin.config(&ACL_PLUGIN, found)?;
        let list = |[new, old]: [&str; 2]| -> (Vec<&str>, bool) {
            let (one, two) = (config.texts(new), config.texts(old));
            ([one.0, two.0].concat(), one.1 || two.1)
        };
        let (allow, _) = list(["allow", "whitelist"]);
        let (deny, unread) = list(["deny", "blacklist"]);
        if unread || plugin.missing.is_some() || config.closed().or(plugin.closed.clone()).is_some()
        {
            let why = "plugin `acl` denies what cannot be read";
            found.leave(place, format!("{why}: look at what it restricts"));
            self.unread = Some(format!("{why} ({place}), and it is in a group"));
        }
        let with_groups = config.flag("include_consumer_groups");
        if !allow.is_empty() {
            let words = allow.join(", ");
            found.leave(
                place,
                format!("plugin `acl` allows {words}: write these as `any_scope` of the routes in the policy"),
            );
        }
        if !deny.is_empty() {
            let words = deny.join(", ");
            found.leave(
                place,
                format!("plugin `acl` denies {words}: a policy cannot deny a scope, so clients in these groups are left out"),
            );
        }
        if allow.is_empty() && deny.is_empty() {
            found.leave(
                place,
                "plugin `acl` names no groups: look at what it restricts",
            );
        }
        for group in deny {
            self.denied.insert(group.to_owned(), place.to_owned());
            if with_groups {
                self.denied_groups.insert(group.to_owned());
            }
        }
        if with_groups {
            self.allowed_groups
                .extend(allow.iter().map(|g| (*g).to_owned()));
        }
        Ok(())
    }
}

fn key_auth(plugin: &Plugin<'_>, place: &str, found: &mut Found) -> Result<()> {
    let config = plugin.config(&KEY_AUTH, found)?;
    let names = match config.words("key_names") {
        names if names.is_empty() => "apikey".to_owned(),
        names => names.join(", "),
    };
    let off = |field: &str| config.get(field).and_then(Node::flag) == Some(false);
    let places = match (off("key_in_header"), off("key_in_query")) {
        (false, true) => " in a header",
        (true, false) => " in the query",
        _ => "",
    };
    found.leave(
        place,
        format!(
            "plugin `key-auth` reads {names}{places}: list these in `credentials` of the policy"
        ),
    );
    if let Some(anonymous) = config.text("anonymous").filter(|a| !a.is_empty()) {
        let anonymous = crate::printable(anonymous, 80);
        found.leave(
            place,
            format!("plugin `key-auth` lets callers without a key in as consumer `{anonymous}` (`anonymous`): here they are refused, unless the policy makes these routes public"),
        );
    }
    Ok(())
}
