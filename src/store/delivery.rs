//! The last attempts to deliver to each webhook: enough to see what is wrong with a receiver.

use std::collections::HashSet;

use crate::sql::{SqlRow, params};

use super::{Tx, column};
use keystile_model::error::Result;
use keystile_model::record::DeliveryAttempt;

/// The attempts that are kept for each webhook.
pub const KEPT_DELIVERIES: u32 = 200;

const SELECT: &str = "SELECT delivery.seq, action, attempt, at, took_ms, status, failure, message.next
    FROM delivery LEFT JOIN message ON message.webhook = delivery.webhook AND message.seq = delivery.seq";

fn attempt(row: &SqlRow<'_>) -> Result<DeliveryAttempt> {
    let status: Option<u64> = column::optional(row, 5)?;
    let failure: String = row.get(6)?;
    Ok(DeliveryAttempt {
        seq: column::unsigned(row, 0)?,
        action: row.get(1)?,
        attempt: column::number(row, 2)?,
        at: column::unsigned(row, 3)?,
        took_ms: column::unsigned(row, 4)?,
        status: status.and_then(|s| u16::try_from(s).ok()),
        failure: Some(failure).filter(|f| !f.is_empty()),
        next: column::optional(row, 7)?,
    })
}

impl Tx<'_> {
    /// Notes an attempt, and forgets the oldest ones.
    pub fn insert_delivery(&mut self, webhook: u32, tried: &DeliveryAttempt) -> Result<()> {
        let number: u64 = self.tx.one(
            "SELECT coalesce(max(number), 0) + 1 FROM delivery WHERE webhook = ?",
            params![webhook],
            |r| column::unsigned(r, 0),
        )?;
        self.tx.execute(
            "INSERT INTO delivery (webhook, number, seq, action, attempt, at, took_ms, status, failure)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                webhook,
                column::signed(number),
                column::signed(tried.seq),
                tried.action,
                tried.attempt,
                column::signed(tried.at),
                column::signed(tried.took_ms),
                tried.status.map(|s| column::signed(u64::from(s))),
                tried.failure.as_deref().unwrap_or_default(),
            ],
        )?;
        let last = number.saturating_sub(u64::from(KEPT_DELIVERIES));
        self.tx.execute(
            "DELETE FROM delivery WHERE webhook = ? AND number <= ?",
            params![webhook, column::signed(last)],
        )?;
        Ok(())
    }

    /// The last attempts for a webhook, the newest first.
    pub fn deliveries(&self, webhook: u32, most: u32) -> Result<Vec<DeliveryAttempt>> {
        let sql =
            format!("{SELECT} WHERE delivery.webhook = ? ORDER BY delivery.number DESC LIMIT ?");
        let mut all: Vec<DeliveryAttempt> = self.tx.all(&sql, params![webhook, most], attempt)?;
        let mut newer = HashSet::new();
        for one in &mut all {
            // Only after the last attempt for a message is there a next one.
            if !newer.insert(one.seq) {
                one.next = None;
            }
        }
        Ok(all)
    }
}
