//! Usage as the store opens it: in a file beside its own.

use std::path::{Path, PathBuf};

use keystile_core::key::KeyId;
use zeroize::Zeroizing;

use super::schema;
use super::usage::{UsageKey, UsageStore};
use super::{Store, Tx};
use keystile_model::error::{Act, Code, Kind, Result, Trouble, refuse};

impl Store {
    /// The file that holds usage.
    pub fn usage_file(&self) -> PathBuf {
        self.path.with_file_name("usage.db")
    }

    /// Whether anything may have been counted.
    pub fn has_usage(&self) -> bool {
        self.db.server().is_some() || self.usage_file().exists()
    }

    /// Calls `f` with store and usage, which is empty if nothing was counted yet.
    ///
    /// # Errors
    /// Those of `f`, or usage cannot be opened.
    pub fn with_usage<T>(
        &mut self,
        f: impl FnOnce(&mut Self, &mut UsageStore) -> Result<T>,
    ) -> Result<T> {
        if self.usage.is_none() && !self.has_usage() {
            return f(self, &mut UsageStore::nothing()?);
        }
        self.with_made_usage(f)
    }

    /// The same for writing: creates usage if necessary.
    ///
    /// # Errors
    /// Those of `f`, or usage cannot be opened or made.
    pub fn with_made_usage<T>(
        &mut self,
        f: impl FnOnce(&mut Self, &mut UsageStore) -> Result<T>,
    ) -> Result<T> {
        let mut usage = match self.usage.take() {
            Some(usage) => usage,
            None => match self.db.server() {
                Some(server) => UsageStore::open_in(server.address(), self.alone.as_ref())?,
                None => {
                    let file = self.usage_file();
                    let (key, alone) = (self.usage_key()?, self.alone.as_ref());
                    UsageStore::open(&file, &key, alone).map_err(|e| e.at(file.display()))?
                }
            },
        };
        let out = f(self, &mut usage);
        self.usage = Some(usage);
        out
    }

    /// Copies usage consistently into an empty file; gives whether there is any.
    ///
    /// # Errors
    /// Those of the database.
    pub fn copy_usage_to(&mut self, file: &Path) -> Result<bool> {
        if !self.usage_file().exists() {
            return Ok(false);
        }
        let key = self.usage_key()?;
        self.with_made_usage(|_, usage| usage.copy_to(file, &key))?;
        Ok(true)
    }

    /// Reads every page of usage, if there is any, and checks it.
    ///
    /// # Errors
    /// What is damaged.
    pub fn check_usage(&mut self) -> Result<()> {
        let file = self.usage_file();
        // A server checks its own pages.
        if self.db.server().is_some() || !file.exists() {
            return Ok(());
        }
        let damaged = |how: &str| {
            refuse(
                Code::UsageDamaged,
                format_args!("the counts of usage, `usage.db`, are damaged: {how}"),
                "the store and its audit log are whole; stop the server, move `usage.db` and what begins with its name out of the folder, and start it again: counting starts afresh",
            )
        };
        self.with_made_usage(|_, usage| usage.file()?.check(&file, damaged))
            .map_err(|e| match e.kind() {
                Kind::Store(Trouble::Damaged) if !e.is(Code::UsageDamaged) => {
                    damaged("it cannot be read")
                }
                _ => e,
            })
    }

    /// Whether a file holds usage of this store.
    pub fn is_usage(&mut self, file: &Path) -> Result<bool> {
        let key = self.usage_key()?;
        Ok(UsageStore::open(file, &key, Some(&schema::nobody_else())).is_ok())
    }

    /// Keys that a usage file counted as let through but that the store does not know, and the
    /// highest client number in it. From now on those keys belong to nobody.
    ///
    /// # Errors
    /// Those of the store, or the file is no usage of it.
    pub fn used_and_unknown(&mut self, file: &Path) -> Result<(Vec<KeyId>, u32)> {
        let (key, alone) = (self.usage_key()?, schema::nobody_else());
        let mut usage =
            UsageStore::open(file, &key, Some(&alone)).map_err(|e| e.at(file.display()))?;
        let (used, last) = usage.read(|tx| Ok((tx.used_keys()?, tx.last_client()?)))?;
        let unknown = self.read(|tx| {
            let mut unknown = Vec::new();
            for id in used {
                if !tx.has_key(id)? {
                    unknown.push(id);
                }
            }
            Ok(unknown)
        })?;
        usage.write(|tx| unknown.iter().try_for_each(|id| tx.disown(*id)))?;
        usage.close()?;
        Ok((unknown, last))
    }

    fn usage_key(&mut self) -> Result<UsageKey> {
        self.read(|tx| tx.usage_key())?.ok_or_else(|| {
            refuse(
                Code::NotReady,
                "usage cannot be encrypted: the store has no secret of its own yet",
                keystile_model::next![
                    "change anything in the store, such as with ",
                    Act::KeysetRenew,
                    ", and try again"
                ],
            )
        })
    }
}

impl Tx<'_> {
    fn usage_key(&self) -> Result<Option<UsageKey>> {
        let secret: Option<Vec<u8>> = self
            .tx
            .one("SELECT audit_secret FROM meta", &[], |r| r.get(0))?;
        Ok(secret.map(|s| UsageKey::from_secret(&Zeroizing::new(s))))
    }
}
