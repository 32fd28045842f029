//! A consumer of Kong: a client, its plan, and its keys.

use std::collections::{BTreeMap, BTreeSet};

use super::plugins::{Gates, Plugin};
use super::repeated_key::RepeatedKeys;
use super::{ReferencedNames, UNREAD_GROUP, reference, tables};
use crate::fields::Object;
use crate::found::Found;
use crate::limits::ReadLimits;
use crate::node::Node;
use crate::{How, moment, printable};
use keystile_model::error::Result;

/// The longest `ttl` in Kong; a larger number is a point in time, as `db_export` writes it.
const LONGEST_TTL: u64 = 100_000_000;

/// A consumer, with what other lists hold for it.
pub struct Consumer<'n> {
    pub object: Object<'n>,
    pub original: String,
    pub credentials: Vec<Object<'n>>,
    scopes: Vec<String>,
    /// References to groups.
    pub in_groups: Vec<ReferencedNames>,
    /// Their names.
    pub groups: BTreeSet<String>,
    pub workspace: Option<String>,
    pub plugins: Vec<Plugin<'n>>,
    /// Why it is left out, if one of its groups or references to it says so.
    pub closed: Option<String>,
}

impl<'n> Consumer<'n> {
    /// Reads what is in the consumer itself, except its plugins.
    pub fn read(original: &str, object: Object<'n>, found: &mut Found) -> Result<Self> {
        let mut person = Self {
            original: original.to_owned(),
            credentials: Vec::new(),
            scopes: Vec::new(),
            in_groups: Vec::new(),
            groups: BTreeSet::new(),
            workspace: None,
            plugins: Vec::new(),
            closed: object.closed(),
            object,
        };
        person.own(found)?;
        Ok(person)
    }

    fn own(&mut self, found: &mut Found) -> Result<()> {
        let place = self.object.place.clone();
        for (n, node) in self.object.list("keyauth_credentials")?.iter().enumerate() {
            let place = format!("{place}, key {}", n + 1);
            let object = Object::open(node.see(), &tables::CREDENTIAL, place, found)?;
            object.get("consumer").into_iter().for_each(Node::pass);
            self.credentials.push(object);
        }
        for node in self.object.list("acls")? {
            let object = Object::open(node.see(), &tables::ACL, place.as_str(), found)?;
            object.get("consumer").into_iter().for_each(Node::pass);
            self.acl(&object)?;
        }
        if let Some(groups) = self.object.get("groups") {
            // A single one may be without a list.
            for node in groups.list().unwrap_or(std::slice::from_ref(groups)) {
                match reference(node, &place, &mut self.closed, found)? {
                    Some(group) => self.in_groups.push(group),
                    None => self.close(Some(UNREAD_GROUP.to_owned())),
                }
            }
        }
        let kind = self.object.text("type")?.unwrap_or_default();
        if matches!(kind.to_ascii_lowercase().as_str(), "2" | "admin") {
            self.close(Some("it is an administrator of Kong (`type`)".to_owned()));
        }
        Ok(())
    }

    /// Adds a scope to its keys.
    pub fn scope(&mut self, scope: String) {
        self.scopes.push(scope);
    }

    pub fn acl(&mut self, object: &Object<'n>) -> Result<()> {
        self.scopes.extend(object.text("group")?.map(str::to_owned));
        self.close(object.closed());
        Ok(())
    }

    /// Leaves it out, if there is a reason.
    pub fn close(&mut self, why: Option<String>) {
        self.closed = self.closed.take().or(why);
    }

    /// What messages call its `n`th credential.
    pub fn key_place(&self, n: usize) -> String {
        format!("{}, key {}", self.object.place, n.saturating_add(1))
    }

    pub fn shut(&self, why: &str, found: &mut Found) {
        let client = crate::found::client_name(&self.original);
        found.shut(&client, &self.object.place, why);
    }

    pub fn settle(
        &self,
        gates: &Gates,
        plans: &BTreeMap<&str, String>,
        shut: &BTreeMap<&str, String>,
        (every, how): (&RepeatedKeys<'_>, &How),
        found: &mut Found,
    ) -> Result<()> {
        let place = &self.object.place;
        let client = found.client(&self.original);
        let custom = self
            .object
            .text("custom_id")?
            .filter(|c| *c != self.original);
        if let (Some(custom), Some(line)) = (custom, found.clients.get_mut(&client)) {
            let custom = printable(custom, 100);
            line.description
                .push_str(&format!(", custom_id `{custom}`"));
        }
        let (mut limits, closed) = of_plugins(&self.plugins, place, found)?;
        limits.report(place, found);
        let in_group = !self.scopes.is_empty() || !self.groups.is_empty();
        let unread = gates.unread.as_ref().filter(|_| in_group);
        let all = [closed.as_ref(), self.closed.as_ref(), unread];
        if let Some(closed) = all.into_iter().flatten().next() {
            found.shut(&client, place, closed);
        }
        for group in &self.groups {
            if let Some(closed) = shut.get(group.as_str()) {
                found.shut(&client, place, format!("group `{group}`: {closed}"));
            }
        }
        let denied = self.scopes.iter().find(|g| gates.denied.contains_key(*g));
        let denied = denied.or_else(|| {
            self.groups
                .iter()
                .find(|g| gates.denied_groups.contains(*g))
        });
        if let Some(group) = denied {
            let at = gates.denied.get(group).map_or("", String::as_str);
            found.shut(
                &client,
                place,
                format!("it is in group `{group}`, which is denied ({at}); give it keys by hand"),
            );
        }
        let more = self.plans(&client, &limits, plans, gates, found);
        limits.join(more);
        self.keys(&client, &limits, gates, (every, how), found)
    }

    /// A consumer's own limits come before those of its groups. A client has one plan: the limits of
    /// other groups become limits of its keys.
    fn plans(
        &self,
        client: &str,
        limits: &ReadLimits,
        plans: &BTreeMap<&str, String>,
        gates: &Gates,
        found: &mut Found,
    ) -> ReadLimits {
        let place = &self.object.place;
        let mut more = ReadLimits::default();
        if limits.month.is_some()
            && let Some(plan) = limits.plan()
        {
            let plan = found.plan(&format!("{client}-own"), plan, place);
            found.put_on(client, &plan, place);
        }
        for group in &self.groups {
            match plans.get(group.as_str()) {
                Some(plan) if found.put_on(client, plan, place) => {}
                Some(plan) => {
                    let plan = found.plans.get(plan);
                    more.limits
                        .extend(plan.into_iter().flat_map(|p| p.limits.clone()));
                }
                None if gates.allowed_groups.contains(group) => {}
                None => found.leave(
                    place,
                    format!("group `{group}` has no limits, so it becomes no plan"),
                ),
            }
        }
        more
    }

    fn keys(
        &self,
        client: &str,
        limits: &ReadLimits,
        gates: &Gates,
        (every, how): (&RepeatedKeys<'_>, &How),
        found: &mut Found,
    ) -> Result<()> {
        let groups = self
            .groups
            .iter()
            .filter(|g| gates.allowed_groups.contains(*g));
        let all: BTreeSet<&String> = self.scopes.iter().chain(groups).collect();
        let scopes: Vec<String> = all
            .into_iter()
            .filter_map(|s| found.scope(s, &self.object.place))
            .collect();
        for (n, credential) in self.credentials.iter().enumerate() {
            let place = self.key_place(n);
            if expires(credential, &place, found)?.is_none() {
                continue;
            }
            if let Some(closed) = credential.closed() {
                credential.node.pass();
                found.leave(&place, closed);
                continue;
            }
            let Some(key) = credential.text("key")? else {
                found.leave(&place, "a credential without a key");
                continue;
            };
            let expires = match every.get(key).map(|all| (all.out(), &all.expires)) {
                Some((Some(out), _)) => {
                    found.leave(&place, out);
                    continue;
                }
                expires => expires
                    .map(|(_, expires)| expires.clone())
                    .unwrap_or_default(),
            };
            if let Some(key) = found.plain_key(&place, client, key, how) {
                key.expires = expires;
                key.scopes.clone_from(&scopes);
                key.limits = limits.words();
            }
        }
        Ok(())
    }
}

/// When a credential expires; empty if never. None if that is not known, in which case it is left
/// out.
pub fn expires(credential: &Object<'_>, place: &str, found: &mut Found) -> Result<Option<String>> {
    let (ttl, created) = (credential.get("ttl"), credential.get("created_at"));
    credential.text("key")?;
    let (ttl, created) = (ttl.map(moment::of), created.and_then(moment::of));
    Ok(match (ttl, created) {
        (None | Some(Some(0)), _) => Some(String::new()),
        (Some(Some(moment)), _) if moment > LONGEST_TTL => Some(moment::line(moment)),
        (Some(Some(ttl)), Some(created)) => Some(moment::line(created.saturating_add(ttl))),
        (Some(Some(_)), None) => {
            found.leave(
                place,
                "has a `ttl` and no `created_at`, so its end is unknown; issue a new key",
            );
            None
        }
        (Some(None), _) => {
            found.leave(
                place,
                "has a `ttl` that is not a number of seconds; issue a new key",
            );
            None
        }
    })
}

/// The limits of a consumer's or a group's plugins, and what shuts it out.
pub fn of_plugins(
    plugins: &[Plugin<'_>],
    place: &str,
    found: &mut Found,
) -> Result<(ReadLimits, Option<String>)> {
    let mut out = ReadLimits::default();
    let mut shut = None;
    let mut limiting = Vec::new();
    for plugin in plugins {
        let name = &plugin.name;
        if let Some(closed) = &plugin.closed {
            shut.get_or_insert_with(|| format!("plugin `{name}`: {closed}"));
        }
        if plugin.shuts() || plugin.may_shut() {
            plugin.pass();
            let at = plugin
                .at
                .as_ref()
                .map(|at| format!(" at {at}"))
                .unwrap_or_default();
            shut.get_or_insert_with(|| {
                let verb = if plugin.shuts() {
                    "restricts"
                } else {
                    "may restrict"
                };
                format!("plugin `{name}`{at} {verb} it; give it keys by hand")
            });
        } else if let Some(at) = &plugin.at {
            plugin.pass();
            found.leave(
                place,
                format!("plugin `{name}` for {at} alone: write its limit as `limit` of these routes in the policy"),
            );
        } else if plugin.consumer.is_some() && plugin.group.is_some() {
            plugin.pass();
            found.leave(
                place,
                format!("plugin `{name}` for a consumer in one group alone"),
            );
        } else if let Some(read) = plugin.limits(found)? {
            if read.shut {
                shut.get_or_insert_with(|| format!("plugin `{name}` has a limit of 0"));
            }
            if let Some(closed) = &read.closed {
                shut.get_or_insert_with(|| format!("plugin `{name}`: {closed}"));
            }
            limiting.push(format!("`{name}`"));
            out.join(read);
        } else {
            plugin.pass();
            found.leave(place, format!("plugin `{name}`"));
        }
    }
    if limiting.len() > 1 {
        let names = limiting.join(" and ");
        found.note(
            place,
            format!("plugins {names}: of two limits for one period, the stricter counts"),
        );
    }
    Ok((out, shut))
}
