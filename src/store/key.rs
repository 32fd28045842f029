//! Keys in the store.

mod row;

use crate::sql::{SqlRow, ToValue, Value, params};
use std::collections::{BTreeMap, BTreeSet};

use keystile_core::key::{Digest, KeyId};

use super::rows::{self, Sql, Values};
use super::{Tx, column};
use keystile_model::error::Result;
use keystile_model::key::Rules;
use keystile_model::record::Key;
pub(crate) use row::{IMPORTED, SINCE};

const COLUMNS: &str =
    "key.id, digest, imported, client, client.name, client.plan, key.name, environment,
    publishable, scopes, key.plan, limits, expires, not_before, allow, deny, origins, key.labels,
    overlap_end, disabled, revoked, reason, lineage, rotated_from, key.created, rotate_every, grace,
    certificates";
const TABLES: &str = "key JOIN client ON client.number = key.client";

pub(crate) const ON_PLANS: &str =
    "SELECT on_plan, CAST(sum(n) AS BIGINT) FROM (SELECT coalesce(k.plan, client.plan) AS on_plan, k.n FROM
      (SELECT client, plan, count(*) AS n FROM key INDEXED BY key_living
       WHERE revoked IS NULL GROUP BY client, plan) AS k
    JOIN client ON client.number = k.client WHERE coalesce(client.name = ?, TRUE)) AS all_plans
    WHERE on_plan IS NOT NULL GROUP BY on_plan";

const INSERT: Sql<'_> = Sql {
    head: "INSERT INTO key (changed, id, client, digest, imported, name, environment, publishable,
        scopes, plan, limits, expires, not_before, overlap_end, disabled, revoked, reason, lineage,
        rotated_from, allow, deny, origins, labels, created, rotate_every, grace,
        certificates) VALUES ",
    shared: 1,
    row: "(?1, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #, #)",
    tail: "",
};

const SET_OVERLAP_END: Sql<'_> = Sql {
    head: "UPDATE key SET overlap_end = ?1, changed = ?2 WHERE id IN (",
    shared: 2,
    row: "#",
    tail: ")",
};

const TOUCH_CLIENTS: Sql<'_> = Sql {
    head: "UPDATE client SET revision = ?1 WHERE revision <> ?1
        AND number IN (SELECT client FROM key WHERE id IN (",
    shared: 1,
    row: "#",
    tail: "))",
};

fn read(row: &SqlRow<'_>) -> Result<Key> {
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
            cidrs: column::list(row, 14)?,
            deny_cidrs: column::list(row, 15)?,
            origins: column::list(row, 16)?,
            certificates: column::list(row, 27)?,
            labels: column::labels(row, 17)?,
            rotate_every: column::optional(row, 25)?,
            grace: column::optional(row, 26)?,
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

/// The numbers of keys, for a statement.
fn values_of(ids: &[KeyId]) -> Vec<Value<'static>> {
    let numbers = ids.iter().map(|id| column::signed(id.as_u64()));
    numbers.map(Value::from).collect()
}

impl Tx<'_> {
    /// One key.
    pub fn key(&self, id: KeyId) -> Result<Option<Key>> {
        self.one("key.id = ?", column::signed(id.as_u64()))
    }

    /// Existing keys with these ids, sorted by id.
    pub fn keys_named(&self, ids: &[KeyId]) -> Result<Vec<Key>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let named = format!("SELECT {COLUMNS} FROM {TABLES} WHERE key.id IN (");
        let sql = Sql {
            head: &named,
            shared: 0,
            row: "#",
            tail: ") ORDER BY key.id",
        };
        self.tx.all(&sql.over(ids.len()), &values_of(ids), read)
    }

    /// Whether there is a key of that id.
    pub fn has_key(&self, id: KeyId) -> Result<bool> {
        self.tx.exists(
            "SELECT 1 FROM key WHERE id = ?",
            params![column::signed(id.as_u64())],
        )
    }

    /// Whether there is a key of any of these ids.
    pub fn has_any_key(&self, ids: &[KeyId]) -> Result<bool> {
        if ids.is_empty() {
            return Ok(false);
        }
        let sql = Sql {
            head: "SELECT 1 FROM key WHERE id IN (",
            shared: 0,
            row: "#",
            tail: ")",
        };
        self.tx.exists(&sql.over(ids.len()), &values_of(ids))
    }

    /// The key with a digest.
    pub fn key_of_digest(&self, digest: &Digest) -> Result<Option<Key>> {
        self.one("digest = ?", digest.0)
    }

    /// The key that another one was rotated to.
    pub fn key_after(&self, id: KeyId) -> Result<Option<Key>> {
        self.one("rotated_from = ?", column::signed(id.as_u64()))
    }

    fn one(&self, condition: &str, value: impl ToValue) -> Result<Option<Key>> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE {condition}");
        self.tx.optional(&sql, params![value], read)
    }

    /// All keys, in no particular order.
    #[doc(hidden)]
    pub fn keys(&self) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        self.each_key(|key| keys.push(key))?;
        Ok(keys)
    }

    /// Passes every key to `each`, in no particular order.
    ///
    /// # Errors
    /// Those of the store; or if this is to be interrupted.
    pub fn each_key(&self, each: impl FnMut(Key)) -> Result<()> {
        self.each_key_where("TRUE", &[], each)
    }

    /// The same for the keys that have changed since a version, either themselves or with their
    /// client.
    ///
    /// # Errors
    /// Those of the store; or if this is to be interrupted.
    pub fn each_key_since(&self, version: u64, each: impl FnMut(Key)) -> Result<()> {
        let condition = format!("key.id IN (SELECT id FROM key WHERE {SINCE})");
        self.each_key_where(&condition, params![column::signed(version)], each)
    }

    fn each_key_where(
        &self,
        condition: &str,
        values: &[Value<'_>],
        mut each: impl FnMut(Key),
    ) -> Result<()> {
        self.tx.each(
            &format!("SELECT {COLUMNS} FROM {TABLES} WHERE {condition}"),
            values,
            |row| {
                self.go_on()?;
                each(read(row)?);
                Ok(true)
            },
        )
    }

    /// Passes each key that is valid at a given time or may become so, and has not been replaced,
    /// to `each`, sorted by id.
    pub fn each_living_key(&self, now: u64, mut each: impl FnMut(Key)) -> Result<()> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {TABLES} WHERE revoked IS NULL AND NOT disabled
               AND overlap_end IS NULL AND coalesce(expires > ?, TRUE) ORDER BY key.id"
        );
        self.tx.each(&sql, params![column::signed(now)], |row| {
            each(read(row)?);
            Ok(true)
        })
    }

    /// Passes keys to `each`, sorted by id, after `cursor`, of one client if given, until `each`
    /// has enough.
    pub fn keys_after(
        &self,
        client: Option<u32>,
        cursor: Option<KeyId>,
        mut each: impl FnMut(Key) -> bool,
    ) -> Result<()> {
        let condition = if client.is_some() {
            "key.client = ?1"
        } else {
            "?1 IS NULL"
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM {TABLES} WHERE {condition} AND key.id > ?2 ORDER BY key.id"
        );
        let after = cursor.map_or(-1, |c| column::signed(c.as_u64()));
        self.tx
            .each(&sql, params![client, after], |row| Ok(each(read(row)?)))
    }

    /// Adds a key.
    pub fn insert_key(&mut self, key: &Key) -> Result<()> {
        self.insert_keys(std::slice::from_ref(key))
    }

    /// Adds keys. Fastest if they are sorted by id.
    pub fn insert_keys<'k, K: AsRef<Key>>(&mut self, keys: &'k [K]) -> Result<()> {
        let changed = column::signed(self.next);
        let own = |v: &mut Values<'k>, key: &'k K| {
            let key = key.as_ref();
            let rules = &key.rules;
            v.give(column::signed(key.id.as_u64()));
            v.push(&key.client_number);
            v.push(&key.digest.0);
            v.push(&key.imported);
            v.push(&rules.name);
            v.push(rules.environment.as_str());
            v.push(&rules.publishable);
            v.give(column::joined(&rules.scopes));
            v.push(&rules.plan);
            v.give(column::limits_text(&rules.limits));
            v.give(rules.expires.map(column::signed));
            v.give(rules.not_before.map(column::signed));
            v.give(key.overlap_end.map(column::signed));
            v.push(&key.disabled);
            v.give(key.revoked.map(column::signed));
            v.push(&key.reason);
            v.give(column::signed(key.lineage.as_u64()));
            v.give(key.rotated_from.map(|k| column::signed(k.as_u64())));
            v.give(column::joined(&rules.cidrs));
            v.give(column::joined(&rules.deny_cidrs));
            v.give(column::joined(&rules.origins));
            v.give(column::labels_text(&rules.labels));
            v.give(column::signed(key.created));
            v.give(rules.rotate_every.map(column::signed));
            v.give(rules.grace.map(column::signed));
            v.give(column::joined(&rules.certificates));
        };
        rows::write(&self.tx, &INSERT, keys, |v| v.give(changed), own)?;
        // Sorted by id, the keys of many clients stand in turn.
        let clients: BTreeSet<u32> = keys.iter().map(|k| k.as_ref().client_number).collect();
        clients.into_iter().try_for_each(|c| self.touch_client(c))
    }

    /// Sets when rotated keys stop working.
    pub fn set_overlap_end(&mut self, keys: &[KeyId], end: u64) -> Result<()> {
        let changed = column::signed(self.next);
        let shared = |v: &mut Values<'_>| {
            v.give(column::signed(end));
            v.give(changed);
        };
        let own = |v: &mut Values<'_>, id: &KeyId| v.give(column::signed(id.as_u64()));
        rows::write(&self.tx, &SET_OVERLAP_END, keys, shared, own)?;
        rows::write(&self.tx, &TOUCH_CLIENTS, keys, |v| v.give(changed), own)?;
        Ok(())
    }

    /// Writes what can change about a key: its rules and its state.
    pub fn update_key(&mut self, key: &Key) -> Result<()> {
        let rules = &key.rules;
        self.tx.execute("UPDATE key SET name = ?, scopes = ?, plan = ?, limits = ?, expires = ?, not_before = ?,
                   overlap_end = ?, disabled = ?, revoked = ?, reason = ?, allow = ?, deny = ?,
                   origins = ?, labels = ?, rotate_every = ?, grace = ?, certificates = ?, changed = ? WHERE id = ?", params![
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
                column::joined(&rules.cidrs),
                column::joined(&rules.deny_cidrs),
                column::joined(&rules.origins),
                column::labels_text(&rules.labels),
                rules.rotate_every.map(column::signed),
                rules.grace.map(column::signed),
                column::joined(&rules.certificates),
                column::signed(self.next),
                column::signed(key.id.as_u64()),
            ])?;
        self.touch_client(key.client_number)
    }

    /// Notes that the keys of a client have changed in the keyset together with it: one row is
    /// written, however many keys there are.
    pub fn touch_keys_of(&mut self, client: u32) -> Result<()> {
        self.tx.execute(
            "UPDATE client SET changed = ? WHERE number = ?",
            params![column::signed(self.next), client],
        )?;
        Ok(())
    }

    /// Keys of a client that are not revoked, at most `most` of them.
    pub fn unrevoked_keys(&self, client: u32, most: u32) -> Result<Vec<Key>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {TABLES} WHERE key.client = ? AND revoked IS NULL LIMIT ?"
        );
        self.tx.all(&sql, params![client, most], read)
    }

    /// How many keys of a client were revoked at a time, in seconds. Only reads an index.
    pub fn keys_revoked_at(&self, client: u32, at: u64) -> Result<u64> {
        let sql = "SELECT count(*) FROM key WHERE client = ? AND revoked = ?";
        self.tx.one(sql, params![client, column::signed(at)], |r| {
            column::unsigned(r, 0)
        })
    }

    /// How many keys that are not revoked are on each plan, their own or their client's: of all
    /// clients, or of the named one. Only reads an index.
    pub fn keys_on_plans(&self, only: Option<&str>) -> Result<BTreeMap<String, u64>> {
        self.tx.all(ON_PLANS, params![only], |r| {
            Ok((r.get(0)?, column::unsigned(r, 1)?))
        })
    }

    /// How many keys of a client are not revoked.
    pub fn unrevoked_keys_of(&self, client: u32) -> Result<u64> {
        let sql = "SELECT count(*) FROM key WHERE client = ? AND revoked IS NULL";
        self.tx
            .one(sql, params![client], |r| column::unsigned(r, 0))
    }

    /// How many keys of a client are valid at a time or may become so. Does not count beyond
    /// `most`.
    pub fn living_keys_of(&self, client: u32, now: u64, most: u64) -> Result<u64> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM key WHERE client = ?1 AND revoked IS NULL
            AND coalesce(expires > ?2, TRUE) AND coalesce(overlap_end > ?2, TRUE) LIMIT ?3) AS found";
        self.tx.one(
            sql,
            params![client, column::signed(now), column::signed(most)],
            |r| column::unsigned(r, 0),
        )
    }
}
