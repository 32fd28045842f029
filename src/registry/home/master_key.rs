//! Replacing the master key of a store.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use serde_json::json;

use super::Home;
use keystile_model::error::{Code, Error, Result, named, refuse};
use keystile_model::world::World;
use keystile_store::master_key::{self as seal, MasterKey};
use keystile_system::file;

/// Where the next master key comes from.
pub enum NewKey<'c> {
    /// It is made, and kept in the store's folder.
    File,
    /// A command prints it.
    Command(&'c str),
}

/// A master key that was rotated.
pub struct RotatedMasterKey {
    /// The fingerprint of the old key.
    pub former: String,
    /// The fingerprint of the new key.
    pub new: String,
    /// Where the old key is kept, if it was in the store's folder.
    pub kept: Option<PathBuf>,
}

impl Home {
    /// Encrypts the store with another master key. Whenever it is interrupted, the store opens with
    /// either the old key or the new one, and both exist.
    ///
    /// # Errors
    /// If the store cannot be opened or written, or there is nothing to change.
    pub fn rotate_master_key(
        &self,
        world: &World,
        new: Option<NewKey<'_>>,
    ) -> Result<RotatedMasterKey> {
        world.caller.owner("rotate the master key")?;
        let _turn = file::turn(&self.folder)?;
        let (mut store, former) = self.unlock()?;
        let standing = seal::from_file(&self.master_key())?;
        let stood_here = |key: &Option<MasterKey>| {
            key.as_ref()
                .is_some_and(|k| k.fingerprint() == former.fingerprint())
        };
        let next = seal::from_file(&self.next_master_key())?;
        let is_next = stood_here(&next);
        let in_file = stood_here(&standing) || is_next;
        if is_next {
            // Completes an interrupted rotation.
            self.put_in_place(&standing)?;
        }
        let (key, to_file) = match new {
            Some(NewKey::Command(command)) => (seal::from_command(command)?, false),
            Some(NewKey::File) => (self.make_next(world)?, true),
            None if in_file => (self.make_next(world)?, true),
            None => {
                return Err(refuse(
                    Code::MasterKeyMissing,
                    "the master key is not in the store's folder",
                    keystile_model::next![
                        "say where the new one comes from: ",
                        named("new_key_command").value("CMD"),
                        ", or ",
                        named("to_file")
                    ],
                ));
            }
        };
        let (was, is) = (former.fingerprint(), key.fingerprint());
        if was == is {
            return Err(refuse(
                Code::MasterKeyInvalid,
                "the new master key is the one that the store already has",
                "generate another one, and have the command print that",
            ));
        }
        self.write_fingerprints(&[was.clone(), is.clone()])?;
        store.rekey(&key)?;
        self.write_fingerprints(std::slice::from_ref(&is))?;
        let standing = seal::from_file(&self.master_key())?;
        let kept = if to_file {
            self.put_in_place(&standing)?
        } else {
            self.put_aside(&standing)?
        };
        store.write(world, |tx| {
            let (before, after) = (json!({"fingerprint": was}), json!({"fingerprint": is}));
            tx.audit(
                world,
                "master-key.rotate",
                "master-key",
                Some(&before),
                Some(&after),
            )
        })?;
        Ok(RotatedMasterKey {
            former: was,
            new: is,
            kept,
        })
    }

    /// Makes the next master key, in its own file.
    fn make_next(&self, world: &World) -> Result<MasterKey> {
        let file = self.next_master_key();
        // No store uses a leftover key.
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(self.cannot_rename(&e)),
            _ => {}
        }
        let key = MasterKey::generate(world.entropy)?;
        seal::write_file(&file, &key)?;
        self.sync()?;
        Ok(key)
    }

    /// Puts the next master key in the place of the old one.
    fn put_in_place(&self, standing: &Option<MasterKey>) -> Result<Option<PathBuf>> {
        let aside = self.put_aside(standing)?;
        fs::rename(self.next_master_key(), self.master_key())
            .map_err(|e| self.cannot_rename(&e))?;
        self.sync()?;
        Ok(aside)
    }

    /// Keeps an old master key for the backups that need it.
    fn put_aside(&self, standing: &Option<MasterKey>) -> Result<Option<PathBuf>> {
        let Some(key) = standing else { return Ok(None) };
        let aside = self
            .folder
            .join(format!("master.key.{}", key.fingerprint()));
        fs::rename(self.master_key(), &aside).map_err(|e| self.cannot_rename(&e))?;
        self.sync()?;
        Ok(Some(aside))
    }

    pub(super) fn write_fingerprints(&self, those: &[String]) -> Result<()> {
        let text = those.iter().map(|f| format!("{f}\n")).collect::<String>();
        file::replace(&self.fingerprint(), 0o600, text.as_bytes())
    }

    fn sync(&self) -> Result<()> {
        File::open(&self.folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| self.cannot_rename(&e))
    }

    fn cannot_rename(&self, e: &io::Error) -> Error {
        refuse(
            Code::FileUnwritable,
            format_args!(
                "the master keys in `{}` cannot be put in place ({e})",
                self.folder.display()
            ),
            "the store can still be opened; check the folder and try again",
        )
    }
}
