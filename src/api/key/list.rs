//! Lists of keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::used;
use crate::{ANYBODY, Endpoint, Operation};
use keystile_model::error::{Code, Kind, Result, refuse};
use keystile_model::key::{KeyUseView, KeyView};
use keystile_model::record::{self, Status};
use keystile_model::wire::{self, Environment, Id, KeyStatus, Span, Time, TimeWords, labels};
use keystile_model::world::World;
use keystile_registry::key;
use keystile_store::{Store, Tx, UsageTx};

/// A page of keys.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Keys)]
pub struct KeyPage {
    /// Sorted by id. If few of many keys match, the list may be empty although there is a `next`.
    pub keys: Vec<KeyView>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<Id>,
    /// With `unused`: since when anything has been counted. Whether a key was used before that is
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_since: Option<Time>,
}

/// Lists keys, sorted by id.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyList)]
pub struct List {
    /// Only keys of this client.
    #[serde(default)]
    pub client: Option<String>,
    /// Only keys with this status; can be repeated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<KeyStatus>,
    /// Only keys of this environment.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// Only keys that expire before this time and have not expired yet.
    #[serde(default)]
    pub expiring: Option<TimeWords>,
    /// Only keys that never expire.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub endless: bool,
    /// Only keys with this label, `name=value`; can be repeated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label: Vec<String>,
    /// Only keys at least this old whose requests have not been let through for as long: `90d`.
    #[serde(default)]
    pub unused: Option<Span>,
    /// How many at most: 1 to 10,000; 1,000 by default.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the previous page.
    #[serde(default)]
    pub cursor: Option<Id>,
    /// How many keys are searched for one page at most: 1 to 20,000; 20,000 by default. If few of
    /// many keys match, a page may be short or empty and still have a `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<u32>,
}

const USUAL_PAGE: u32 = 1_000;
/// How many keys are searched for one page, so that no request holds up others for long.
const LOOK: u32 = 20_000;
impl List {
    fn wants(&self, k: &record::Key, labels: &[(String, String)], now: u64) -> bool {
        let status = k.status(now);
        let expiring = |until: &TimeWords| {
            !matches!(status, Status::Expired | Status::Revoked)
                && k.effective_expiry()
                    .is_some_and(|end| end <= until.0.at(now))
        };
        (self.status.is_empty() || self.status.contains(&KeyStatus(status)))
            && self
                .environment
                .as_ref()
                .is_none_or(|e| k.rules.environment == e.0)
            && self.expiring.as_ref().is_none_or(expiring)
            && (!self.endless || k.effective_expiry().is_none())
            && labels
                .iter()
                .all(|(name, v)| k.rules.labels.get(name) == Some(v))
    }
}

impl List {
    fn is_dormant(&self, key: &record::Key, used: Option<&KeyUseView>, now: u64) -> bool {
        let Some(Span(unused)) = self.unused else {
            return true;
        };
        let before = now.saturating_sub(unused);
        let last = used.and_then(|u| u.last_used.as_ref()).map(|t| t.0);
        key.created <= before && last.is_none_or(|last| last <= before)
    }
}

impl Operation for List {
    type Output = KeyPage;
    const ENDPOINT: Endpoint = Endpoint::get("key.list", "/v1/keys", ANYBODY, "List keys");

    fn run(self, store: &mut Store, world: &World) -> Result<KeyPage> {
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
            let mut out = KeyPage {
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
                // Checking the age is free; looking up its use is not, so that comes last.
                if !self.wants(&key, &labels, now) || !self.is_dormant(&key, None, now) {
                    return true;
                }
                let used = match usage.map(|tx| used(tx, key.id)).transpose() {
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
                    ..KeyView::from_key(&key, now)
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
            // Keys can be listed without their usage, too.
            Err(e) if self.unused.is_none() && e.kind() != Kind::NotFound => {
                let keys = store.read(|tx| list(tx, None))?;
                tracing::warn!(error = %e, "usage cannot be read");
                Ok(keys)
            }
            used => used,
        }
    }
}
