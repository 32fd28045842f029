//! Policies and signing keys in the store.

use crate::trouble::Sql as _;
use keystile_core::keyset::SigningKey;
use rusqlite::{OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use super::{Tx, column};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::record::{Revision, SigningRecord, SigningState};

fn revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    Ok(Revision {
        revision: column::unsigned(row, 0)?,
        text: column::text(row, 1)?.to_owned(),
        applied: column::unsigned(row, 2)?,
    })
}

impl Tx<'_> {
    /// The policy in force.
    pub fn policy(&self) -> Result<Revision> {
        let sql = "SELECT revision, text, applied FROM policy ORDER BY revision DESC LIMIT 1";
        self.tx.query_row(sql, [], revision).sql()
    }

    /// An earlier policy.
    pub fn policy_revision(&self, number: u64) -> Result<Option<Revision>> {
        let sql = "SELECT revision, text, applied FROM policy WHERE revision = ?";
        self.tx
            .query_row(sql, [column::signed(number)], revision)
            .optional()
            .sql()
    }

    /// Passes every policy ever applied to `each`, oldest first: together they may be too large for
    /// memory.
    pub fn each_policy(&self, mut each: impl FnMut(Revision)) -> Result<()> {
        let mut statement = self
            .tx
            .prepare("SELECT revision, text, applied FROM policy ORDER BY revision")
            .sql()?;
        for found in statement.query_map([], revision).sql()? {
            each(found.sql()?);
        }
        Ok(())
    }

    /// Puts a policy in force; gives its number.
    pub fn insert_policy(&mut self, text: &str, now: u64) -> Result<u64> {
        self.tx
            .execute(
                "INSERT INTO policy (text, applied) VALUES (?, ?)",
                params![text, column::signed(now)],
            )
            .sql()?;
        Ok(u64::try_from(self.tx.last_insert_rowid()).unwrap_or(0))
    }

    /// Signing keys, the oldest first.
    pub fn signing_keys(&self) -> Result<Vec<SigningRecord>> {
        let mut statement = self.tx.prepare(
            "SELECT kid, secret, state, created, retired FROM signing_key ORDER BY created, rowid",
        ).sql()?;
        let rows = statement
            .query_map([], |r| {
                let secret: Zeroizing<Vec<u8>> = Zeroizing::new(r.get(1)?);
                let state: String = r.get(2)?;
                Ok((
                    r.get::<_, String>(0)?,
                    secret,
                    state,
                    column::unsigned(r, 3)?,
                    column::optional(r, 4)?,
                ))
            })
            .sql()?;
        rows.map(|row| {
            let (kid, secret, state, created, retired) = row.sql()?;
            let state = SigningState::from_word(&state).unwrap_or(SigningState::Retired);
            let key = match state {
                SigningState::Retired => None,
                _ => Some(SigningKey::new(&kid, secret).map_err(|e| {
                    refuse(
                        Code::StoreDamaged,
                        format_args!("signing key `{kid}` {e}"),
                        "restore the folder from a backup",
                    )
                })?),
            };
            Ok(SigningRecord {
                kid,
                state,
                key,
                created,
                retired,
            })
        })
        .collect()
    }

    /// Adds a signing key.
    pub fn insert_signing_key(&mut self, kid: &str, secret: &[u8], now: u64) -> Result<()> {
        self.tx
            .execute(
                "INSERT INTO signing_key (kid, secret, state, created) VALUES (?, ?, 'active', ?)",
                params![kid, secret, column::signed(now)],
            )
            .sql()?;
        Ok(())
    }

    /// Makes the active key no longer active.
    pub fn demote_signing_key(&mut self) -> Result<()> {
        self.tx
            .execute(
                "UPDATE signing_key SET state = 'accepted' WHERE state = 'active'",
                [],
            )
            .sql()?;
        Ok(())
    }

    /// Erases the secret of a signing key.
    pub fn retire_signing_key(&mut self, kid: &str, now: u64) -> Result<()> {
        self.tx
            .execute(
                "UPDATE signing_key SET state = 'retired', secret = x'', retired = ? WHERE kid = ?",
                params![column::signed(now), kid],
            )
            .sql()?;
        Ok(())
    }
}
