//! Clients in the store.

use crate::sql::{SqlRow, params};
use std::collections::BTreeMap;

use super::{Tx, column};
use keystile_model::error::Result;
use keystile_model::record::Client;

pub(super) const COLUMNS: &str = "number, name, plan, description, labels, created";

pub(super) fn read(row: &SqlRow<'_>) -> Result<Client> {
    Ok(Client {
        number: column::number(row, 0)?,
        name: row.get(1)?,
        plan: row.get(2)?,
        description: row.get(3)?,
        labels: column::labels(row, 4)?,
        created: column::unsigned(row, 5)?,
    })
}

impl Tx<'_> {
    /// The existing client of that name.
    pub fn client(&self, name: &str) -> Result<Option<Client>> {
        let sql = format!("SELECT {COLUMNS} FROM client WHERE name = ? AND deleted IS NULL");
        self.tx.optional(&sql, params![name], read)
    }

    /// Increases with every change to a client or its keys.
    pub fn client_revision(&self, number: u32) -> Result<u64> {
        let sql = "SELECT revision FROM client WHERE number = ?";
        self.tx
            .one(sql, params![number], |r| column::unsigned(r, 0))
    }

    /// A client, or a key of it, is changed. The row is written once in a transaction: PostgreSQL
    /// keeps every version of it until the end, and walks them all to find the last.
    pub(super) fn touch_client(&self, number: u32) -> Result<()> {
        self.tx.execute(
            "UPDATE client SET revision = ?1 WHERE number = ?2 AND revision <> ?1",
            params![column::signed(self.next), number],
        )?;
        Ok(())
    }

    /// Names of all existing clients, sorted.
    pub fn names_of_clients(&self) -> Result<Vec<String>> {
        let sql = "SELECT name FROM client WHERE deleted IS NULL ORDER BY name";
        self.tx.all(sql, &[], |r| r.get(0))
    }

    /// The plans of existing clients, with the number of clients: of all, or only of the named
    /// client.
    pub fn clients_on_plans(&self, only: Option<&str>) -> Result<BTreeMap<String, u64>> {
        let sql = "SELECT plan, count(*) FROM client
            WHERE deleted IS NULL AND plan IS NOT NULL AND coalesce(name = ?, TRUE) GROUP BY plan";
        self.tx.all(sql, params![only], |r| {
            Ok((r.get(0)?, column::unsigned(r, 1)?))
        })
    }

    /// All existing clients, by name.
    pub fn clients_by_name(&self) -> Result<BTreeMap<String, Client>> {
        let sql = format!("SELECT {COLUMNS} FROM client WHERE deleted IS NULL");
        self.tx
            .all(&sql, &[], |r| read(r).map(|c| (c.name.clone(), c)))
    }

    /// Adds a client; its `number` is given by the store and returned.
    pub fn insert_client(&mut self, client: &Client) -> Result<u32> {
        let number: i64 = self.tx.one(
            "INSERT INTO client (name, plan, description, labels, created)
             VALUES (?, ?, ?, ?, ?) RETURNING number",
            params![
                client.name,
                client.plan,
                client.description,
                column::labels_text(&client.labels),
                column::signed(client.created)
            ],
            |r| r.get(0),
        )?;
        u32::try_from(number).map_err(|_| {
            keystile_model::error::refuse(
                keystile_model::error::Code::StoreFull,
                "the store has numbered four billion clients",
                "start a new store",
            )
        })
    }

    /// Changes plan, description and labels.
    pub fn update_client(&mut self, client: &Client) -> Result<()> {
        self.tx.execute(
            "UPDATE client SET plan = ?, description = ?, labels = ? WHERE number = ?",
            params![
                client.plan,
                client.description,
                column::labels_text(&client.labels),
                client.number
            ],
        )?;
        self.touch_client(client.number)
    }

    /// Marks a client as deleted.
    pub fn delete_client(&mut self, number: u32, now: u64) -> Result<()> {
        self.tx.execute(
            "UPDATE client SET deleted = ? WHERE number = ?",
            params![column::signed(now), number],
        )?;
        Ok(())
    }

    /// Skips client numbers up to this one: clients on a timeline that a restore cut off had them,
    /// and buckets and counts are named by them.
    pub fn skip_client_numbers(&mut self, last: u32) -> Result<()> {
        let changed = self.tx.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'client'",
            params![last],
        )?;
        if changed == 0 {
            self.tx.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES ('client', ?1)",
                params![last],
            )?;
        }
        Ok(())
    }
}
