//! The policy in force: apply another one.

mod effects;
mod look;
mod reach;
mod text;

use keystile_model::error::Result;
use keystile_model::record::Revision;
use keystile_model::world::World;
use keystile_policy::file::PolicyFile;
use keystile_store::{Store, Tx};
pub use look::{Looked, check, look};
pub use reach::{KeysConcerned, concerned};
pub use text::check_text;
use text::without_keys;

/// The result of applying a policy.
pub struct Applied {
    /// Its number.
    pub revision: u64,
    /// It was in force already.
    pub unchanged: bool,
    /// Warnings for its author.
    pub warnings: Vec<String>,
}

/// Puts a policy in force, unless existing keys or clients would be left without their plan.
pub fn apply(store: &mut Store, world: &World, file: &PolicyFile) -> Result<Applied> {
    world.caller.unbound("change the policy")?;
    let looked = store.read(|tx| look(tx, file))?;
    apply_after(store, world, file, &looked)
}

/// The same after a look at all keys, however long ago: in the transaction, only those that have
/// changed since are looked at again.
pub fn apply_after(
    store: &mut Store,
    world: &World,
    file: &PolicyFile,
    looked: &Looked,
) -> Result<Applied> {
    world.caller.unbound("change the policy")?;
    store.write(world, |tx| put(tx, world, file, looked))
}

/// The same inside another operation.
pub(super) fn apply_in(tx: &mut Tx<'_>, world: &World, file: &PolicyFile) -> Result<Applied> {
    let looked = look(tx, file)?;
    put(tx, world, file, &looked)
}

fn put(tx: &mut Tx<'_>, world: &World, file: &PolicyFile, looked: &Looked) -> Result<Applied> {
    let before = tx.policy()?;
    let warnings = looked.again(tx, file)?;
    if before.text == file.text {
        return Ok(Applied {
            revision: before.revision,
            unchanged: true,
            warnings,
        });
    }
    let revision = tx.insert_policy(&file.text, world.now.seconds())?;
    tx.keyset_changed();
    let json =
        |r: &Revision| serde_json::json!({"revision": r.revision, "policy": without_keys(&r.text)});
    let after = Revision {
        revision,
        text: file.text.clone(),
        applied: world.now.seconds(),
    };
    tx.audit(
        world,
        "policy.apply",
        &revision.to_string(),
        Some(&json(&before)),
        Some(&json(&after)),
    )?;
    Ok(Applied {
        revision,
        unchanged: false,
        warnings,
    })
}

#[cfg(test)]
mod tests;
