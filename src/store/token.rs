//! Tokens in the store.

use crate::sql::{SqlRow, params};
use keystile_core::key::{Digest, KeyId};

use super::{Tx, column};
use keystile_model::caller::{Ceilings, Grant, Role};
use keystile_model::error::Result;
use keystile_model::token_record::TokenRecord;

const COLUMNS: &str =
    "token.id, digest, token.name, role, client.name, scopes, plans, max_expiry, max_keys,
    networks, token.created, created_by, expires, last_used, revoked, invitation";
/// A token that was bound to a deleted client is bound to none.
const TABLES: &str =
    "token LEFT JOIN client ON client.number = token.client AND client.deleted IS NULL";

fn read(row: &SqlRow<'_>) -> Result<TokenRecord> {
    let role: String = row.get(3)?;
    Ok(TokenRecord {
        grant: Grant {
            id: column::id(row, 0)?,
            name: row.get(2)?,
            role: Role::from_word(&role).unwrap_or(Role::Client),
            client: row.get(4)?,
            ceilings: Ceilings {
                scopes: column::list(row, 5)?,
                plans: column::list(row, 6)?,
                max_expiry: column::optional(row, 7)?,
                max_keys: row.get(8)?,
            },
            networks: column::list(row, 9)?,
            last_used: column::optional(row, 13)?,
        },
        digest: Digest(row.get(1)?),
        created: column::unsigned(row, 10)?,
        created_by: row.get(11)?,
        expires: column::unsigned(row, 12)?,
        revoked: column::optional(row, 14)?,
        invitation: row.get(15)?,
    })
}

impl Tx<'_> {
    /// One token.
    pub fn token(&self, id: KeyId) -> Result<Option<TokenRecord>> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE token.id = ?");
        self.tx
            .optional(&sql, params![column::signed(id.as_u64())], read)
    }

    /// The id of the token of a name that is not revoked.
    pub fn living_token(&self, name: &str) -> Result<Option<KeyId>> {
        let sql = "SELECT id FROM token WHERE name = ? AND revoked IS NULL";
        self.tx.optional(sql, params![name], |r| column::id(r, 0))
    }

    /// All tokens, oldest first.
    pub fn tokens(&self) -> Result<Vec<TokenRecord>> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} ORDER BY token.created, token.id");
        self.tx.all(&sql, &[], read)
    }

    /// Tokens, oldest first, after one, until `each` gives false.
    pub fn tokens_after(
        &self,
        after: Option<KeyId>,
        mut each: impl FnMut(TokenRecord) -> bool,
    ) -> Result<()> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {TABLES}
             WHERE ?1 IS NULL OR (token.created, token.id) >
                (SELECT before.created, before.id FROM token AS before WHERE before.id = ?1)
             ORDER BY token.created, token.id"
        );
        self.tx.each(
            &sql,
            params![after.map(|id| column::signed(id.as_u64()))],
            |row| Ok(each(read(row)?)),
        )
    }

    /// Adds a token, bound to the client of a number.
    pub fn insert_token(&mut self, token: &TokenRecord, client: Option<u32>) -> Result<()> {
        let grant = &token.grant;
        self.tx.execute("INSERT INTO token (id, digest, name, role, client, scopes, plans, max_expiry, max_keys,
               networks, created, created_by, expires, invitation)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", params![
                column::signed(grant.id.as_u64()),
                token.digest.0,
                grant.name,
                grant.role.as_str(),
                client,
                column::joined(&grant.ceilings.scopes),
                column::joined(&grant.ceilings.plans),
                grant.ceilings.max_expiry.map(column::signed),
                grant.ceilings.max_keys,
                column::joined(&grant.networks),
                column::signed(token.created),
                token.created_by,
                column::signed(token.expires),
                token.invitation,
            ])?;
        Ok(())
    }

    /// Revokes a token.
    pub fn revoke_token(&mut self, id: KeyId, now: u64) -> Result<()> {
        self.tx.execute(
            "UPDATE token SET revoked = ? WHERE id = ?",
            params![column::signed(now), column::signed(id.as_u64())],
        )?;
        Ok(())
    }

    /// Stores when a token was used.
    pub fn token_used(&mut self, id: KeyId, now: u64) -> Result<()> {
        self.tx.execute(
            "UPDATE token SET last_used = ?1 WHERE id = ?2 AND coalesce(last_used < ?1, TRUE)",
            params![column::signed(now), column::signed(id.as_u64())],
        )?;
        Ok(())
    }
}
