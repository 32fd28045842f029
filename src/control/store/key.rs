//! Keys in the store.

use std::collections::HashMap;

use ipnet::IpNet;
use keystile::key::{Digest, KeyId};
use keystile::keyset::{Network, Row};
use rusqlite::{OptionalExtension as _, Row as SqlRow, params};

use super::{Tx, column};
use crate::error::Result;
use crate::record::{self, Key, Rules};

const COLUMNS: &str =
    "key.id, digest, imported, client, client.name, client.plan, key.name, environment,
    publishable, scopes, key.plan, limits, expires, not_before, allow, deny, origins, key.labels,
    overlap_end, disabled, revoked, reason, lineage, rotated_from, key.created";
const TABLES: &str = "key JOIN client ON client.number = key.client";

fn read(row: &SqlRow<'_>) -> rusqlite::Result<Key> {
    Ok(Key {
        id: column::id(row, 0)?,
        digest: Digest(row.get(1)?),
        imported: row.get(2)?,
        client_number: column::number(row, 3)?,
        client: row.get(4)?,
        client_plan: row.get(5)?,
        rules: Rules {
            name: row.get(6)?,
            environment: column::parsed(row, 7)?,
            publishable: row.get(8)?,
            scopes: column::list(row, 9)?,
            plan: row.get(10)?,
            limits: column::limits(row, 11)?,
            expires: column::optional(row, 12)?,
            not_before: column::optional(row, 13)?,
            allow: column::list(row, 14)?,
            deny: column::list(row, 15)?,
            origins: column::list(row, 16)?,
            labels: column::labels(row, 17)?,
        },
        overlap_end: column::optional(row, 18)?,
        disabled: row.get(19)?,
        revoked: column::optional(row, 20)?,
        reason: row.get(21)?,
        lineage: column::id(row, 22)?,
        rotated_from: column::optional_id(row, 23)?,
        created: column::unsigned(row, 24)?,
    })
}

impl Tx<'_> {
    /// One key.
    pub fn key(&self, id: KeyId) -> Result<Option<Key>> {
        self.one("key.id = ?", column::signed(id.as_u64()))
    }

    /// The key with a digest.
    pub fn key_of_digest(&self, digest: &Digest) -> Result<Option<Key>> {
        self.one("digest = ?", digest.0)
    }

    /// The key that another one was rotated to.
    pub fn key_after(&self, id: KeyId) -> Result<Option<Key>> {
        self.one("rotated_from = ?", column::signed(id.as_u64()))
    }

    fn one(&self, condition: &str, value: impl rusqlite::ToSql) -> Result<Option<Key>> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE {condition}");
        Ok(self
            .tx
            .prepare_cached(&sql)?
            .query_row([value], read)
            .optional()?)
    }

    /// All keys, in no order.
    pub fn keys(&self) -> Result<Vec<Key>> {
        let mut statement = self
            .tx
            .prepare(&format!("SELECT {COLUMNS} FROM {TABLES}"))?;
        let rows = statement.query_map([], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// All keys as the keyset wants them, in no order. A query of its own, because it
    /// runs with every push, over every key.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let clients = self.client_names()?;
        let mut statement = self.tx.prepare(
            "SELECT id, digest, imported, client, environment, publishable, scopes, plan, limits, expires,
               not_before, overlap_end, disabled, revoked IS NOT NULL, lineage, allow, deny, origins FROM key",
        )?;
        let networks = |r: &SqlRow<'_>, column| -> rusqlite::Result<Vec<Network>> {
            let nets: Vec<IpNet> = column::list(r, column)?;
            Ok(nets.into_iter().map(record::network).collect())
        };
        let rows = statement.query_map([], |r| {
            let client_number = column::number(r, 3)?;
            let (client, client_plan) = clients
                .get(&client_number)
                .ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            let plan: Option<String> = r.get(7)?;
            Ok(Row {
                id: column::id(r, 0)?,
                digest: Digest(r.get(1)?),
                foreign: r.get(2)?,
                client: client.clone(),
                client_number,
                environment: column::parsed(r, 4)?,
                publishable: r.get(5)?,
                scopes: column::list(r, 6)?,
                plan: plan.or_else(|| client_plan.clone()),
                limits: column::limits(r, 8)?,
                expires: column::optional(r, 9)?,
                not_before: column::optional(r, 10)?,
                overlap_end: column::optional(r, 11)?,
                disabled: r.get(12)?,
                revoked: r.get(13)?,
                lineage: column::id(r, 14)?,
                allow: networks(r, 15)?,
                deny: networks(r, 16)?,
                origins: column::list(r, 17)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Names and plans of all clients, deleted ones too, by number.
    fn client_names(&self) -> Result<HashMap<u32, (String, Option<String>)>> {
        let mut statement = self.tx.prepare("SELECT number, name, plan FROM client")?;
        let rows =
            statement.query_map([], |r| Ok((column::number(r, 0)?, (r.get(1)?, r.get(2)?))))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The keys of one client.
    pub fn keys_of(&self, client: u32) -> Result<Vec<Key>> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE key.client = ?");
        let mut statement = self.tx.prepare(&sql)?;
        let rows = statement.query_map([client], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Adds a key.
    pub fn insert_key(&mut self, key: &Key) -> Result<()> {
        let rules = &key.rules;
        self.tx
            .prepare_cached(
                "INSERT INTO key (id, client, digest, imported, name, environment, publishable, scopes,
                   plan, limits, expires, not_before, overlap_end, disabled, revoked, reason, lineage,
                   rotated_from, allow, deny, origins, labels, created)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                column::signed(key.id.as_u64()),
                key.client_number,
                key.digest.0,
                key.imported,
                rules.name,
                rules.environment.as_str(),
                rules.publishable,
                column::joined(&rules.scopes),
                rules.plan,
                column::limits_text(&rules.limits),
                rules.expires.map(column::signed),
                rules.not_before.map(column::signed),
                key.overlap_end.map(column::signed),
                key.disabled,
                key.revoked.map(column::signed),
                key.reason,
                column::signed(key.lineage.as_u64()),
                key.rotated_from.map(|k| column::signed(k.as_u64())),
                column::joined(&rules.allow),
                column::joined(&rules.deny),
                column::joined(&rules.origins),
                column::labels_text(&rules.labels),
                column::signed(key.created),
            ])?;
        Ok(())
    }

    /// Writes what can change about a key: its rules and its state.
    pub fn update_key(&mut self, key: &Key) -> Result<()> {
        let rules = &key.rules;
        self.tx
            .prepare_cached(
                "UPDATE key SET name = ?, scopes = ?, plan = ?, limits = ?, expires = ?, not_before = ?,
                   overlap_end = ?, disabled = ?, revoked = ?, reason = ?, allow = ?, deny = ?,
                   origins = ?, labels = ? WHERE id = ?",
            )?
            .execute(params![
                rules.name,
                column::joined(&rules.scopes),
                rules.plan,
                column::limits_text(&rules.limits),
                rules.expires.map(column::signed),
                rules.not_before.map(column::signed),
                key.overlap_end.map(column::signed),
                key.disabled,
                key.revoked.map(column::signed),
                key.reason,
                column::joined(&rules.allow),
                column::joined(&rules.deny),
                column::joined(&rules.origins),
                column::labels_text(&rules.labels),
                column::signed(key.id.as_u64()),
            ])?;
        Ok(())
    }
}
