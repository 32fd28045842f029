//! Kong's declarative configuration: consumers with key-auth credentials, ACL groups,
//! consumer groups, rate-limiting plugins. Credentials and plugins may stand in their
//! consumer or in lists of their own.

use std::collections::BTreeMap;

use keystile_core::policy::RawLimit;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Found, How, Plain, limits, parse};
use keystile_model::error::Result;
use keystile_model::rules;
use keystile_model::when;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    consumers: Vec<Consumer>,
    #[serde(default)]
    keyauth_credentials: Vec<Credential>,
    #[serde(default)]
    acls: Vec<Acl>,
    #[serde(default)]
    consumer_groups: Vec<Group>,
    /// Of `kong config db_export`: who is in which group.
    #[serde(default)]
    consumer_group_consumers: Vec<Membership>,
    #[serde(default)]
    consumer_group_plugins: Vec<Plugin>,
    #[serde(default)]
    plugins: Vec<Plugin>,
    #[serde(default)]
    services: Vec<Service>,
    #[serde(default)]
    routes: Vec<Service>,
}

#[derive(Default, Deserialize)]
struct Consumer {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    custom_id: Option<String>,
    #[serde(default)]
    keyauth_credentials: Vec<Credential>,
    #[serde(default)]
    acls: Vec<Acl>,
    #[serde(default)]
    groups: Vec<GroupName>,
    #[serde(default)]
    plugins: Vec<Plugin>,
    basicauth_credentials: Option<IgnoredAny>,
    hmacauth_credentials: Option<IgnoredAny>,
    jwt_secrets: Option<IgnoredAny>,
    oauth2_credentials: Option<IgnoredAny>,
    mtls_auth_credentials: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Credential {
    key: Plain,
    #[serde(default)]
    consumer: Option<Reference>,
    #[serde(default)]
    ttl: Option<u64>,
    #[serde(default)]
    created_at: Option<u64>,
}

#[derive(Deserialize)]
struct Acl {
    group: String,
    #[serde(default)]
    consumer: Option<Reference>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Name(String),
    Fields {
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        username: Option<String>,
        #[serde(default)]
        name: Option<String>,
    },
}

impl Reference {
    fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Fields { id, username, name } => username
                .as_deref()
                .or(name.as_deref())
                .or(id.as_deref())
                .unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum GroupName {
    Name(String),
    Fields { name: String },
}

#[derive(Deserialize)]
struct Membership {
    #[serde(default)]
    consumer: Option<Reference>,
    consumer_group: Reference,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    id: Option<String>,
    name: String,
    #[serde(default)]
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
struct Plugin {
    name: String,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    consumer: Option<Reference>,
    #[serde(default)]
    consumer_group: Option<Reference>,
    #[serde(default)]
    config: Value,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    plugins: Vec<Plugin>,
    #[serde(default)]
    routes: Vec<Service>,
}

pub fn read(name: &str, text: &str, how: &How, found: &mut Found) -> Result<()> {
    let mut file: File = parse(
        name,
        text,
        "what `deck gateway dump` or `kong config db_export` writes",
    )?;
    // Lists of their own are moved to the consumer that they name.
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for (i, c) in file.consumers.iter().enumerate() {
        for n in [&c.id, &c.username, &c.custom_id].into_iter().flatten() {
            by_name.entry(n.clone()).or_insert(i);
        }
    }
    let group_names: BTreeMap<String, String> = file
        .consumer_groups
        .iter()
        .filter_map(|g| Some((g.id.clone()?, g.name.clone())))
        .collect();
    let group_name = |r: &Reference| {
        let name = r.name();
        group_names
            .get(name)
            .map_or(name, String::as_str)
            .to_owned()
    };
    let mut group_plugins: BTreeMap<String, Vec<Plugin>> = BTreeMap::new();
    let owner = |reference: &Option<Reference>, place: &str, found: &mut Found| {
        let at = reference
            .as_ref()
            .and_then(|r| by_name.get(r.name()).copied());
        if at.is_none() {
            found.leave(place, "names no consumer of this file");
        }
        at
    };
    for (i, c) in file.keyauth_credentials.into_iter().enumerate() {
        let place = format!("{name}: keyauth_credentials[{i}]");
        if let Some(consumer) =
            owner(&c.consumer, &place, found).and_then(|i| file.consumers.get_mut(i))
        {
            consumer.keyauth_credentials.push(c);
        }
    }
    for (i, acl) in file.acls.into_iter().enumerate() {
        let place = format!("{name}: acls[{i}]");
        if let Some(consumer) =
            owner(&acl.consumer, &place, found).and_then(|i| file.consumers.get_mut(i))
        {
            consumer.acls.push(acl);
        }
    }
    for (i, m) in file.consumer_group_consumers.into_iter().enumerate() {
        let place = format!("{name}: consumer_group_consumers[{i}]");
        if let Some(consumer) =
            owner(&m.consumer, &place, found).and_then(|i| file.consumers.get_mut(i))
        {
            let group = GroupName::Name(group_name(&m.consumer_group));
            consumer.groups.push(group);
        }
    }
    let plugins = file.plugins.into_iter().chain(file.consumer_group_plugins);
    for (i, plugin) in plugins.enumerate() {
        let place = format!("{name}: plugins[{i}] `{}`", plugin.name);
        if let Some(group) = &plugin.consumer_group {
            group_plugins
                .entry(group_name(group))
                .or_default()
                .push(plugin);
        } else if plugin.consumer.is_some() {
            if let Some(consumer) =
                owner(&plugin.consumer, &place, found).and_then(|i| file.consumers.get_mut(i))
            {
                consumer.plugins.push(plugin);
            }
        } else {
            elsewhere(&plugin, &place, found);
        }
    }
    for group in file.consumer_groups {
        group_plugins
            .entry(group.name)
            .or_default()
            .extend(group.plugins);
    }
    for service in file.services.iter().chain(&file.routes) {
        of_service(service, name, found);
    }
    let mut plans: BTreeMap<String, String> = BTreeMap::new();
    for (group, plugins) in &group_plugins {
        let place = format!("{name}: consumer group `{group}`");
        let limits = of_plugins(plugins, &place, found);
        if !limits.is_empty() {
            plans.insert(group.clone(), found.plan(group, limits));
        }
    }
    for (i, consumer) in file.consumers.iter().enumerate() {
        of_consumer(consumer, i, name, how, &plans, found);
    }
    Ok(())
}

fn of_consumer(
    consumer: &Consumer,
    i: usize,
    file: &str,
    how: &How,
    plans: &BTreeMap<String, String>,
    found: &mut Found,
) {
    let known = [&consumer.username, &consumer.custom_id, &consumer.id];
    let Some(original) = known.into_iter().flatten().next() else {
        found.leave(&format!("{file}: consumers[{i}]"), "has no name");
        return;
    };
    let place = format!("{file}: consumer `{original}`");
    for (there, what) in [
        (consumer.basicauth_credentials.is_some(), "basic-auth"),
        (consumer.hmacauth_credentials.is_some(), "hmac-auth"),
        (consumer.jwt_secrets.is_some(), "jwt"),
        (consumer.oauth2_credentials.is_some(), "oauth2"),
        (consumer.mtls_auth_credentials.is_some(), "mtls-auth"),
    ] {
        if there {
            found.leave(
                &place,
                format!("{what} credentials: only API keys are carried over"),
            );
        }
    }
    let client = found.client(original);
    for group in &consumer.groups {
        let (GroupName::Name(group) | GroupName::Fields { name: group }) = group;
        match plans.get(group) {
            Some(plan) => found.put_on(&client, plan, &place),
            None => found.leave(
                &place,
                format!("group `{group}` has no limits, so it becomes no plan"),
            ),
        }
    }
    let limits = of_plugins(&consumer.plugins, &place, found);
    let scopes: Vec<String> = consumer
        .acls
        .iter()
        .filter_map(|a| found.scope(&a.group, &place))
        .collect();
    for (n, credential) in consumer.keyauth_credentials.iter().enumerate() {
        let place = format!("{place}, key {}", n + 1);
        let expires = match (credential.ttl, credential.created_at) {
            (None | Some(0), _) => String::new(),
            (Some(ttl), Some(created)) => when::rfc3339(created.saturating_add(ttl)),
            (Some(_), None) => {
                found.leave(
                    &place,
                    "has a `ttl` and no `created_at`, so its end is unknown; issue a new key",
                );
                continue;
            }
        };
        if let Some(key) = found.plain_key(&place, &client, credential.key.expose_secret(), how) {
            key.expires = expires;
            key.scopes.clone_from(&scopes);
            key.limits = limits.iter().map(rules::limit_word).collect();
        }
    }
}

/// The limits of consumers' and groups' plugins.
fn of_plugins(plugins: &[Plugin], place: &str, found: &mut Found) -> Vec<RawLimit> {
    let mut out: Vec<RawLimit> = Vec::new();
    for plugin in plugins {
        if plugin.enabled == Some(false) {
            continue;
        }
        let read = match plugin.name.as_str() {
            "rate-limiting" => limits::kong(&plugin.config),
            "rate-limiting-advanced" => limits::kong_advanced(&plugin.config),
            other => {
                found.leave(place, format!("plugin `{other}`"));
                continue;
            }
        };
        for lost in read.lost {
            found.leave(place, lost);
        }
        for limit in read.limits {
            if !out.iter().any(|l| l.per == limit.per && l.by == limit.by) {
                out.push(limit);
            }
        }
    }
    out
}

fn of_service(service: &Service, file: &str, found: &mut Found) {
    let name = service.name.as_deref().unwrap_or("without a name");
    let place = format!("{file}: service or route `{name}`");
    for plugin in &service.plugins {
        elsewhere(plugin, &place, found);
    }
    for route in &service.routes {
        of_service(route, file, found);
    }
}

/// Plugins that belong to no consumer: what routes ask for stands in the policy.
fn elsewhere(plugin: &Plugin, place: &str, found: &mut Found) {
    let words = |field: &str| -> String {
        let list = plugin.config.get(field).and_then(Value::as_array);
        let words: Vec<&str> = list
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        words.join(", ")
    };
    let problem = match plugin.name.as_str() {
        "acl" => format!(
            "plugin `acl` allows {}: write these as `any_scope` of the routes in the policy",
            words("allow")
        ),
        "key-auth" => format!(
            "plugin `key-auth` reads {}: list these in `credentials` of the policy",
            match words("key_names") {
                names if names.is_empty() => "apikey".to_owned(),
                names => names,
            }
        ),
        "rate-limiting" | "rate-limiting-advanced" => {
            format!(
                "plugin `{}`: write it as `limit` of the routes in the policy",
                plugin.name
            )
        }
        other => format!("plugin `{other}`"),
    };
    found.leave(place, problem);
}
