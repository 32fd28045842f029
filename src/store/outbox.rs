//! Webhooks, their messages, and the state of key rotation.

use crate::trouble::Sql as _;
use keystile_core::key::KeyId;
use rusqlite::{OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

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

fn webhook(row: &Row<'_>) -> rusqlite::Result<Webhook> {
    let events: String = row.get(3)?;
    Ok(Webhook {
        number: column::number(row, 0)?,
        name: row.get(1)?,
        url: row.get(2)?,
        events: events.split_whitespace().map(str::to_owned).collect(),
        cursor: column::unsigned(row, 4)?,
        created: column::unsigned(row, 5)?,
        waiting: column::unsigned(row, 6)?,
    })
}

impl Tx<'_> {
    /// Every webhook, by name.
    pub fn webhooks(&self) -> Result<Vec<Webhook>> {
        let mut statement = self
            .tx
            .prepare_cached(
                "SELECT number, name, url, events, cursor, created,
               (SELECT count(*) FROM message WHERE webhook = number)
             FROM webhook ORDER BY name",
            )
            .sql()?;
        let rows = statement.query_map([], webhook).sql()?;
        rows.collect::<rusqlite::Result<_>>().sql()
    }

    /// Adds a webhook and gives its number.
    pub fn insert_webhook(&mut self, hook: &Webhook, secret: &WebhookSecret) -> Result<u32> {
        let number = self
            .tx
            .prepare_cached(
                "INSERT INTO webhook (name, url, secret, events, cursor, created)
                 VALUES (?, ?, ?, ?, ?, ?) RETURNING number",
            )
            .sql()?
            .query_row(
                params![
                    hook.name,
                    hook.url,
                    secret.expose_bytes(),
                    hook.events.join(" "),
                    column::signed(hook.cursor),
                    column::signed(hook.created),
                ],
                |r| column::number(r, 0),
            )
            .sql()?;
        Ok(number)
    }

    /// Removes a webhook and its messages.
    pub fn delete_webhook(&mut self, number: u32) -> Result<()> {
        self.tx
            .execute("DELETE FROM webhook WHERE number = ?", [number])
            .sql()?;
        Ok(())
    }

    /// Stores up to which audit record a webhook has been processed.
    pub fn set_webhook_cursor(&mut self, number: u32, cursor: u64) -> Result<()> {
        self.tx
            .prepare_cached("UPDATE webhook SET cursor = ? WHERE number = ?")
            .sql()?
            .execute(params![column::signed(cursor), number])
            .sql()?;
        Ok(())
    }

    /// Queues a message.
    pub fn insert_message(&mut self, webhook: u32, seq: u64, next: u64) -> Result<()> {
        self.tx
            .prepare_cached(
                "INSERT OR IGNORE INTO message (webhook, seq, failures, next) VALUES (?, ?, 0, ?)",
            )
            .sql()?
            .execute(params![webhook, column::signed(seq), column::signed(next)])
            .sql()?;
        Ok(())
    }

    /// Messages of a webhook that are due, longest due first. Those whose audit record was pruned
    /// have no content left and are skipped.
    pub fn due_messages(&self, webhook: u32, now: u64, most: u32) -> Result<Vec<DueMessage>> {
        let mut statement = self
            .tx
            .prepare_cached(
                "SELECT message.webhook, message.seq, message.failures, webhook.url, webhook.secret
             FROM message JOIN webhook ON webhook.number = message.webhook
             WHERE message.webhook = ? AND message.next <= ?
               AND EXISTS (SELECT 1 FROM audit WHERE audit.seq = message.seq)
             ORDER BY message.next, message.seq LIMIT ?",
            )
            .sql()?;
        let rows = statement
            .query_map(params![webhook, column::signed(now), most], |r| {
                let secret: Vec<u8> = r.get(4)?;
                Ok((
                    column::number(r, 0)?,
                    column::unsigned(r, 1)?,
                    column::number(r, 2)?,
                    r.get::<_, String>(3)?,
                    WebhookSecret::from_bytes(Zeroizing::new(secret)),
                ))
            })
            .sql()?;
        let mut out = Vec::new();
        for row in rows {
            let (webhook, seq, failures, url, secret) = row.sql()?;
            if let Some(record) = self.audit_record(seq)? {
                out.push(DueMessage {
                    webhook,
                    url,
                    secret,
                    failures,
                    record,
                    timeline: (self.meta.began > 0).then_some(self.meta.timeline),
                });
            }
        }
        Ok(out)
    }

    /// Whether there are messages whose audit record was pruned.
    pub fn has_lost_messages(&self) -> Result<bool> {
        let found = self
            .tx
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM message WHERE seq <= ?)")
            .sql()?
            .query_row([column::signed(self.meta.start.seq)], |r| r.get(0))
            .sql()?;
        Ok(found)
    }

    /// Removes messages from the queue whose audit record was pruned; gives their number.
    pub fn drop_lost_messages(&mut self) -> Result<u64> {
        let dropped = self
            .tx
            .prepare_cached("DELETE FROM message WHERE seq <= ?")
            .sql()?
            .execute([column::signed(self.meta.start.seq)])
            .sql()?;
        Ok(dropped as u64)
    }

    /// Postpones a message.
    pub fn postpone_message(
        &mut self,
        webhook: u32,
        seq: u64,
        failures: u32,
        next: u64,
    ) -> Result<()> {
        self.tx
            .prepare_cached(
                "UPDATE message SET failures = ?, next = ? WHERE webhook = ? AND seq = ?",
            )
            .sql()?
            .execute(params![
                failures,
                column::signed(next),
                webhook,
                column::signed(seq)
            ])
            .sql()?;
        Ok(())
    }

    /// Removes a message from the queue.
    pub fn delete_message(&mut self, webhook: u32, seq: u64) -> Result<()> {
        self.tx
            .prepare_cached("DELETE FROM message WHERE webhook = ? AND seq = ?")
            .sql()?
            .execute(params![webhook, column::signed(seq)])
            .sql()?;
        Ok(())
    }

    /// The last warning about a key: the deadline that it meant, and how many days before.
    pub fn warning(&self, key: KeyId) -> Result<Option<(u64, u64)>> {
        let found = self
            .tx
            .prepare_cached("SELECT deadline, days FROM warning WHERE key = ?")
            .sql()?
            .query_row([column::signed(key.as_u64())], |r| {
                Ok((column::unsigned(r, 0)?, column::unsigned(r, 1)?))
            })
            .optional()
            .sql()?;
        Ok(found)
    }

    /// Stores a warning.
    pub fn set_warning(&mut self, key: KeyId, deadline: u64, days: u64) -> Result<()> {
        self.tx
            .prepare_cached("INSERT OR REPLACE INTO warning (key, deadline, days) VALUES (?, ?, ?)")
            .sql()?
            .execute(params![
                column::signed(key.as_u64()),
                column::signed(deadline),
                column::signed(days)
            ])
            .sql()?;
        Ok(())
    }

    /// When a key's successor was made ready, and when it was fetched.
    pub fn handover(&self, key: KeyId) -> Result<Option<(u64, Option<u64>)>> {
        let found = self
            .tx
            .prepare_cached("SELECT since, fetched FROM handover WHERE key = ?")
            .sql()?
            .query_row([column::signed(key.as_u64())], |r| {
                Ok((column::unsigned(r, 0)?, column::optional(r, 1)?))
            })
            .optional()
            .sql()?;
        Ok(found)
    }

    /// Makes a key's successor ready.
    pub fn insert_handover(&mut self, key: KeyId, since: u64) -> Result<()> {
        self.tx
            .prepare_cached("INSERT INTO handover (key, since) VALUES (?, ?)")
            .sql()?
            .execute(params![column::signed(key.as_u64()), column::signed(since)])
            .sql()?;
        Ok(())
    }

    /// Stores that it was fetched.
    pub fn set_fetched(&mut self, key: KeyId, at: u64) -> Result<()> {
        self.tx
            .prepare_cached("UPDATE handover SET fetched = ? WHERE key = ?")
            .sql()?
            .execute(params![column::signed(at), column::signed(key.as_u64())])
            .sql()?;
        Ok(())
    }
}
