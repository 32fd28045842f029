//! Changes that do not belong to a route.

use std::collections::BTreeSet;

use keystile_core::policy::{
    BasicPart, ClientCertificates, Credential, ExposedKeys, Mode, Plan, Policy, Preflight,
    QuotaPeriod, RawQuota, RollOver,
};
use serde::Serialize;

use super::effect::Effect;
use crate::file::PolicyFile;
use keystile_model::record::limit_words;

/// A change on every route that checks keys.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Everywhere {
    /// The field of the policy.
    pub field: String,
    /// What it does.
    pub effect: Effect,
    /// The change in words.
    pub change: String,
}

/// All of them, in the order of the policy's fields.
pub fn compare(a: &PolicyFile, b: &PolicyFile) -> Vec<Everywhere> {
    let mut out = Vec::new();
    let mut add = |field: &str, effect: Effect, change: String| {
        out.push(Everywhere {
            field: field.to_owned(),
            effect,
            change,
        });
    };
    let (p, q) = (&a.policy, &b.policy);
    basics(p, q, &mut add);
    credentials(p, q, &mut add);
    surroundings(p, q, &mut add);
    bounds(p, q, &mut add);
    plans(p, q, &mut add);
    out
}

/// Which keys are valid at all, and whether refusals are carried out.
fn basics(p: &Policy, q: &Policy, add: &mut impl FnMut(&str, Effect, String)) {
    if p.realm != q.realm {
        add(
            "realm",
            Effect::Alters,
            format!("401 replies name `{}` instead of `{}`", q.realm, p.realm),
        );
    }
    if p.brand != q.brand {
        add(
            "brand",
            Effect::Moves,
            format!(
                "keys that begin with `{}_` are valid, keys that begin with `{}_` no longer are",
                q.brand, p.brand
            ),
        );
    }
    match (p.mode, q.mode) {
        (Mode::Enforce, Mode::Shadow) => add(
            "mode",
            Effect::Opens,
            "refusals are only counted: every request passes".to_owned(),
        ),
        (Mode::Shadow, Mode::Enforce) => add(
            "mode",
            Effect::Closes,
            "requests are refused, where every request passed before".to_owned(),
        ),
        _ => {}
    }
    match (p.require_tls, q.require_tls) {
        (false, true) => add(
            "require_tls",
            Effect::Closes,
            "plain HTTP is refused wherever a key is checked".to_owned(),
        ),
        (true, false) => add(
            "require_tls",
            Effect::Opens,
            "plain HTTP is allowed wherever a key is checked".to_owned(),
        ),
        _ => {}
    }
}

/// Where keys are sent, who sees them, and which environments they belong to.
fn credentials(p: &Policy, q: &Policy, add: &mut impl FnMut(&str, Effect, String)) {
    sets(
        add,
        "credentials",
        &words(&p.credentials, credential),
        &words(&q.credentials, credential),
        ("keys are also looked for in", "keys are not looked for in"),
    );
    if words(&p.credentials, credential) == words(&q.credentials, credential)
        && p.credentials != q.credentials
    {
        add(
            "credentials",
            Effect::Alters,
            "places are tried in a different order".to_owned(),
        );
    }
    if p.forward_credential != q.forward_credential {
        let change = match q.forward_credential {
            true => "the upstream sees the keys",
            false => "the upstream does not see the keys",
        };
        add("forward_credential", Effect::Alters, change.to_owned());
    }
    sets(
        add,
        "environments",
        &words(&p.environments, |e| format!("`{e}`")),
        &words(&q.environments, |e| format!("`{e}`")),
        ("keys are now accepted in", "keys are no longer accepted in"),
    );
}

/// What requests meet beside their keys, and what upstreams and callers are told.
fn surroundings(p: &Policy, q: &Policy, add: &mut impl FnMut(&str, Effect, String)) {
    match (p.preflight, q.preflight) {
        (Preflight::Deny, Preflight::Allow) => add(
            "preflight",
            Effect::Opens,
            "CORS preflights pass without a key".to_owned(),
        ),
        (Preflight::Allow, Preflight::Deny) => add(
            "preflight",
            Effect::Closes,
            "CORS preflights are treated like any other request".to_owned(),
        ),
        _ => {}
    }
    match (p.client_certificates, q.client_certificates) {
        (ClientCertificates::Validated, ClientCertificates::Presented) => add(
            "client_certificates",
            Effect::Opens,
            "keys bound to certificates accept any certificate that a listener accepts".to_owned(),
        ),
        (ClientCertificates::Presented, ClientCertificates::Validated) => add(
            "client_certificates",
            Effect::Closes,
            "keys bound to certificates accept only validated certificates".to_owned(),
        ),
        _ => {}
    }
    if p.rate_limit_fields != q.rate_limit_fields {
        add(
            "rate_limit_fields",
            Effect::Alters,
            "the rate-limit fields are on different replies".to_owned(),
        );
    }
    if p.identity != q.identity {
        add(
            "identity",
            Effect::Alters,
            "the headers that tell the upstream who calls are different".to_owned(),
        );
    }
}

/// What publishable keys hold, and how long keysets are accepted.
fn bounds(p: &Policy, q: &Policy, add: &mut impl FnMut(&str, Effect, String)) {
    sets(
        add,
        "publishable.scopes",
        &words(&p.publishable_scopes, |s| format!("`{s}`")),
        &words(&q.publishable_scopes, |s| format!("`{s}`")),
        (
            "publishable keys may now also have",
            "publishable keys, including issued ones, no longer have",
        ),
    );
    if p.require_enrolment != q.require_enrolment {
        let whose = match q.require_enrolment {
            true => "only reports of enrolled Envoys are accepted",
            false => "reports of Envoys that are not enrolled are accepted, too",
        };
        add("require_enrolment", Effect::Alters, whose.to_owned());
    }
    if p.exposed_keys != q.exposed_keys {
        let what = match q.exposed_keys {
            ExposedKeys::Report => "keys that come over plain HTTP are only reported",
            ExposedKeys::Disable => "keys that come over plain HTTP are disabled",
            ExposedKeys::Revoke => "keys that come over plain HTTP are revoked",
        };
        add("exposed_keys", Effect::Alters, what.to_owned());
    }
    if p.brute_force != q.brute_force {
        let what = match q.brute_force {
            Some(_) => "other numbers of unknown keys are answered with 429 instead of 401",
            None => "unknown keys are answered with 401, however many",
        };
        add("brute_force", Effect::Alters, what.to_owned());
    }
    if p.lifetimes != q.lifetimes {
        add(
            "max_lifetime",
            Effect::Alters,
            "the maximum lifetime of new keys changes; existing keys keep their expiry".to_owned(),
        );
    }
    if p.not_after != q.not_after {
        let word =
            |n: Option<u64>| n.map_or_else(|| "an unlimited time".to_owned(), |n| format!("{n}s"));
        add(
            "not_after",
            Effect::Alters,
            format!(
                "a keyset is valid for {} instead of {}",
                word(q.not_after),
                word(p.not_after)
            ),
        );
    }
}

/// What plans allow.
fn plans(p: &Policy, q: &Policy, add: &mut impl FnMut(&str, Effect, String)) {
    let names: BTreeSet<&String> = p.plans.keys().chain(q.plans.keys()).collect();
    for name in names {
        let field = format!("plans.{name}");
        match (p.plans.get(name), q.plans.get(name)) {
            (Some(a), Some(b)) if a != b => add(
                &field,
                Effect::Alters,
                format!("{} instead of {}", plan(b), plan(a)),
            ),
            (None, Some(b)) => add(&field, Effect::Alters, format!("added: {}", plan(b))),
            (Some(a), None) => add(&field, Effect::Alters, format!("removed: {}", plan(a))),
            _ => {}
        }
    }
}

fn plan(plan: &Plan) -> String {
    let mut parts = limit_words(&plan.limits);
    parts.extend(plan.quota.as_ref().map(quota));
    parts.extend(plan.max_lifetime.map(|s| format!("keys live for {s}s")));
    match parts.is_empty() {
        true => "no limit".to_owned(),
        false => parts.join(" "),
    }
}

fn quota(q: &RawQuota) -> String {
    let mut out = format!("{} a {:?}", q.requests, q.per).to_lowercase();
    if q.time_zone != "UTC" {
        out.push_str(&format!(" in {}", q.time_zone));
    }
    if q.rolls_over != RollOver::default() {
        let RollOver { day, hour } = q.rolls_over;
        out.push_str(&match q.per {
            QuotaPeriod::Day => format!(" from {hour}:00"),
            QuotaPeriod::Month => format!(" from day {day}, {hour}:00"),
        });
    }
    out
}

fn credential(c: &Credential) -> String {
    match c {
        Credential::Header {
            name,
            scheme: Some(scheme),
        } => format!("header `{name}` after `{scheme}`"),
        Credential::Header { name, scheme: None } => format!("header `{name}`"),
        Credential::Basic(BasicPart::Username) => "user name of HTTP Basic".to_owned(),
        Credential::Basic(BasicPart::Password) => "password of HTTP Basic".to_owned(),
        Credential::Query(name) => format!("query parameter `{name}`"),
        Credential::Cookie(name) => format!("cookie `{name}`"),
    }
}

fn words<T>(items: &[T], word: impl Fn(&T) -> String) -> BTreeSet<String> {
    items.iter().map(word).collect()
}

fn sets(
    add: &mut impl FnMut(&str, Effect, String),
    field: &str,
    before: &BTreeSet<String>,
    after: &BTreeSet<String>,
    (more, fewer): (&str, &str),
) {
    for word in after.difference(before) {
        add(field, Effect::Opens, format!("{more} {word}"));
    }
    for word in before.difference(after) {
        add(field, Effect::Closes, format!("{fewer} {word}"));
    }
}
