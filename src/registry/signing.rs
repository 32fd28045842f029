//! Signing keys: create, rotate, retire. Also reissues the keyset, which only changes its date.

use keystile_core::hex;
use keystile_core::keyset::{Algorithm, SigningKey, SigningKeys};
use serde_json::json;
use zeroize::Zeroizing;

use keystile_model::error::{Act, Code, Result, refuse};
use keystile_model::record::{SigningRecord, SigningState};
use keystile_model::when;
use keystile_model::world::World;
use keystile_store::{Store, Tx};

const SECRET_BYTES: usize = 32;

/// Creates the first signing key inside another operation.
pub fn insert(tx: &mut Tx<'_>, world: &World) -> Result<String> {
    insert_as(tx, world, Algorithm::HmacSha256)
}

/// Creates a signing key inside another operation. Its id is the date and a few random letters:
/// readable in a log, and unique.
///
/// # Errors
/// Those of the store and of the system's randomness.
pub fn insert_as(tx: &mut Tx<'_>, world: &World, algorithm: Algorithm) -> Result<String> {
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    (world.entropy)(secret.as_mut_slice())?;
    let mut mark = [0; 3];
    (world.entropy)(&mut mark)?;
    let day: String = when::rfc3339(world.now.seconds())
        .chars()
        .take(10)
        .filter(|c| *c != '-')
        .collect();
    let mark = hex::text(mark);
    let kid = format!("k{day}-{mark}");
    tx.insert_signing_key(&kid, algorithm, secret.as_slice(), world.now.seconds())?;
    tx.audit(
        world,
        "signing-key.create",
        &kid,
        None,
        Some(&json!({"state": "active", "algorithm": algorithm.as_str()})),
    )?;
    tx.keyset_changed();
    Ok(kid)
}

/// Creates a new active key; the old one is accepted until it is retired. Without an algorithm, the
/// new one signs as the old one does. Gives the ids of both.
pub fn rotate(
    store: &mut Store,
    world: &World,
    algorithm: Option<Algorithm>,
) -> Result<(String, String)> {
    world.caller.unbound("rotate signing keys")?;
    store.write(world, |tx| {
        let former = active(tx)?;
        let algorithm = algorithm.unwrap_or(former.algorithm());
        let former = former.kid().to_owned();
        tx.demote_signing_key()?;
        tx.audit(
            world,
            "signing-key.demote",
            &former,
            Some(&json!({"state": "active"})),
            Some(&json!({"state": "accepted"})),
        )?;
        let new = insert_as(tx, world, algorithm)?;
        Ok((new, former))
    })
}

/// Erases an old signing key.
pub fn retire(store: &mut Store, world: &World, kid: &str) -> Result<()> {
    world.caller.unbound("retire signing keys")?;
    store.write(world, |tx| {
        let all = tx.signing_keys()?;
        let found = all.iter().find(|k| k.kid == kid);
        match found.map(|k| k.state) {
            None => Err(refuse(
                Code::SigningKeyNotFound,
                format_args!("there is no signing key `{kid}`"),
                keystile_model::next!["see ", Act::SigningKeyList],
            )
            .about("kid")),
            Some(SigningState::Active) => Err(refuse(
                Code::SigningKeyActive,
                format_args!("signing key `{kid}` is the one that signs"),
                keystile_model::next!["create another one first with ", Act::SigningKeyRotate],
            )
            .about("kid")),
            Some(SigningState::Retired) => Ok(()),
            Some(SigningState::Accepted) => {
                tx.retire_signing_key(kid, world.now.seconds())?;
                tx.audit(
                    world,
                    "signing-key.retire",
                    kid,
                    Some(&json!({"state": "accepted"})),
                    Some(&json!({"state": "retired"})),
                )
            }
        }
    })
}

/// The key that signs.
pub fn active(tx: &Tx<'_>) -> Result<SigningKey> {
    tx.signing_keys()?
        .into_iter()
        .find(|k| k.state == SigningState::Active)
        .and_then(|k| k.key)
        .ok_or_else(|| {
            refuse(
                Code::StoreDamaged,
                "the store has no active signing key",
                "restore the folder from a backup",
            )
        })
}

/// The keys whose keysets are accepted, the active one first.
pub fn accepted(tx: &Tx<'_>) -> Result<SigningKeys> {
    let mut all: Vec<SigningRecord> = tx.signing_keys()?;
    all.sort_by_key(|k| k.state != SigningState::Active);
    Ok(SigningKeys::new(
        all.into_iter().filter_map(|k| k.key).collect(),
    ))
}

/// Reissues the keyset: the same content with the present time.
pub fn renew(store: &mut Store, world: &World) -> Result<()> {
    store.write(world, |tx| renew_in(tx, world))
}

/// The same inside another operation.
pub fn renew_in(tx: &mut Tx<'_>, world: &World) -> Result<()> {
    tx.keyset_changed();
    let before = json!({"issued_at": when::rfc3339(tx.meta().issued_at)});
    let after = json!({"issued_at": when::rfc3339(world.now.seconds())});
    tx.audit(world, "keyset.renew", "keyset", Some(&before), Some(&after))
}

/// Raises the store's version above one that an Envoy has in force, unless it is already higher;
/// gives the new one. What the Envoy has comes from another timeline, and it accepts nothing older.
///
/// # Errors
/// Those of the store.
pub fn rise_above(
    store: &mut Store,
    world: &World,
    version: u64,
    node: &str,
) -> Result<Option<u64>> {
    // Most reports are already outdated by the effect of the first.
    if store.read(|tx| Ok(version <= tx.meta().version))? {
        return Ok(None);
    }
    store.write(world, |tx| {
        let former = tx.meta().version;
        if version <= former {
            return Ok(None);
        }
        tx.rise_above(version);
        tx.keyset_changed();
        let before = json!({"version": former});
        let after = json!({"version": tx.next_version(), "in_force": version});
        tx.audit(world, "keyset.rise", node, Some(&before), Some(&after))?;
        Ok(Some(tx.next_version()))
    })
}
