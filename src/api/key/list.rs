//! Lists of keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::concern::Judge;
use super::used;
use crate::{ANYBODY, Endpoint, Operation};
use keystile_model::error::{Code, Kind, Result, refuse};
use keystile_model::key::{KeyConcern, KeyOrder, KeyUseView, KeyView};
use keystile_model::record::{self, Status};
use keystile_model::room::Room;
use keystile_model::wire::{
    self, Environment, Id, KeyStatus, Span, Time, TimeWords, is_default, labels,
};
use keystile_model::world::World;
use keystile_registry::key;
use keystile_store::{Store, Tx, UsageTx};

/// A page of keys.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Keys)]
pub struct KeyPage {
    /// In the order asked for. If few of many keys match, the list may be empty although there is a `next`.
    pub keys: Vec<KeyView>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<Id>,
    /// With `unused`: since when anything has been counted. Whether a key was used before that is
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_since: Option<Time>,
}

/// Lists keys, sorted by id unless another order is asked for.
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
    /// Only keys whose id, name, client or label (`name=value`) contains this, ignoring case. A
    /// whole id finds its key, and only that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Only keys that should worry their owner for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concern: Option<KeyConcern>,
    /// How they are sorted; by id by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub order: KeyOrder,
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

    fn is_dormant(&self, key: &record::Key, used: Option<&KeyUseView>, now: u64) -> bool {
        let Some(Span(unused)) = self.unused else {
            return true;
        };
        let before = now.saturating_sub(unused);
        let last = used.and_then(|u| u.last_used.as_ref()).map(|t| t.0);
        key.created <= before && last.is_none_or(|last| last <= before)
    }
}

/// What a search looks for, in lower case.
struct Search(String);

impl Search {
    fn finds(&self, key: &record::Key) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.0);
        let rules = &key.rules;
        self.0.is_empty()
            || has(&rules.name)
            || has(&key.client)
            || has(&key.id.to_string())
            || rules
                .labels
                .iter()
                .any(|(name, v)| has(&format!("{name}={v}")))
    }
}

/// A key that was looked at for a page.
enum Looked {
    Listed,
    PassedBy,
    NoRoom,
}

/// A page that is being filled.
struct Filling<'a> {
    asked: &'a List,
    labels: Vec<(String, String)>,
    search: Search,
    /// What keys are judged by, if that is asked.
    judge: Option<(KeyConcern, Judge)>,
    room: Room,
    now: u64,
    page: KeyPage,
}

impl Filling<'_> {
    fn look(
        &mut self,
        key: &record::Key,
        tx: &Tx<'_>,
        usage: Option<&UsageTx<'_>>,
    ) -> Result<Looked> {
        let (asked, now) = (self.asked, self.now);
        // Checking these is free; looking up its use is not, so that comes last.
        if !asked.wants(key, &self.labels, now)
            || !self.search.finds(key)
            || !asked.is_dormant(key, None, now)
        {
            return Ok(Looked::PassedBy);
        }
        let used = usage.map(|tx| used(tx, key.id)).transpose()?.flatten();
        if !asked.is_dormant(key, used.as_ref(), now) {
            return Ok(Looked::PassedBy);
        }
        if let Some((concern, judge)) = &mut self.judge
            && !judge.finds(*concern, tx, key, used.as_ref())?
        {
            return Ok(Looked::PassedBy);
        }
        let view = KeyView {
            usage: used,
            ..KeyView::from_key(key, now)
        };
        if !self.room.takes(&view) {
            return Ok(Looked::NoRoom);
        }
        self.page.keys.push(view);
        Ok(Looked::Listed)
    }
}

impl List {
    /// Whether the list depends on what was counted.
    fn asks_for_use(&self) -> bool {
        let by_use = [KeyConcern::NeverUsed, KeyConcern::Unused];
        self.unused.is_some() || self.concern.is_some_and(|c| by_use.contains(&c))
    }

    /// How many keys are searched for this page.
    fn scope(&self) -> Result<u32> {
        let look = self.scan.unwrap_or(LOOK);
        match (1..=LOOK).contains(&look) {
            true => Ok(look),
            false => Err(refuse(
                Code::OutOfRange,
                format_args!("{look} is not in 1..={LOOK}"),
                "leave it out, and ask for the next page with `cursor`",
            )
            .field("scan")),
        }
    }

    /// The one key that is named by the whole of what is searched for.
    fn named(&self, tx: &Tx<'_>, world: &World) -> Result<Option<record::Key>> {
        let id = self.search.as_deref().and_then(|s| s.trim().parse().ok());
        let key = id.map(|id| tx.key(id)).transpose()?.flatten();
        let in_list = |key: &record::Key| {
            world.caller.sees(&key.client) && self.client.as_ref().is_none_or(|c| *c == key.client)
        };
        Ok(key.filter(in_list))
    }

    fn page(
        &self,
        world: &World,
        mut page: Filling<'_>,
        tx: &Tx<'_>,
        usage: Option<&UsageTx<'_>>,
    ) -> Result<KeyPage> {
        if let (true, Some(tx)) = (self.asks_for_use(), usage) {
            page.page.counted_since = tx.began()?.map(Time);
        }
        if let Some(key) = self.named(tx, world)? {
            page.look(&key, tx, usage)?;
            return Ok(page.page);
        }
        let mut left = self.scope()?;
        let (mut last, mut failed) = (None, None);
        let cursor = self.cursor.as_ref().map(|c| c.0);
        let of = self.client.as_deref();
        key::each_sorted(tx, world, self.order, of, cursor, |key| {
            if left == 0 {
                page.page.next = last.map(Id);
                return false;
            }
            left -= 1;
            match page.look(&key, tx, usage) {
                Ok(Looked::NoRoom) => page.page.next = last.map(Id),
                Ok(Looked::Listed | Looked::PassedBy) => {
                    last = Some(key.id);
                    return true;
                }
                Err(e) => failed = Some(e),
            }
            false
        })?;
        failed.map_or(Ok(page.page), Err)
    }
}

impl Operation for List {
    type Output = KeyPage;
    const ENDPOINT: Endpoint = Endpoint::get("key.list", "/v1/keys", ANYBODY, "List keys");

    fn run(self, store: &mut Store, world: &World) -> Result<KeyPage> {
        let labels = labels(&self.label)?;
        let room = wire::page(self.limit, USUAL_PAGE, "`cursor`")?;
        self.scope()?;
        let search = self.search.as_deref().unwrap_or_default().trim();
        let list = |tx: &Tx<'_>, usage: Option<&UsageTx<'_>>| {
            let now = world.now.seconds();
            let judge = self
                .concern
                .map(|c| Judge::new(tx, now).map(|judge| (c, judge)));
            let page = Filling {
                judge: judge.transpose()?,
                asked: &self,
                labels: labels.clone(),
                search: Search(search.to_lowercase()),
                room,
                now,
                page: KeyPage {
                    keys: Vec::new(),
                    next: None,
                    counted_since: None,
                },
            };
            self.page(world, page, tx, usage)
        };
        let used =
            store.with_usage(|store, usage| usage.read(|u| store.read(|tx| list(tx, Some(u)))));
        match used {
            // Keys can be listed without their usage, too.
            Err(e) if !self.asks_for_use() && e.kind() != Kind::NotFound => {
                let keys = store.read(|tx| list(tx, None))?;
                tracing::warn!(error = %e, "usage cannot be read");
                Ok(keys)
            }
            used => used,
        }
    }
}
