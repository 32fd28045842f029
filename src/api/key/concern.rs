//! What should worry the owner of a key, and how many keys there are of each kind.

use std::collections::{BTreeMap, BTreeSet};

use keystile_model::error::Result;
use keystile_model::key::{KeyConcern, KeyOrder, KeyUseView};
use keystile_model::record::{self, Status};
use keystile_model::wire::Time;
use keystile_model::world::World;
use keystile_policy::file::PolicyFile;
use keystile_registry::{self as registry, handover, key};
use keystile_store::{Store, Tx, UsageTx};

use super::used;

/// How long a key may be without use before that is worth a look, in seconds.
const NEW: u64 = 7 * 86_400;
const LONG: u64 = 90 * 86_400;
/// The label that names who is responsible.
const OWNER: &str = "owner";

/// How many keys there are of each kind that should worry somebody.
pub struct Posture {
    /// Each kind, those without keys too.
    pub concerns: Vec<(KeyConcern, u64)>,
    /// How many keys were looked at, the newest first.
    pub searched: u64,
    /// All of them were.
    pub is_whole: bool,
    /// Since when anything has been counted. Whether a key was used before is not known.
    pub counted_since: Option<Time>,
}

/// What keys are judged by.
pub(super) struct Judge {
    file: PolicyFile,
    scopes: BTreeSet<String>,
    /// Whether a client has an owner.
    owned: BTreeMap<u32, bool>,
    now: u64,
}

impl Judge {
    pub fn new(tx: &Tx<'_>, now: u64) -> Result<Self> {
        let file = registry::policy(tx)?;
        let routes = file.raw.routes.iter();
        let scopes = routes.flat_map(|r| r.scopes.iter().chain(&r.any_scope));
        Ok(Self {
            scopes: scopes.cloned().collect(),
            owned: BTreeMap::new(),
            file,
            now,
        })
    }

    /// Whether a key that may be used is of a kind.
    pub fn finds(
        &mut self,
        concern: KeyConcern,
        tx: &Tx<'_>,
        key: &record::Key,
        used: Option<&KeyUseView>,
    ) -> Result<bool> {
        let idle = [Status::Revoked, Status::Expired, Status::Disabled];
        if idle.contains(&key.status(self.now)) {
            return Ok(false);
        }
        let rules = &key.rules;
        let plan = key
            .effective_plan()
            .and_then(|p| self.file.policy.plans.get(p));
        let before = |seconds: u64| self.now.saturating_sub(seconds);
        let last = used.and_then(|u| u.last_used.as_ref()).map(|t| t.0);
        Ok(match concern {
            KeyConcern::Endless => key.effective_expiry().is_none(),
            KeyConcern::Unlimited => {
                let by_plan = plan.is_some_and(|p| !p.limits.is_empty() || p.quota.is_some());
                rules.limits.is_empty() && !by_plan
            }
            KeyConcern::NeverUsed => last.is_none() && key.created <= before(NEW),
            KeyConcern::Unused => last.is_some_and(|last| last <= before(LONG)),
            KeyConcern::Overdue => {
                let every = handover::schedule(&self.file.policy, key).every;
                every.is_some_and(|every| key.created <= before(every)) && key.overlap_end.is_none()
            }
            KeyConcern::EveryScope => {
                self.scopes.len() > 1 && self.scopes.iter().all(|s| rules.scopes.contains(s))
            }
            KeyConcern::Ownerless => {
                !rules.labels.contains_key(OWNER) && !self.is_owned(tx, key)?
            }
        })
    }

    fn is_owned(&mut self, tx: &Tx<'_>, key: &record::Key) -> Result<bool> {
        if let Some(known) = self.owned.get(&key.client_number) {
            return Ok(*known);
        }
        let client = tx.client(&key.client)?;
        let is_owned = client.is_some_and(|c| c.labels.contains_key(OWNER));
        self.owned.insert(key.client_number, is_owned);
        Ok(is_owned)
    }
}

/// Counts the keys of each kind, of at most this many.
///
/// # Errors
/// Those of the store, and if usage cannot be read.
pub fn posture(store: &mut Store, world: &World, most: u64) -> Result<Posture> {
    let count = |tx: &Tx<'_>, usage: &UsageTx<'_>| {
        let mut judge = Judge::new(tx, world.now.seconds())?;
        let mut counts = KeyConcern::ALL.map(|concern| (concern, 0));
        let (mut searched, mut is_whole, mut failed) = (0, true, None);
        let mut look = |key: &record::Key| -> Result<()> {
            let used = used(usage, key.id)?;
            for (concern, count) in &mut counts {
                *count += u64::from(judge.finds(*concern, tx, key, used.as_ref())?);
            }
            Ok(())
        };
        key::each_sorted(tx, world, KeyOrder::Newest, None, None, |key| {
            if searched == most {
                is_whole = false;
                return false;
            }
            searched += 1;
            failed = look(&key).err();
            failed.is_none()
        })?;
        match failed {
            Some(e) => Err(e),
            None => Ok(Posture {
                concerns: counts.to_vec(),
                searched,
                is_whole,
                counted_since: usage.began()?.map(Time),
            }),
        }
    };
    store.with_usage(|store, usage| usage.read(|u| store.read(|tx| count(tx, u))))
}
