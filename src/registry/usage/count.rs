//! What a transaction of batches writes: each batch once, however often it arrives.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use keystile_core::decide::Denial;
use keystile_core::key::KeyId;
use keystile_core::limit::quota::Quota;
use keystile_core::report::usage::{Batch, GRAIN, KeyUse, MAX_AGENT, QuotaUse, Receipt};

use super::{LATEST, Step, UsageSettings, anomaly, window};
use keystile_model::error::Result;
use keystile_store::{Cell, KeyFacts, KeySeen, Tx, UsageTx};

/// How far an Envoy's clock may be ahead, in seconds; later counts belong to the minute in which
/// they arrive.
const AHEAD: u64 = 300;
/// The most requests of one row: enough for a million a second, and far from an overflow.
const ROW: u64 = 1 << 26;
/// The most quotas of one receipt, so that it does not become longer than VMs accept.
const QUOTAS: usize = 12_000;
/// The longest name of a route or an outcome, in characters.
const NAME: usize = 256;

/// What the store knows about the keys of some batches.
#[derive(Default)]
pub struct Registry {
    facts: HashMap<KeyId, KeyFacts>,
    quotas: HashMap<String, Quota>,
}

impl Registry {
    /// Reads it; `quotas` are those of the policy's plans.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(tx: &Tx<'_>, quotas: HashMap<String, Quota>, batches: &[Batch]) -> Result<Self> {
        let mut facts = HashMap::new();
        for id in batches.iter().flat_map(|b| &b.keys) {
            if let Ok(id) = id.id.parse::<KeyId>()
                && !facts.contains_key(&id)
                && let Some(known) = tx.key_facts(id)?
            {
                facts.insert(id, known);
            }
        }
        Ok(Self { facts, quotas })
    }

    fn quota(&self, facts: &KeyFacts) -> Option<&Quota> {
        self.quotas.get(facts.plan.as_deref()?)
    }
}

/// The result for a batch.
#[derive(Debug)]
pub struct CountedBatch {
    /// The answer to it.
    pub receipt: Receipt,
    /// It was not counted before.
    pub fresh: bool,
    /// Its requests by outcome, if they are counted now.
    pub outcomes: Vec<(String, u64)>,
    /// Requests for which the VM had no room, likewise.
    pub dropped: u64,
    /// Requests that arrived too late to be counted, likewise.
    pub late: u64,
    /// It is the first today to report that some key came over plain HTTP.
    pub exposes: bool,
}

/// Counts batches. Nothing is counted before the transaction is committed.
///
/// # Errors
/// Those of the database.
pub fn count(
    tx: &mut UsageTx<'_>,
    registry: &Registry,
    batches: &[Batch],
    now: u64,
) -> Result<Vec<CountedBatch>> {
    let settings = UsageSettings::read(tx)?;
    let mut run = Run {
        tx,
        registry,
        settings,
        now,
        sums: BTreeMap::new(),
        quotas: BTreeMap::new(),
    };
    let mut done = Vec::with_capacity(batches.len());
    for batch in batches {
        let source = run.tx.source(&batch.node, batch.epoch, now)?;
        done.push((source, run.take(batch, source)?));
    }
    run.write()?;
    // Last, so that batches of one transaction see each other.
    let receipts = batches
        .iter()
        .zip(done)
        .map(|(batch, (source, mut counted))| {
            counted.receipt = run.receipt(batch, source)?;
            Ok(counted)
        });
    receipts.collect()
}

/// The work on one transaction.
struct Run<'r, 's> {
    tx: &'r mut UsageTx<'s>,
    registry: &'r Registry,
    settings: UsageSettings,
    now: u64,
    /// Requests by the second in which their minute began.
    sums: BTreeMap<(u64, Cell), u64>,
    /// Requests let through, by lineage, window and source.
    quotas: BTreeMap<(KeyId, u64, i64), u64>,
}

/// A key of a batch.
struct Key<'r> {
    number: i64,
    client: i64,
    facts: Option<&'r KeyFacts>,
    allowed: u64,
    /// Requests that were refused because they came over plain HTTP.
    exposed: u64,
}

impl<'r> Run<'r, '_> {
    fn take(&mut self, batch: &Batch, source: i64) -> Result<CountedBatch> {
        let mut counted = CountedBatch {
            receipt: Receipt::default(),
            fresh: false,
            outcomes: Vec::new(),
            dropped: 0,
            late: 0,
            exposes: false,
        };
        let known = self.tx.counted(source, batch.vm, batch.claimed)?;
        let Some(seqs) = after(known, batch.seq) else {
            return Ok(counted);
        };
        // If a clock is ahead, its VM stays known until its batches are too old for it.
        let seen = self.now.max(batch.at);
        self.tx
            .set_counted(source, batch.vm, batch.claimed, seqs, seen)?;
        self.tx.begin(self.now)?;
        counted.fresh = true;
        counted.dropped = batch.dropped.min(ROW);
        let at = self.dated(batch.at);
        let late = self.now.saturating_sub(at) > LATEST;
        if late {
            counted.late = batch.rows.iter().map(|r| r.requests.min(ROW)).sum();
        }
        self.tx
            .add_lost(self.now / 3600, counted.dropped, counted.late)?;
        if !late {
            (counted.outcomes, counted.exposes) = self.add(batch, source, at)?;
        }
        Ok(counted)
    }

    /// The minute that a batch is counted in.
    fn dated(&self, at: u64) -> u64 {
        if at > self.now.saturating_add(AHEAD) {
            self.now - self.now % GRAIN
        } else {
            at
        }
    }

    /// Its outcomes, and [`CountedBatch::exposes`].
    fn add(&mut self, batch: &Batch, source: i64, at: u64) -> Result<(Vec<(String, u64)>, bool)> {
        let mut keys = Vec::with_capacity(batch.keys.len());
        for key in &batch.keys {
            keys.push(self.key(key)?);
        }
        let mut routes = Vec::with_capacity(batch.routes.len());
        for name in &batch.routes {
            routes.push(self.tx.route(&plain(name, NAME))?);
        }
        let mut outcomes = Vec::with_capacity(batch.outcomes.len());
        for name in &batch.outcomes {
            outcomes.push((self.tx.outcome(&plain(name, NAME))?, 0u64));
        }
        let mut names = batch.outcomes.iter().zip(&outcomes);
        let in_the_clear = names.find(|(name, _)| *name == Denial::TlsRequired.code());
        let in_the_clear = in_the_clear.map(|(_, (number, _))| *number);
        for row in &batch.rows {
            let n = row.requests.min(ROW);
            let at_index = |i: u32| usize::try_from(i).unwrap_or(usize::MAX);
            let key = row.key.and_then(|i| keys.get_mut(at_index(i))?.as_mut());
            let route = row.route.and_then(|i| routes.get(at_index(i)));
            let Some((outcome, sum)) = outcomes.get_mut(at_index(row.outcome)) else {
                continue;
            };
            *sum += n;
            let mut cell = Cell {
                client: NOBODY,
                key: 0,
                route: route.copied().unwrap_or(0),
                outcome: *outcome,
            };
            if let Some(key) = key {
                (cell.client, cell.key) = (key.client, key.number);
                if *outcome == 0 {
                    key.allowed += n;
                } else if Some(*outcome) == in_the_clear {
                    key.exposed += n;
                }
            }
            *self.sums.entry((at, cell)).or_default() += n;
        }
        for (told, key) in batch.keys.iter().zip(&keys) {
            if let Some(key) = key.as_ref().filter(|k| k.allowed > 0) {
                self.allowed(told, key, source, at)?;
            }
        }
        let (mut exposes, node) = (false, plain(&batch.node, NAME));
        for key in keys.iter().flatten().filter(|k| k.exposed > 0) {
            // Of keys that the store does not know, there is nobody to tell.
            if key.facts.is_some_and(|facts| facts.is_at_risk(self.now)) {
                let told = (node.as_str(), key.exposed);
                exposes |= anomaly::exposed(self.tx, key.number, told, self.now)?;
            }
        }
        let sums = outcomes.into_iter().map(|(_, n)| n);
        let outcomes = batch.outcomes.iter().cloned().zip(sums).collect();
        Ok((outcomes, exposes))
    }

    fn key(&mut self, told: &KeyUse) -> Result<Option<Key<'r>>> {
        let Ok(id) = told.id.parse::<KeyId>() else {
            return Ok(None);
        };
        let facts = self.registry.facts.get(&id);
        let client = facts.map_or(NOBODY, |f| i64::from(f.client));
        Ok(Some(Key {
            number: self.tx.key_number(id, client)?,
            client,
            facts,
            allowed: 0,
            exposed: 0,
        }))
    }

    /// A key was let through.
    fn allowed(&mut self, told: &KeyUse, key: &Key<'_>, source: i64, at: u64) -> Result<()> {
        let address: Option<IpAddr> = told.address.as_deref().and_then(|a| a.parse().ok());
        let shown = address.map(|a| a.to_string());
        let agent = told.agent.as_deref().map(|a| plain(a, MAX_AGENT));
        self.tx.key_seen(
            key.number,
            KeySeen {
                // Not later than the report, whatever a clock says.
                last: told.last.clamp(at, at + GRAIN).min(self.now.max(at)),
                address: shown.as_deref(),
                agent: agent.as_deref(),
            },
        )?;
        if let Some(network) = address.and_then(network) {
            anomaly::network(self.tx, &self.settings, key.number, network, at)?;
        }
        let Some(facts) = key.facts else {
            return Ok(());
        };
        if let Some(end) = facts.overlap_end {
            anomaly::rotated(self.tx, &self.settings, key.number, end, key.allowed, at)?;
        }
        if let Some(quota) = self.registry.quota(facts) {
            let taken = (facts.lineage, window(quota, at), source);
            *self.quotas.entry(taken).or_default() += key.allowed;
        }
        Ok(())
    }

    /// Sums are written in the order of the tables, because neighbours are on the same page.
    fn write(&mut self) -> Result<()> {
        for step in Step::ALL {
            let oldest = self.now.saturating_sub(self.settings.kept(step));
            let (mut clients, mut keys) = (BTreeMap::new(), BTreeMap::new());
            for ((at, cell), n) in self.sums.iter().filter(|((at, _), _)| *at >= oldest) {
                let t = at / step.seconds();
                let mut client = Cell { key: 0, ..*cell };
                *clients.entry((t, client)).or_insert(0u64) += n;
                client.client = ALL;
                *clients.entry((t, client)).or_insert(0) += n;
                if cell.key != 0 {
                    *keys.entry((t, *cell)).or_insert(0u64) += n;
                }
            }
            for ((t, cell), n) in clients {
                self.tx.add_client(step, t, cell, n)?;
            }
            for ((t, cell), n) in keys {
                self.tx.add_key(step, t, cell, n)?;
            }
        }
        for ((lineage, window, source), n) in &self.quotas {
            self.tx.add_quota(*lineage, *window, *source, *n)?;
        }
        Ok(())
    }

    fn receipt(&self, batch: &Batch, source: i64) -> Result<Receipt> {
        let at = self.dated(batch.at);
        let mut windows = Vec::new();
        for told in &batch.keys {
            if let Ok(id) = told.id.parse::<KeyId>()
                && let Some(facts) = self.registry.facts.get(&id)
                && let Some(quota) = self.registry.quota(facts)
            {
                windows.push((window(quota, at), window(quota, self.now), facts.lineage));
            }
        }
        let mut quotas = Vec::new();
        // The current windows last: if there are two answers for one quota, the last should be the
        // newest.
        let before = windows.iter().filter(|(then, now, _)| then < now);
        let before: Vec<_> = before.map(|(then, _, l)| (*then, *l)).collect();
        let current = windows.iter().map(|(_, now, l)| (*now, *l));
        let mut wanted: Vec<(u64, KeyId)> = current.collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.truncate(QUOTAS);
        let room = QUOTAS - wanted.len();
        for (window, lineage) in before.into_iter().take(room).chain(wanted) {
            quotas.push(QuotaUse {
                lineage: lineage.to_string(),
                window,
                others: self.tx.quota_used(lineage, window, Some(source))?,
                given_back: self.tx.quota_given_back(lineage, window)?,
            });
        }
        Ok(Receipt {
            node: batch.node.clone(),
            epoch: batch.epoch,
            vm: batch.vm,
            claimed: batch.claimed,
            seq: batch.seq,
            quotas,
        })
    }
}

/// The client of what belongs to none.
pub const NOBODY: i64 = -1;
/// The client that stands for all of them.
const ALL: i64 = 0;

/// What has been counted for a VM after a batch, if the batch is new: the last number, and as bits
/// which of the 64 before it. A batch older than those was counted, because a VM has only a few
/// batches in transit.
fn after(counted: Option<(u64, u64)>, seq: u64) -> Option<(u64, u64)> {
    let Some((last, before)) = counted else {
        return Some((seq, 0));
    };
    if seq > last {
        let ahead = u32::try_from(seq - last).unwrap_or(u32::MAX);
        let shifted = before.checked_shl(ahead).unwrap_or(0);
        let bit = 1u64.checked_shl(ahead - 1).unwrap_or(0);
        return Some((seq, shifted | bit));
    }
    let behind = u32::try_from(last - seq).ok()?.checked_sub(1)?;
    let bit = 1u64.checked_shl(behind)?;
    (before & bit == 0).then_some((last, before | bit))
}

/// The network that an address belongs to: /24 or /48.
fn network(address: IpAddr) -> Option<IpNet> {
    let address = address.to_canonical();
    let length = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, length).ok().map(|net| net.trunc())
}

/// Text for terminals and tables, of at most this many characters.
fn plain(text: &str, most: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests;
