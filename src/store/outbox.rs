//! Webhooks, their messages, and the state of key rotation.

use crate::sql::{SqlRow, params};
use keystile_core::key::KeyId;

use super::{Timeline, Tx, column};
use keystile_model::audit::Record;
use keystile_model::error::Result;
use keystile_model::record::Webhook;
use keystile_model::webhook::WebhookSecret;

/// A message that is due.
pub struct DueMessage {
    /// Number of its webhook.
    pub webhook: u32,
    /// Where it goes.
    pub url: String,
    /// What signs it.
    pub secret: WebhookSecret,
    /// How many attempts have failed.
    pub failures: u32,
    /// The record that it is about.
    pub record: Record,
    /// The store's timeline, unless that is the first.
    pub timeline: Option<Timeline>,
}

fn webhook(row: &SqlRow<'_>) -> Result<Webhook> {
    let events: String = row.get(3)?;
    Ok(Webhook {
        number: column::number(row, 0)?,
        name: row.get(1)?,
        url: row.get(2)?,
        events: events.split_whitespace().map(str::to_owned).collect(),
        cursor: column::unsigned(row, 4)?,
        created: column::unsigned(row, 5)?,
        waiting: column::unsigned(row, 6)?,
        paused: column::optional(row, 7)?,
    })
}

/// Where the secret of a webhook is kept.
fn place(name: &str) -> String {
    format!("webhook.secret {name}")
}

impl Tx<'_> {
    /// Every webhook, by name.
    pub fn webhooks(&self) -> Result<Vec<Webhook>> {
        self.tx.all(
            "SELECT number, name, url, events, cursor, created,
               (SELECT count(*) FROM message WHERE webhook = number), paused
             FROM webhook ORDER BY name",
            &[],
            webhook,
        )
    }

    /// Adds a webhook and gives its number.
    pub fn insert_webhook(&mut self, hook: &Webhook, secret: &WebhookSecret) -> Result<u32> {
        let number = self.tx.one(
            "INSERT INTO webhook (name, url, secret, events, cursor, created)
                 VALUES (?, ?, ?, ?, ?, ?) RETURNING number",
            params![
                hook.name,
                hook.url,
                self.sealed(&place(&hook.name), secret.expose_bytes())?,
                hook.events.join(" "),
                column::signed(hook.cursor),
                column::signed(hook.created),
            ],
            |r| column::number(r, 0),
        )?;
        Ok(number)
    }

    /// Removes a webhook and its messages.
    pub fn delete_webhook(&mut self, number: u32) -> Result<()> {
        self.tx
            .execute("DELETE FROM webhook WHERE number = ?", params![number])?;
        Ok(())
    }

    /// Stores up to which audit record a webhook has been processed.
    pub fn set_webhook_cursor(&mut self, number: u32, cursor: u64) -> Result<()> {
        self.tx.execute(
            "UPDATE webhook SET cursor = ? WHERE number = ?",
            params![column::signed(cursor), number],
        )?;
        Ok(())
    }

    /// Pauses a webhook, or lets it go on.
    pub fn set_webhook_paused(&mut self, number: u32, since: Option<u64>) -> Result<()> {
        self.tx.execute(
            "UPDATE webhook SET paused = ? WHERE number = ?",
            params![since.map(column::signed), number],
        )?;
        Ok(())
    }

    /// Queues a message.
    pub fn insert_message(&mut self, webhook: u32, seq: u64, next: u64) -> Result<()> {
        self.tx.execute(
            "INSERT INTO message (webhook, seq, failures, next) VALUES (?, ?, 0, ?)
             ON CONFLICT DO NOTHING",
            params![webhook, column::signed(seq), column::signed(next)],
        )?;
        Ok(())
    }

    /// Messages of a webhook that are due, longest due first; none while it is paused. Those whose audit record was pruned
    /// have no content left and are skipped.
    pub fn due_messages(&self, webhook: u32, now: u64, most: u32) -> Result<Vec<DueMessage>> {
        let sql =
            "SELECT message.webhook, message.seq, message.failures, webhook.url, webhook.secret, webhook.name
             FROM message JOIN webhook ON webhook.number = message.webhook
             WHERE message.webhook = ? AND message.next <= ? AND webhook.paused IS NULL
               AND EXISTS (SELECT 1 FROM audit WHERE audit.seq = message.seq)
             ORDER BY message.next, message.seq LIMIT ?";
        let mut due = Vec::new();
        self.tx
            .each(sql, params![webhook, column::signed(now), most], |r| {
                if let Some(record) = self.audit_record(column::unsigned(r, 1)?)? {
                    due.push(DueMessage {
                        webhook: column::number(r, 0)?,
                        url: r.get(3)?,
                        secret: WebhookSecret::from_bytes(
                            self.revealed(&place(column::text(r, 5)?), r.get(4)?)?,
                        ),
                        failures: column::number(r, 2)?,
                        record,
                        timeline: (self.meta.began > 0).then_some(self.meta.timeline),
                    });
                }
                Ok(true)
            })?;
        Ok(due)
    }

    /// Whether there are messages whose audit record was pruned.
    pub fn has_lost_messages(&self) -> Result<bool> {
        let found = self.tx.one(
            "SELECT EXISTS (SELECT 1 FROM message WHERE seq <= ?)",
            params![column::signed(self.meta.start.seq)],
            |r| r.get(0),
        )?;
        Ok(found)
    }

    /// Removes messages from the queue whose audit record was pruned; gives their number.
    pub fn drop_lost_messages(&mut self) -> Result<u64> {
        let dropped = self.tx.execute(
            "DELETE FROM message WHERE seq <= ?",
            params![column::signed(self.meta.start.seq)],
        )?;
        Ok(dropped)
    }

    /// Makes a message due now, whether it waits or not.
    pub fn hasten_message(&mut self, webhook: u32, seq: u64, now: u64) -> Result<()> {
        self.tx.execute(
            "INSERT INTO message (webhook, seq, failures, next) VALUES (?, ?, 0, ?)
             ON CONFLICT (webhook, seq) DO UPDATE SET next = excluded.next",
            params![webhook, column::signed(seq), column::signed(now)],
        )?;
        Ok(())
    }

    /// Postpones a message.
    pub fn postpone_message(
        &mut self,
        webhook: u32,
        seq: u64,
        failures: u32,
        next: u64,
    ) -> Result<()> {
        self.tx.execute(
            "UPDATE message SET failures = ?, next = ? WHERE webhook = ? AND seq = ?",
            params![failures, column::signed(next), webhook, column::signed(seq)],
        )?;
        Ok(())
    }

    /// Removes a message from the queue.
    pub fn delete_message(&mut self, webhook: u32, seq: u64) -> Result<()> {
        self.tx.execute(
            "DELETE FROM message WHERE webhook = ? AND seq = ?",
            params![webhook, column::signed(seq)],
        )?;
        Ok(())
    }

    /// The last warning about a key: the deadline that it meant, and how many days before.
    pub fn warning(&self, key: KeyId) -> Result<Option<(u64, u64)>> {
        let found = self.tx.optional(
            "SELECT deadline, days FROM warning WHERE key = ?",
            params![column::signed(key.as_u64())],
            |r| Ok((column::unsigned(r, 0)?, column::unsigned(r, 1)?)),
        )?;
        Ok(found)
    }

    /// Stores a warning.
    pub fn set_warning(&mut self, key: KeyId, deadline: u64, days: u64) -> Result<()> {
        self.tx.execute(
            "INSERT INTO warning (key, deadline, days) VALUES (?, ?, ?)
             ON CONFLICT (key) DO UPDATE SET deadline = excluded.deadline, days = excluded.days",
            params![
                column::signed(key.as_u64()),
                column::signed(deadline),
                column::signed(days)
            ],
        )?;
        Ok(())
    }

    /// When a key's successor was made ready, and when it was fetched.
    pub fn handover(&self, key: KeyId) -> Result<Option<(u64, Option<u64>)>> {
        let found = self.tx.optional(
            "SELECT since, fetched FROM handover WHERE key = ?",
            params![column::signed(key.as_u64())],
            |r| Ok((column::unsigned(r, 0)?, column::optional(r, 1)?)),
        )?;
        Ok(found)
    }

    /// Makes a key's successor ready.
    pub fn insert_handover(&mut self, key: KeyId, since: u64) -> Result<()> {
        self.tx.execute(
            "INSERT INTO handover (key, since) VALUES (?, ?)",
            params![column::signed(key.as_u64()), column::signed(since)],
        )?;
        Ok(())
    }

    /// Stores that it was fetched.
    pub fn set_fetched(&mut self, key: KeyId, at: u64) -> Result<()> {
        self.tx.execute(
            "UPDATE handover SET fetched = ? WHERE key = ?",
            params![column::signed(at), column::signed(key.as_u64())],
        )?;
        Ok(())
    }
}
