//! Consumers of APISIX, and their keys.

use super::labels::name_labels;
use super::plugins::{Plugins, may_be_off, pass_off};
use super::{Consumer, Expiry, Groups, Rules, World, tables};
use crate::fields::Object;
use crate::found::Found;
use crate::{How, moment, printable};
use keystile_core::key::Digest;
use keystile_model::error::Result;

impl<'n> World<'n> {
    pub(super) fn consumer(
        &self,
        consumer: &Consumer<'n>,
        groups: &Groups<'_>,
        how: &How,
        found: &mut Found,
    ) -> Result<Rules> {
        let (username, object) = (&consumer.name, &consumer.object);
        let place = &object.place;
        let client = found.client(username);
        name_labels(object, place, found);
        let group = object.text("group_id")?;
        let group = group.or_else(|| self.members.get(username).map(String::as_str));
        self.join(username, &client, group, groups, place, found);
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
        // A consumer's own plugin takes precedence over its group's.
        if plugins.cidrs.is_empty()
            && plugins.deny_cidrs.is_empty()
            && let Some((cidrs, deny)) = group.and_then(|g| groups.networks.get(g))
        {
            plugins.cidrs.clone_from(cidrs);
            plugins.deny_cidrs.clone_from(deny);
        }
        let mut keys: Vec<Key<'n>> = Vec::new();
        keys.extend(plugins.key.take().map(|auth| Key {
            label: String::new(),
            auth,
            expires: Expiry::Never,
        }));
        self.credentials_of(username, object, &client, &mut keys, found)?;
        for key in &mut keys {
            key.expires = key.expires.or(consumer.expires);
        }
        take(keys, &client, &plugins, place, how, found)?;
        Ok((plugins.cidrs, plugins.deny_cidrs, plugins.limits.words()))
    }

    /// Puts a client on the plan of its group, and keeps it out if that is shut out.
    fn join(
        &self,
        username: &str,
        client: &str,
        group: Option<&str>,
        groups: &Groups<'_>,
        place: &str,
        found: &mut Found,
    ) {
        if let Some(group) = group {
            match groups.plans.get(group) {
                Some(plan) => {
                    found.put_on(client, plan, place);
                }
                None => found.leave(
                    place,
                    format!("group `{group}` has no limits, so it becomes no plan"),
                ),
            }
            if !groups.networks.contains_key(group) {
                let problem = format!("its group `{group}` is not in the export");
                found.shut(client, place, problem);
            }
            if let Some(problem) = groups.shut.get(group) {
                found.shut(client, place, problem);
            }
            if let Some(at) = self.passing.get(group) {
                let problem = format!("its group `{group}` ({at}) is deleted by itself (`ttl`)");
                found.shut(client, place, problem);
            }
        }
        let at = self.denied.consumers.get(username);
        let by_group = group.and_then(|g| self.denied.groups.get(g));
        if let Some((at, problem)) = &self.denied.all {
            found.shut(client, at, problem.as_str());
        }
        if let Some(at) = at.or(by_group) {
            let problem = format!("`consumer-restriction` denies it ({at}); give it keys by hand");
            found.shut(client, place, problem);
        }
    }

    /// Credentials that stand apart from their consumer, and those in it.
    fn credentials_of(
        &self,
        username: &str,
        object: &Object<'n>,
        client: &str,
        keys: &mut Vec<Key<'n>>,
        found: &mut Found,
    ) -> Result<()> {
        let theirs = self.credentials.iter();
        for one in theirs.filter(|c| c.owner == username) {
            let auth = of_credential(&one.object, &one.label, client, found)?;
            keys.extend(auth.map(|auth| Key {
                label: one.label.clone(),
                auth,
                expires: one.expires,
            }));
        }
        for node in object.list("credentials")? {
            let credential =
                Object::open(node.see(), &tables::OBJECT, object.place.as_str(), found)?;
            let label = credential.text("name")?.or(credential.text("id")?);
            let label = label.unwrap_or_default().to_owned();
            let auth = of_credential(&credential, &label, client, found)?;
            keys.extend(auth.map(|auth| Key {
                label,
                auth,
                expires: Expiry::Never,
            }));
        }
        Ok(())
    }
}

/// A key of a consumer.
struct Key<'n> {
    label: String,
    auth: Object<'n>,
    expires: Expiry,
}

impl Expiry {
    /// The earlier of two.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unsaid, _) | (_, Self::Unsaid) => Self::Unsaid,
            (Self::At(one), Self::At(other)) => Self::At(one.min(other)),
            (Self::Never, end) | (end, Self::Never) => end,
        }
    }
}

/// Takes the keys of a consumer, with what its plugins say of all of them.
fn take<'n>(
    keys: Vec<Key<'n>>,
    client: &str,
    plugins: &Plugins<'_>,
    place: &str,
    how: &How,
    found: &mut Found,
) -> Result<()> {
    for (
        n,
        Key {
            label,
            auth,
            expires,
        },
    ) in keys.into_iter().enumerate()
    {
        let place = format!("{place}, key {}", n + 1);
        let Some(secret) = auth.text("key")? else {
            found.leave(&place, "key-auth without a key");
            continue;
        };
        if matches!(expires, Expiry::Unsaid) {
            found.leave(
                &place,
                "is deleted after a time (`ttl`) from a moment that the export does not hold; issue a new key",
            );
            found.dead(&place, Digest::of_foreign(secret.as_bytes()));
            continue;
        }
        let off = may_be_off(auth.node);
        if let Some(key) = found.plain_key(&place, client, secret, how) {
            key.name = label;
            key.disabled = off;
            key.limits = plugins.limits.words();
            key.cidrs.clone_from(&plugins.cidrs);
            key.deny_cidrs.clone_from(&plugins.deny_cidrs);
            if let Expiry::At(at) = expires {
                key.expires = moment::line(at);
            }
        }
    }
    Ok(())
}

/// The key of a credential. Its other settings cannot be expressed for one key, so they are applied
/// to the client.
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
    name_labels(credential, &place, found);
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
