//! Lists of keys by age, and by when they expire.

use super::super::overview::{ENDLESS, EXPIRES, EXPIRING};
use super::super::{Tx, column};
use super::{COLUMNS, read};
use crate::sql::params;
use keystile_model::error::Result;
use keystile_model::key::KeyOrder;
use keystile_model::record::Key;

/// Of all clients or of `?1`, by when they were created, from `?2` and the id `?3` on.
fn by_age(client: Option<u32>, beyond: &str, way: &str) -> String {
    let (index, narrowed) = match client {
        Some(_) => ("key_client_created", "key.client = ?1"),
        None => ("key_created", "?1 IS NULL"),
    };
    format!(
        "SELECT {COLUMNS} FROM key INDEXED BY {index} JOIN client ON client.number = key.client
         WHERE {narrowed} AND (key.created, key.id) {beyond} (?2, ?3)
         ORDER BY key.created {way}, key.id {way}"
    )
}

/// The same by when they expire.
fn by_end(client: Option<u32>) -> String {
    let (index, narrowed) = match client {
        Some(_) => ("key_client_ends", "key.client = ?1"),
        None => ("key_ends", "?1 IS NULL"),
    };
    format!(
        "SELECT {COLUMNS} FROM key INDEXED BY {index} JOIN client ON client.number = key.client
         WHERE {narrowed} AND {EXPIRING} AND {EXPIRES} >= ?2 AND ({EXPIRES} > ?2 OR key.id > ?3)
         ORDER BY {EXPIRES}, key.id"
    )
}

/// Those that never expire, after the id `?2`.
fn endless(client: Option<u32>) -> String {
    let (index, narrowed) = match client {
        Some(_) => ("key_client_endless", "key.client = ?1"),
        None => ("key_endless", "?1 IS NULL"),
    };
    format!(
        "SELECT {COLUMNS} FROM key INDEXED BY {index} JOIN client ON client.number = key.client
         WHERE {narrowed} AND {ENDLESS} AND key.id > ?2 ORDER BY key.id"
    )
}

impl Tx<'_> {
    /// Passes keys to `each` in an order, after a key, of one client if given, until `each` has
    /// enough. `now`, in seconds, says which have expired. By when they expire, those that never do
    /// are the last.
    pub fn keys_in_order(
        &self,
        order: KeyOrder,
        client: Option<u32>,
        after: Option<&Key>,
        now: u64,
        mut each: impl FnMut(Key) -> bool,
    ) -> Result<()> {
        let (sql, first) = match order {
            KeyOrder::Id => return self.keys_after(client, after.map(|k| k.id), each),
            KeyOrder::Newest => (by_age(client, "<", "DESC"), i64::MAX),
            KeyOrder::Oldest => (by_age(client, ">", "ASC"), -1),
            KeyOrder::Ending => (by_end(client), column::signed(now)),
        };
        let position = |key: &Key| match order {
            KeyOrder::Ending => column::signed(key.effective_expiry().unwrap_or(now).max(now)),
            _ => column::signed(key.created),
        };
        if let Some(key) =
            after.filter(|k| order == KeyOrder::Ending && k.effective_expiry().is_none())
        {
            return self.keys_without_end(client, column::signed(key.id.as_u64()), each);
        }
        let at = after.map_or(first, position);
        // Of keys that expire at `now`, none is listed.
        let id = after.map_or(i64::MAX, |k| column::signed(k.id.as_u64()));
        let mut wants_more = true;
        self.tx.each(&sql, params![client, at, id], |row| {
            wants_more = each(read(row)?);
            Ok(wants_more)
        })?;
        match order {
            KeyOrder::Ending if wants_more => self.keys_without_end(client, -1, each),
            _ => Ok(()),
        }
    }

    fn keys_without_end(
        &self,
        client: Option<u32>,
        after: i64,
        mut each: impl FnMut(Key) -> bool,
    ) -> Result<()> {
        self.tx
            .each(&endless(client), params![client, after], |row| {
                Ok(each(read(row)?))
            })
    }
}
