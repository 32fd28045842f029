//! Keys: what is seen of them, and how they are listed, changed and switched off.
//! `issue` has what makes new ones.

use keystile_core::key::KeyId;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::client::{check_labels, labels};
use super::{ANYBODY, HOLDERS, MANY, Method, Operation, Route};
use crate::Pace;
use keystile_model::error::{Code, Kind as Sort, Result, refuse};
use keystile_model::record::{self, Status, limit_words, words};
use keystile_model::rules;
use keystile_model::wire::{
    self, Environment, Id, KeyStatus, LimitWords, Range, Span, Time, TimeWords,
};
use keystile_model::world::World;
use keystile_registry::key::{self, Patch};
use keystile_store::{Store, Tx, UsageTx};

mod issue;

pub use issue::{Fetch, Import, Issue, Issued, IssuedKey, Kind, Rotate};

/// A key: all but the key itself, which is stored nowhere.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyView {
    /// Public id.
    pub id: Id,
    /// Who holds it.
    pub client: String,
    /// Free text.
    pub name: String,
    /// What it is good for at the moment.
    pub status: KeyStatus,
    /// Where it is good.
    pub environment: Environment,
    /// `secret` or `publishable`.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Its permissions.
    pub scopes: Vec<String>,
    /// The plan that its limits come from.
    pub plan: Option<String>,
    /// Its own plan, if it has one.
    pub own_plan: Option<String>,
    /// Its own limits, in place of the plan's.
    pub limits: Vec<String>,
    /// When it ends.
    pub expires: Option<Time>,
    /// When it begins.
    pub not_before: Option<Time>,
    /// When it gives way to the key it was rotated to.
    pub works_until: Option<Time>,
    /// Ranges that it may be used from.
    pub cidrs: Vec<String>,
    /// Ranges that it may not be used from.
    pub deny_cidrs: Vec<String>,
    /// Browser origins that it may be used from.
    pub origins: Vec<String>,
    /// Identities of client certificates that it may be used with.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Free pairs.
    pub labels: BTreeMap<String, String>,
    /// After how long it is to give way to a new one; otherwise as its plan says.
    pub rotate_every: Option<Span>,
    /// How long it then goes on; otherwise as its plan says.
    pub grace: Option<Span>,
    /// It was not made here.
    pub imported: bool,
    /// Switched off for now.
    pub disabled: bool,
    /// Since when it is switched off for good.
    pub revoked: Option<Time>,
    /// Why.
    pub reason: String,
    /// First key in its line of rotations.
    pub lineage: Id,
    /// The key before it.
    pub rotated_from: Option<Id>,
    /// Since when.
    pub created: Time,
    /// How it was used; left out where nobody knows of any use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<KeyUse>,
}

/// How a key was used, as far as the policy has it noted: requests that were let through.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyUse {
    /// When first.
    pub first_used: Option<Time>,
    /// When last, to the minute.
    pub last_used: Option<Time>,
    /// From where first.
    pub first_address: Option<String>,
    /// From where last.
    pub last_address: Option<String>,
    /// By what last.
    pub last_agent: Option<String>,
}

impl KeyUse {
    fn of(tx: &UsageTx<'_>, id: KeyId) -> Result<Option<Self>> {
        let used = tx.key_usage(id)?.map(|(_, used)| used);
        // A key that was only ever refused was not used.
        let used = used.filter(|u| u.last_used.is_some());
        Ok(used.map(|u| Self {
            first_used: u.first_used.map(Time),
            last_used: u.last_used.map(Time),
            first_address: u.first_address,
            last_address: u.last_address,
            last_agent: u.agent,
        }))
    }
}

impl KeyView {
    /// A key at an instant, in seconds.
    pub fn of(k: &record::Key, now: u64) -> Self {
        let rules = &k.rules;
        Self {
            id: Id(k.id),
            client: k.client.clone(),
            name: rules.name.clone(),
            status: KeyStatus(k.status(now)),
            environment: Environment(rules.environment.clone()),
            kind: if rules.publishable {
                Kind::Publishable
            } else {
                Kind::Secret
            },
            scopes: rules.scopes.clone(),
            plan: k.effective_plan().map(str::to_owned),
            own_plan: rules.plan.clone(),
            limits: limit_words(&rules.limits),
            expires: rules.expires.map(Time),
            not_before: rules.not_before.map(Time),
            works_until: k.overlap_end.map(Time),
            cidrs: words(&rules.allow),
            deny_cidrs: words(&rules.deny),
            origins: rules.origins.clone(),
            certificates: rules.certificates.clone(),
            labels: rules.labels.clone(),
            rotate_every: rules.rotate_every.map(Span),
            grace: rules.grace.map(Span),
            imported: k.imported,
            disabled: k.disabled,
            revoked: k.revoked.map(Time),
            reason: k.reason.clone(),
            lineage: Id(k.lineage),
            rotated_from: k.rotated_from.map(Id),
            created: Time(k.created),
            usage: None,
        }
    }

    /// When it ends by itself, in seconds.
    pub fn ends(&self) -> Option<u64> {
        let of = |t: &Option<Time>| t.as_ref().map(|t| t.0);
        match (of(&self.expires), of(&self.works_until)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// Some keys.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Keys {
    /// Sorted by id. When few of many keys match, there may be none although there is a
    /// `next`.
    pub keys: Vec<KeyView>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<Id>,
    /// Where `unused` is asked: since when anything has been counted. Who was used before
    /// that, nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_since: Option<Time>,
}

/// Keys that were switched off.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// The keys, in the order in which they were named.
    pub keys: Vec<KeyView>,
}

/// Lists keys, in the order of their ids.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyList)]
pub struct List {
    /// Only those of this client.
    #[serde(default)]
    pub client: Option<String>,
    /// Only those with this status; can be repeated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<KeyStatus>,
    /// Only those of this environment.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// Only those that end before this time and have not ended yet.
    #[serde(default)]
    pub expiring: Option<TimeWords>,
    /// Only those with this label, `name=value`; can be repeated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label: Vec<String>,
    /// Only those that have been there for so long and were not let through since: `90d`.
    #[serde(default)]
    pub unused: Option<Span>,
    /// How many at most: 1 to 10,000, 1,000 if it is not said.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    pub cursor: Option<Id>,
    /// How many keys are searched for one page at most: 1 to 20,000, the default. When few of
    /// many keys match, a page may be short, or empty, and still have a `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<u32>,
}

const USUAL_PAGE: u32 = 1_000;
/// Keys that are searched for one page, so that no request holds others up for long.
const LOOK: u32 = 20_000;
/// Keys that one request may revoke.
const MOST: usize = 10_000;

/// Shows a key.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyShow)]
pub struct Show {
    /// Its id.
    pub id: Id,
}

/// Switches a key off for now.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyDisable)]
pub struct Disable {
    /// Its id.
    pub id: Id,
}

/// Switches a disabled key on again.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyEnable)]
pub struct Enable {
    /// Its id.
    pub id: Id,
}

/// Switches a key off for good.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyRevoke)]
pub struct Revoke {
    /// Its id.
    pub id: Id,
    /// For the audit log.
    #[serde(default)]
    pub reason: String,
}

/// Switches keys off for good: all of them, or none.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysRevoke)]
pub struct RevokeAll {
    /// Their ids.
    pub ids: Vec<Id>,
    /// For the audit log.
    #[serde(default)]
    pub reason: String,
}

/// Changes what a key may do; fields that are left out stay as they are.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyUpdate)]
pub struct Update {
    /// Its id.
    pub id: Id,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All its permissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Permissions more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_scopes: Vec<String>,
    /// Permissions less.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_scopes: Vec<String>,
    /// Take scopes that no route of the policy asks for.
    #[serde(default)]
    pub allow_unknown_scope: bool,
    /// A plan of its own, or null for its client's.
    #[serde(
        default,
        deserialize_with = "wire::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub plan: Option<Option<String>>,
    /// All limits of its own; none for those of its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<LimitWords>>,
    /// When it ends, or null for never.
    #[serde(
        default,
        deserialize_with = "wire::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<TimeWords>)]
    pub expires: Option<Option<TimeWords>>,
    /// When it begins, or null for at once.
    #[serde(
        default,
        deserialize_with = "wire::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<TimeWords>)]
    pub not_before: Option<Option<TimeWords>>,
    /// All ranges that it may be used from; none for everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<Vec<Range>>,
    /// All ranges that it may not be used from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny_cidrs: Option<Vec<Range>>,
    /// All origins that it may be used from; none for every page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<Vec<String>>,
    /// All identities of client certificates that it may be used with: `spiffe://…` or
    /// `dns:…`; none for any connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Vec<String>>,
    /// Pairs to set.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Names of pairs to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_labels: Vec<String>,
    /// After how long it is to give way to a new one, or null for what its plan says.
    #[serde(
        default,
        deserialize_with = "wire::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Span>)]
    pub rotate_every: Option<Option<Span>>,
    /// How long it then goes on, or null for what its plan says.
    #[serde(
        default,
        deserialize_with = "wire::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Span>)]
    pub grace: Option<Option<Span>>,
}

impl Update {
    /// Changes nothing about a key.
    pub fn of(id: KeyId) -> Self {
        Self {
            id: Id(id),
            name: None,
            scopes: None,
            add_scopes: Vec::new(),
            remove_scopes: Vec::new(),
            allow_unknown_scope: false,
            plan: None,
            limits: None,
            expires: None,
            not_before: None,
            cidrs: None,
            deny_cidrs: None,
            origins: None,
            certificates: None,
            labels: BTreeMap::new(),
            remove_labels: Vec::new(),
            rotate_every: None,
            grace: None,
        }
    }
}

impl List {
    fn wants(&self, k: &record::Key, labels: &[(String, String)], now: u64) -> bool {
        let status = k.status(now);
        let expiring = |until: &TimeWords| {
            !matches!(status, Status::Expired | Status::Revoked)
                && k.ends().is_some_and(|end| end <= until.0.at(now))
        };
        (self.status.is_empty() || self.status.contains(&KeyStatus(status)))
            && self
                .environment
                .as_ref()
                .is_none_or(|e| k.rules.environment == e.0)
            && self.expiring.as_ref().is_none_or(expiring)
            && labels
                .iter()
                .all(|(name, v)| k.rules.labels.get(name) == Some(v))
    }
}

impl List {
    fn is_dormant(&self, key: &record::Key, used: Option<&KeyUse>, now: u64) -> bool {
        let Some(Span(unused)) = self.unused else {
            return true;
        };
        let before = now.saturating_sub(unused);
        let last = used.and_then(|u| u.last_used.as_ref()).map(|t| t.0);
        key.created <= before && last.is_none_or(|last| last <= before)
    }
}

impl Operation for List {
    type Output = Keys;
    const ROUTE: Route = Route::get("key.list", "/v1/keys", ANYBODY, "List keys");

    fn run(self, store: &mut Store, world: &World) -> Result<Keys> {
        let now = world.now.seconds();
        let labels = labels(&self.label)?;
        let page = wire::page(self.limit, USUAL_PAGE, "`cursor`")?;
        let look = self.scan.unwrap_or(LOOK);
        if !(1..=LOOK).contains(&look) {
            return Err(refuse(
                Code::OutOfRange,
                format_args!("{look} is not in 1..={LOOK}"),
                "leave it out, and ask for the next page with `cursor`",
            )
            .field("scan"));
        }
        let list = |tx: &Tx<'_>, usage: Option<&UsageTx<'_>>| {
            let mut out = Keys {
                keys: Vec::new(),
                next: None,
                counted_since: None,
            };
            let mut failed = None;
            let mut room = page;
            let of = self.client.as_deref();
            let cursor = self.cursor.as_ref().map(|c| c.0);
            let mut left = look;
            let mut last = None;
            key::each(tx, &world.caller, of, cursor, |key| {
                if left == 0 {
                    out.next = last.map(Id);
                    return false;
                }
                left -= 1;
                last = Some(key.id);
                // Whether it is old enough costs nothing to ask; who used it does.
                if !self.wants(&key, &labels, now) || !self.is_dormant(&key, None, now) {
                    return true;
                }
                let used = match usage.map(|tx| KeyUse::of(tx, key.id)).transpose() {
                    Ok(used) => used.flatten(),
                    Err(e) => {
                        failed = Some(e);
                        return false;
                    }
                };
                if !self.is_dormant(&key, used.as_ref(), now) {
                    return true;
                }
                let view = KeyView {
                    usage: used,
                    ..KeyView::of(&key, now)
                };
                if !room.takes(&view) {
                    out.next = out.keys.last().map(|k| k.id.clone());
                    return false;
                }
                out.keys.push(view);
                true
            })?;
            if let (Some(_), Some(tx)) = (&self.unused, usage) {
                out.counted_since = tx.began()?.map(Time);
            }
            failed.map_or(Ok(out), Err)
        };
        let used =
            store.with_usage(|store, usage| usage.read(|u| store.read(|tx| list(tx, Some(u)))));
        match used {
            // Keys are there without their usage too.
            Err(e) if self.unused.is_none() && e.kind() != Sort::NotFound => {
                let keys = store.read(|tx| list(tx, None))?;
                tracing::warn!(error = %e, "usage cannot be read");
                Ok(keys)
            }
            used => used,
        }
    }
}

impl Operation for Show {
    type Output = KeyView;
    const ROUTE: Route = Route::get("key.show", "/v1/keys/{id}", ANYBODY, "Show a key").tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<KeyView> {
        let key = store.read(|tx| key::find(tx, &world.caller, self.id.0))?;
        let used = store.with_usage(|_, usage| usage.read(|tx| KeyUse::of(tx, key.id)));
        Ok(KeyView {
            // A key can be shown, and revoked, without knowing who used it.
            usage: used.unwrap_or_else(|e| {
                tracing::warn!(error = %e, "usage cannot be read");
                None
            }),
            ..KeyView::of(&key, world.now.seconds())
        })
    }
}

/// What `If-Match` is compared with.
fn current(id: &Id, store: &mut Store, world: &World) -> Result<Option<Value>> {
    super::shown(Show { id: id.clone() }, store, world)
}

impl Operation for Update {
    type Output = KeyView;
    const ROUTE: Route = Route::change(
        Method::Patch,
        "key.update",
        "/v1/keys/{id}",
        HOLDERS,
        "Change what a key may do",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<KeyView> {
        let now = world.now.seconds();
        check_labels(&self.labels)?;
        let at = |w: Option<TimeWords>| w.map(|w| w.0.at(now));
        let patch = Patch {
            name: self.name,
            scopes: self.scopes,
            add_scopes: self.add_scopes,
            remove_scopes: self.remove_scopes,
            any_scope: self.allow_unknown_scope,
            plan: self.plan,
            limits: self.limits.map(|l| l.into_iter().map(|l| l.0).collect()),
            expires: self.expires.map(at),
            not_before: self.not_before.map(at),
            allow: self.cidrs.map(nets),
            deny: self.deny_cidrs.map(nets),
            origins: self.origins.map(origins).transpose()?,
            certificates: self.certificates.map(certificates).transpose()?,
            labels: self.labels,
            remove_labels: self.remove_labels,
            rotate_every: self.rotate_every.map(|s| s.map(|s| s.0)),
            grace: self.grace.map(|s| s.map(|s| s.0)),
        };
        let key = key::update(store, world, self.id.0, patch)?;
        Ok(KeyView::of(&key, now))
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        current(&self.id, store, world)
    }
}

fn nets(ranges: Vec<Range>) -> Vec<ipnet::IpNet> {
    ranges.into_iter().map(|r| r.0).collect()
}

/// Checks origins, as the command line does when they are typed.
fn origins(texts: Vec<String>) -> Result<Vec<String>> {
    wire::read_list("origins", &texts, rules::origin)
}

/// Checks identities of certificates, likewise.
fn certificates(texts: Vec<String>) -> Result<Vec<String>> {
    wire::read_list(
        "certificates",
        &texts,
        keystile_core::request::certificate::identity,
    )
}

impl Operation for Disable {
    type Output = KeyView;
    const ROUTE: Route = Route::change(
        Method::Post,
        "key.disable",
        "/v1/keys/{id}/disable",
        HOLDERS,
        "Switch a key off for now",
    )
    .tagged();

    fn pace(&self) -> Pace {
        Pace::Urgent
    }

    fn run(self, store: &mut Store, world: &World) -> Result<KeyView> {
        let key = key::set_disabled(store, world, self.id.0, true)?;
        Ok(KeyView::of(&key, world.now.seconds()))
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        current(&self.id, store, world)
    }
}

impl Operation for Enable {
    type Output = KeyView;
    const ROUTE: Route = Route::change(
        Method::Post,
        "key.enable",
        "/v1/keys/{id}/enable",
        HOLDERS,
        "Switch a disabled key on again",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<KeyView> {
        let key = key::set_disabled(store, world, self.id.0, false)?;
        Ok(KeyView::of(&key, world.now.seconds()))
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        current(&self.id, store, world)
    }
}

impl Operation for Revoke {
    type Output = KeyView;
    const ROUTE: Route = Route::change(
        Method::Post,
        "key.revoke",
        "/v1/keys/{id}/revoke",
        HOLDERS,
        "Switch a key off for good",
    )
    .tagged();

    fn pace(&self) -> Pace {
        Pace::Urgent
    }

    fn run(self, store: &mut Store, world: &World) -> Result<KeyView> {
        let id = self.id.0;
        key::revoke_all(store, world, &[id], &self.reason)?;
        Show { id: self.id }.run(store, world)
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        current(&self.id, store, world)
    }
}

impl Operation for RevokeAll {
    type Output = Revoked;
    const ROUTE: Route = Route::change(
        Method::Post,
        "key.revoke_all",
        "/v1/keys/revoke",
        HOLDERS,
        "Switch keys off for good: all of them, or none",
    );

    fn pace(&self) -> Pace {
        if self.ids.len() > MANY {
            Pace::Sweep
        } else {
            Pace::Urgent
        }
    }

    fn run(self, store: &mut Store, world: &World) -> Result<Revoked> {
        if self.ids.is_empty() || self.ids.len() > MOST {
            return Err(refuse(
                Code::OutOfRange,
                format_args!("{} keys are named", self.ids.len()),
                format_args!("name 1 to {MOST} at once"),
            )
            .field("ids"));
        }
        let ids: Vec<KeyId> = self.ids.iter().map(|i| i.0).collect();
        let keys = key::revoke_all(store, world, &ids, &self.reason)?;
        let now = world.now.seconds();
        Ok(Revoked {
            keys: keys.iter().map(|k| KeyView::of(k, now)).collect(),
        })
    }
}
