//! A store in a PostgreSQL database: made and opened in a schema of its own.

use std::path::Path;
use std::sync::Arc;

use keystile_core::keyset::StoreId;
use keystile_model::audit::Link;
use keystile_model::error::{Act, Code, Error, Result, refuse};

use crate::master_key::MasterKey;
use crate::schema::{self, ExclusiveHold};
use crate::seal::{Entropy, Seal};
use crate::sql::postgres::{DatabaseAddress, Part, PostgresDatabase};
use crate::sql::{Database, TransactionAccess, params};
use crate::{SCRIPTS, Store, THE_STORE, usage};

impl Store {
    /// Makes a store where there is none, with what `fill` puts into it: all of it appears, or
    /// nothing. `beside` is the folder for what is kept on this machine.
    ///
    /// # Errors
    /// Those of the database and of `fill`; or there is a store.
    pub fn create_in(
        address: &Arc<DatabaseAddress>,
        beside: &Path,
        key: &MasterKey,
        id: StoreId,
        entropy: Entropy,
        fill: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let db = PostgresDatabase::open(address, Part::Store)?;
        let mut store = Self::new(Database::Postgres(db.into()), beside.join("store.db"));
        store.making(|store| {
            let seal = Seal::new(entropy)?;
            let mut timeline = [0; 8];
            entropy(&mut timeline)?;
            let db = &store.db;
            for part in [Part::Usage, Part::Store] {
                make(db, address, part)?;
            }
            db.execute(
                "INSERT INTO meta (one, store, version, issued_at, audit_seq, audit_hash, timeline,
                   data_key, master_key)
                 VALUES (1, ?, 0, 0, 0, ?, ?, ?, ?)",
                params![
                    id.0,
                    Link::GENESIS.0,
                    timeline,
                    seal.kept(key)?,
                    key.fingerprint()
                ],
            )?;
            store.seal = Some(Arc::new(seal));
            fill(store)
        })
    }

    /// Opens a store that others may have open; `alone` as for [`Store::open_beside`].
    ///
    /// # Errors
    /// Those of the database; there is no store; or its master key is another one.
    pub fn open_in(
        address: &Arc<DatabaseAddress>,
        beside: &Path,
        key: &MasterKey,
        entropy: Entropy,
        alone: Option<ExclusiveHold>,
    ) -> Result<Self> {
        let db = PostgresDatabase::open(address, Part::Store)?;
        let mut store = Self::new(Database::Postgres(db.into()), beside.join("store.db"));
        if store.db.schema_version()? == 0 {
            return Err(missing(address));
        }
        schema::update(&store.db, THE_STORE, &SCRIPTS, alone.as_ref())?;
        let sql = "SELECT data_key, master_key FROM meta";
        let (kept, fingerprint): (Vec<u8>, String) =
            store.db.one(sql, &[], |r| Ok((r.get(0)?, r.get(1)?)))?;
        if fingerprint != key.fingerprint() {
            return Err(refuse(
                Code::MasterKeyWrong,
                format_args!(
                    "this is not the master key of the store (its fingerprint is {}, not {fingerprint})",
                    key.fingerprint()
                ),
                "give the key that `init` made or was given",
            ));
        }
        store.seal = Some(Arc::new(Seal::open(&kept, key, entropy)?));
        store.alone = alone;
        Ok(store)
    }

    /// Whether a database has a store in it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn is_in(address: &Arc<DatabaseAddress>) -> Result<bool> {
        let db = PostgresDatabase::open(address, Part::Store)?;
        Ok(Database::Postgres(db.into()).schema_version()? > 0)
    }

    /// Seals the data key with another master key. Open connections go on.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) fn wrap(&mut self, seal: &Seal, key: &MasterKey) -> Result<()> {
        self.db.execute(
            "UPDATE meta SET data_key = ?, master_key = ?",
            params![seal.kept(key)?, key.fingerprint()],
        )?;
        Ok(())
    }

    /// One transaction in which a store is made.
    fn making(&mut self, make: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.all_or_nothing(TransactionAccess::Make, make)
    }
}

/// Makes one of the schemas, which stays the current one.
fn make(db: &Database, address: &Arc<DatabaseAddress>, part: Part) -> Result<()> {
    let schema = address.schema(part);
    let name = schema.trim_matches('"');
    if !db.exists(
        "SELECT 1 FROM pg_namespace WHERE nspname = ?",
        params![name],
    )? {
        db.batch(&format!("CREATE SCHEMA {schema}"))?;
    }
    db.batch(&format!("SET LOCAL search_path TO {schema}"))?;
    let made = "SELECT 1 FROM pg_class WHERE relname = 'schema_version'
        AND relnamespace = CAST(? AS regnamespace)";
    if db.exists(made, params![name])? {
        return Err(refuse(
            Code::StoreExists,
            format_args!("there is a store in {address} already"),
            "use it, or name another database, or another schema with `?schema=NAME`",
        ));
    }
    match part {
        Part::Store => schema::make(db, &SCRIPTS),
        Part::Usage => schema::make(db, &usage::SCRIPTS),
    }
}

fn missing(address: &DatabaseAddress) -> Error {
    refuse(
        Code::StoreMissing,
        format_args!("there is no store in {address}"),
        keystile_model::next!["make one with ", Act::Init, ", or check the address"],
    )
}

#[cfg(test)]
mod tests;
