//! The next batch, of what waits.

use core::net::IpAddr;

use super::super::table::Minute;
use super::super::{Batch, KeyUse, MAX_ROWS, Row};
use super::{BatchSender, FILL, Flight, Ledger, index};
use crate::fast_hash::FastMap;
use crate::key::KeyId;

impl Ledger {
    /// Writes the oldest minute, or as much of it as fits, as the batch to send next.
    pub(super) fn write(&mut self, sender: &BatchSender, seq: &mut u64) {
        let kept = self.kept.take(MAX_ROWS);
        let is_kept = kept.is_some();
        let Some(mut minute) = kept.or_else(|| self.waiting.pop_front()) else {
            return;
        };
        let next = seq.saturating_add(1);
        let (batch, taken) = self.batch(&minute, sender, next);
        let requests = batch
            .rows
            .iter()
            .fold(0, |n: u64, r| n.saturating_add(r.requests));
        let Ok(body) = serde_json::to_vec(&batch) else {
            self.untold = batch.dropped.saturating_add(minute.requests());
            self.dropped = self.dropped.saturating_add(minute.requests());
            return;
        };
        *seq = next;
        self.untold = 0;
        self.flight = Some(Flight {
            requests: requests.saturating_add(batch.dropped),
            head: Batch {
                routes: Vec::new(),
                outcomes: Vec::new(),
                keys: Vec::new(),
                rows: Vec::new(),
                ..batch
            },
            body,
            until: None,
            next: 0,
        });
        if is_kept {
            self.kept.add(minute.at, minute.rest(taken));
        } else if taken < minute.rows.len() {
            minute.rows.drain(..taken);
            self.waiting.push_front(minute);
        }
    }

    fn batch(&self, minute: &Minute, sender: &BatchSender, seq: u64) -> (Batch, usize) {
        let mut batch = Batch {
            node: sender.node.clone(),
            epoch: sender.epoch,
            vm: sender.vm,
            claimed: sender.claimed,
            seq,
            store: sender.store.clone(),
            at: minute.at,
            outcomes: self.outcomes.iter().map(|&c| c.to_owned()).collect(),
            dropped: self.untold,
            ..Batch::default()
        };
        let mut routes: FastMap<u64, u32> = FastMap::default();
        let mut last_key = None;
        let mut bytes = 1024 + batch.node.len() * 6;
        let mut taken = 0;
        for (row, count) in &minute.rows {
            let seen = minute.key(count);
            let is_new_key = seen.is_some_and(|s| last_key != Some(s.id));
            let route = (row.route != 0).then_some(row.route);
            let name = route.and_then(|id| self.routes.get(&id));
            bytes += 48;
            if let Some(seen) = seen.filter(|_| is_new_key) {
                bytes += 160 + seen.origin.agent.as_ref().map_or(0, |a| a.len() * 2);
            }
            if route.is_some_and(|id| !routes.contains_key(&id)) {
                // Six is what the longest character takes in JSON.
                bytes += 4 + name.map_or(0, |n| n.len() * 6);
            }
            if taken == MAX_ROWS || (taken > 0 && bytes > FILL) {
                break;
            }
            taken += 1;
            if let Some(seen) = seen.filter(|_| is_new_key) {
                last_key = Some(seen.id);
                batch.keys.push(KeyUse {
                    id: KeyId::from_u64(seen.id)
                        .map(|id| id.to_string())
                        .unwrap_or_default(),
                    last: seen.last,
                    address: seen.origin.address.map(|a: IpAddr| a.to_string()),
                    agent: seen.origin.agent.as_deref().map(str::to_owned),
                });
            }
            let route = route.map(|id| {
                *routes.entry(id).or_insert_with(|| {
                    batch
                        .routes
                        .push(name.map(|n| n.to_string()).unwrap_or_default());
                    index(batch.routes.len())
                })
            });
            batch.rows.push(Row {
                key: seen.map(|_| index(batch.keys.len())),
                route,
                outcome: u32::from(row.outcome),
                requests: count.requests,
            });
        }
        (batch, taken)
    }
}
