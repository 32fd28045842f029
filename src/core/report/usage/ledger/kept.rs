//! What was let in with keys that there is no room for in rows.
//!
//! Quotas count by it, so none of it is ever dropped. Of each key three numbers are left; there are
//! no more of them than keys that keysets have named since the last receipt.

use super::super::table::{Count, GivenUp, Minute, OK, RowKey, Seen};
use crate::sort;

/// Sums by key.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The latest minute that any of it is from.
    at: u64,
    /// In the order of keys.
    sums: Vec<GivenUp>,
}

impl Kept {
    /// Adds rows of a minute.
    pub fn add(&mut self, at: u64, rows: impl IntoIterator<Item = GivenUp>) {
        self.at = self.at.max(at);
        self.sums.extend(rows);
        sort::many(&mut self.sums, |a, b| a.key < b.key);
        self.sums.dedup_by(|row, kept| {
            let is_same = row.key == kept.key;
            if is_same {
                kept.requests = kept.requests.saturating_add(row.requests);
                kept.last = kept.last.max(row.last);
            }
            is_same
        });
    }

    /// Takes out a part of it, to be reported as a minute.
    pub fn take(&mut self, most: usize) -> Option<Minute> {
        let rest = self.sums.len().saturating_sub(most);
        let part = self.sums.split_off(rest);
        if part.is_empty() {
            return None;
        }
        // What is taken often is not to hold on to the memory of its worst hour.
        self.sums.shrink_to_fit();
        let row = |(slot, row): (u32, &GivenUp)| {
            let key = RowKey {
                key: Some(row.key),
                route: 0,
                outcome: OK,
            };
            let requests = row.requests;
            (key, Count { requests, slot })
        };
        Some(Minute {
            at: self.at,
            rows: (0..).zip(&part).map(row).collect(),
            keys: part
                .iter()
                .map(|row| Seen::without_origin(row.key, row.last))
                .collect(),
        })
    }

    /// Keys in it.
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Requests in it.
    pub fn requests(&self) -> u64 {
        let all = self.sums.iter();
        all.fold(0, |sum, row| sum.saturating_add(row.requests))
    }

    /// Key by key.
    #[cfg(test)]
    pub fn sums(&self) -> &[GivenUp] {
        &self.sums
    }
}
