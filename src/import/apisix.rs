//! Apache APISIX: `apisix.yaml` of the standalone mode, ADC's files, or what the Admin API
//! lists of consumers, credentials and consumer groups.

use std::collections::BTreeMap;

use keystile_core::policy::RawLimit;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Found, How, Plain, limits, parse};
use keystile_model::error::Result;
use keystile_model::rules;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    consumers: Vec<Object>,
    #[serde(default)]
    consumer_groups: Vec<Object>,
    /// Of the Admin API.
    #[serde(default)]
    list: Vec<Listed>,
    routes: Option<IgnoredAny>,
    services: Option<IgnoredAny>,
    global_rules: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Listed {
    key: String,
    value: Object,
}

/// A consumer, a credential or a consumer group.
#[derive(Default, Deserialize)]
struct Object {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    group_id: Option<String>,
    #[serde(default)]
    plugins: Plugins,
    /// ADC's form.
    #[serde(default)]
    credentials: Vec<Object>,
    /// ADC's form of a credential.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    config: Option<KeyAuth>,
}

#[derive(Default, Deserialize)]
struct Plugins {
    #[serde(default, rename = "key-auth")]
    key_auth: Option<KeyAuth>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct KeyAuth {
    #[serde(default)]
    key: Option<Plain>,
}

pub fn read(name: &str, text: &str, how: &How, found: &mut Found) -> Result<()> {
    let file: File = parse(name, text, "apisix.yaml, or what the Admin API lists")?;
    for (there, what) in [
        (file.routes.is_some(), "routes"),
        (file.services.is_some(), "services"),
        (file.global_rules.is_some(), "global_rules"),
    ] {
        if there {
            found.leave(
                &format!("{name}: {what}"),
                "what routes ask for stands in the policy; write it there",
            );
        }
    }
    let mut groups = file.consumer_groups;
    let mut consumers: Vec<Object> = Vec::new();
    let mut credentials: Vec<(String, Object)> = Vec::new();
    let listed = file.list.into_iter().map(|l| (l.key, l.value));
    let own = file.consumers.into_iter().map(|mut o| {
        let id = o
            .username
            .clone()
            .or_else(|| o.id.take())
            .unwrap_or_default();
        (format!("/consumers/{id}"), o)
    });
    for (key, mut object) in listed.chain(own) {
        let path: Vec<&str> = key.trim_matches('/').split('/').collect();
        match path
            .iter()
            .rev()
            .take(4)
            .copied()
            .collect::<Vec<_>>()
            .as_slice()
        {
            [id, "credentials", owner, ..] => {
                object.name.get_or_insert_with(|| (*id).to_owned());
                credentials.push(((*owner).to_owned(), object));
            }
            [id, "consumer_groups", ..] => {
                object.id.get_or_insert_with(|| (*id).to_owned());
                groups.push(object);
            }
            [id, "consumers", ..] if !id.is_empty() => {
                object.username.get_or_insert_with(|| (*id).to_owned());
                consumers.push(object);
            }
            _ => found.leave(
                &format!("{name}: `{key}`"),
                "is no consumer, credential or consumer group",
            ),
        }
    }
    let mut plans: BTreeMap<String, String> = BTreeMap::new();
    for group in &groups {
        let Some(id) = group.id.as_ref().or(group.name.as_ref()) else {
            continue;
        };
        let place = format!("{name}: consumer group `{id}`");
        let limits = of_plugins(&group.plugins, &place, found);
        if !limits.is_empty() {
            plans.insert(id.clone(), found.plan(id, limits));
        }
    }
    for consumer in &consumers {
        let Some(username) = &consumer.username else {
            continue;
        };
        let place = format!("{name}: consumer `{username}`");
        let client = found.client(username);
        if let Some(group) = &consumer.group_id {
            match plans.get(group) {
                Some(plan) => found.put_on(&client, plan, &place),
                None => found.leave(
                    &place,
                    format!("group `{group}` has no limits, so it becomes no plan"),
                ),
            }
        }
        let limits = of_plugins(&consumer.plugins, &place, found);
        let own = consumer
            .plugins
            .key_auth
            .as_ref()
            .map(|k| (k, String::new()));
        let theirs = credentials
            .iter()
            .filter(|(owner, _)| owner == username)
            .map(|(_, c)| c)
            .chain(&consumer.credentials)
            .filter_map(|c| {
                let key = c.plugins.key_auth.as_ref().or_else(|| {
                    c.config
                        .as_ref()
                        .filter(|_| c.kind.as_deref() == Some("key-auth"))
                });
                let label = c.name.clone().or_else(|| c.id.clone()).unwrap_or_default();
                if key.is_none() {
                    found.leave(
                        &format!("{place}, credential `{label}`"),
                        "only key-auth credentials are carried over",
                    );
                }
                Some((key?, label))
            })
            .collect::<Vec<_>>();
        for (n, (auth, label)) in own.into_iter().chain(theirs).enumerate() {
            let place = format!("{place}, key {}", n + 1);
            let Some(secret) = &auth.key else {
                found.leave(&place, "key-auth without a key");
                continue;
            };
            if let Some(key) = found.plain_key(&place, &client, secret.expose_secret(), how) {
                key.name = label;
                key.limits = limits.iter().map(rules::limit_word).collect();
            }
        }
    }
    for (owner, credential) in &credentials {
        if !consumers.iter().any(|c| c.username.as_ref() == Some(owner)) {
            let label = credential.name.as_deref().unwrap_or_default();
            found.leave(
                &format!("{name}: credential `{label}`"),
                format!("its consumer `{owner}` is not in this file"),
            );
        }
    }
    Ok(())
}

fn of_plugins(plugins: &Plugins, place: &str, found: &mut Found) -> Vec<RawLimit> {
    let mut out: Vec<RawLimit> = Vec::new();
    for (name, config) in &plugins.others {
        let read = match name.as_str() {
            "limit-count" => limits::apisix_count(config),
            "limit-req" => limits::apisix_req(config),
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
