//! Moving a store to another place: into a database, out of one, into another folder.

use std::path::PathBuf;

use serde_json::json;

use super::Home;
use super::backup::verified;
use keystile_model::audit::Head;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::world::World;

/// A store that was copied, and verified in its new place.
pub struct CopiedStore {
    /// The end of the audit log, before the record of the copy.
    pub head: Head,
    /// The version of the keyset.
    pub version: u64,
}

impl Home {
    /// The same with the store in another folder.
    pub fn in_folder(&self, folder: PathBuf) -> Self {
        Self {
            folder,
            database: None,
            held: None,
            ..self.clone()
        }
    }

    /// Where the store is, for people.
    pub fn place(&self) -> String {
        match &self.database {
            Some(address) => address.to_string(),
            None => self.folder.display().to_string(),
        }
    }

    /// Copies the whole store to where there is none, or nothing at all. The copy continues where
    /// this one ends: with its keyset's version, its audit log and its timeline. `progress` is
    /// called with each table and the number of its rows copied so far.
    ///
    /// # Errors
    /// Those of either store; a server works on one of the folders; there is a store.
    pub fn copy_store(
        &self,
        world: &World,
        to: &Self,
        progress: &mut dyn FnMut(&str, u64),
    ) -> Result<CopiedStore> {
        world.caller.owner("copy the store")?;
        // What it wrote meanwhile would be in one of the two only.
        match self.database {
            Some(_) => self.make_folder()?,
            None => self.must_exist()?,
        }
        let _here = self.hold()?;
        if self.exists()? {
            self.is_left_alone()?;
        }
        to.make_folder()?;
        let _there = (to.folder != self.folder).then(|| to.hold()).transpose()?;
        let mut from = self.open_as_it_is()?;
        let (head, version) = verified(&mut from)?;
        let said = json!({"from": self.place(), "to": to.place()});
        to.create(world, |store| {
            store.copy_from(&mut from, progress)?;
            let now = from.read(|tx| Ok((tx.meta().head, tx.meta().version)))?;
            if now != (head, version) || verified(store)? != now {
                return Err(refuse(
                    Code::Interrupted,
                    "the store was changed while it was copied",
                    "nothing was copied; stop whatever uses it, and try again",
                ));
            }
            store.write(world, |tx| {
                tx.audit(world, "store.copy", "store", None, Some(&said))
            })
        })?;
        Ok(CopiedStore { head, version })
    }
}

#[cfg(test)]
mod tests;
