//! Clients: create, update, delete.

use keystile_core::policy::is_client_name;

use super::client;
use super::policy;
use keystile_model::caller::Caller;
use keystile_model::error::{Act, Code, Result, named, refuse};
use keystile_model::record::{Client, Labels};
use keystile_model::rules::check_plan;
use keystile_model::words;
use keystile_model::world::World;
use keystile_store::{Store, Tx};

/// The settings of a new client.
#[derive(Clone, Debug, Default)]
pub struct ClientDraft {
    /// Its name.
    pub name: String,
    /// Its plan.
    pub plan: Option<String>,
    /// Free text.
    pub description: String,
    /// Labels.
    pub labels: Labels,
}

impl ClientDraft {
    /// With only a name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// Changes to a client; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct ClientPatch {
    /// A plan, or none.
    pub plan: Option<Option<String>>,
    /// Free text.
    pub description: Option<String>,
    /// Labels to set.
    pub labels: Labels,
    /// Names of labels to remove.
    pub remove_labels: Vec<String>,
}

/// Adds a client.
pub fn create(store: &mut Store, world: &World, draft: ClientDraft) -> Result<Client> {
    store.write(world, |tx| {
        world.caller.unbound("make clients")?;
        let policy = policy(tx)?.policy;
        check_plan(&policy, draft.plan.as_deref())?;
        insert(tx, world, draft)
    })
}

/// Adds a client inside another operation; its plan has been checked.
pub fn insert(tx: &mut Tx<'_>, world: &World, draft: ClientDraft) -> Result<Client> {
    let mut client = checked(tx, world, draft)?;
    client.number = tx.insert_client(&client)?;
    tx.audit(
        world,
        "client.create",
        &client.name,
        None,
        Some(&client.json()),
    )?;
    Ok(client)
}

/// A valid client that has no number yet.
pub fn checked(tx: &Tx<'_>, world: &World, draft: ClientDraft) -> Result<Client> {
    let name = &draft.name;
    if !is_client_name(name) {
        return Err(refuse(
            Code::InvalidName,
            format_args!("`{name}` is not a valid name for a client"),
            "use 1 to 63 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, a letter or digit first",
        )
        .about("name"));
    }
    words::check("name", name, words::NAME)?;
    words::check("description", &draft.description, words::DESCRIPTION)?;
    words::check_labels(&draft.labels, &Labels::new())?;
    if tx.client(name)?.is_some() {
        return Err(refuse(
            Code::ClientExists,
            format_args!("there is a client `{name}` already"),
            keystile_model::next![
                "change it with ",
                Act::ClientUpdate.of(name),
                ", or choose another name"
            ],
        )
        .about("name"));
    }
    Ok(Client {
        number: 0,
        name: draft.name,
        plan: draft.plan,
        description: draft.description,
        labels: draft.labels,
        created: world.now.seconds(),
    })
}

/// The existing clients that the caller may see, by name, after `cursor`, until `each` gives false.
///
/// # Errors
/// Those of `each`, and of the store.
pub fn each(
    tx: &Tx<'_>,
    caller: &Caller,
    cursor: &str,
    mut each: impl FnMut(Client) -> Result<bool>,
) -> Result<()> {
    let Some(own) = caller.narrowed(None) else {
        return tx.clients_after(cursor, each);
    };
    match tx.client(own)? {
        Some(client) if own > cursor => each(client).map(drop),
        _ => Ok(()),
    }
}

/// Changes a client.
pub fn update(store: &mut Store, world: &World, name: &str, patch: ClientPatch) -> Result<Client> {
    store.write(world, |tx| {
        world.caller.unbound("change clients")?;
        let before = client(tx, &world.caller, name)?;
        let mut after = before.clone();
        if let Some(plan) = patch.plan {
            check_plan(&policy(tx)?.policy, plan.as_deref())?;
            after.plan = plan;
        }
        if let Some(description) = patch.description {
            if description != before.description {
                words::check("description", &description, words::DESCRIPTION)?;
            }
            after.description = description;
        }
        after.labels.extend(patch.labels);
        for label in &patch.remove_labels {
            after.labels.remove(label);
        }
        words::check_labels(&after.labels, &before.labels)?;
        if after == before {
            return Ok(after);
        }
        tx.update_client(&after)?;
        if after.plan != before.plan {
            tx.touch_keys_of(after.number)?;
            tx.keyset_changed();
        }
        tx.audit(
            world,
            "client.update",
            name,
            Some(&before.json()),
            Some(&after.json()),
        )?;
        Ok(after)
    })
}

/// How many keys of a client are revoked in one transaction: few enough that others do not wait
/// long.
const SOME: u32 = 500;

/// Deletes a client and revokes its keys, whose number is returned. If it has keys that are not
/// revoked yet, only if `sure`.
///
/// The keys are revoked in parts, each in a transaction of its own, and the client is deleted with
/// the last. After an interruption, calling it again continues where it stopped.
pub fn delete(store: &mut Store, world: &World, name: &str, sure: bool) -> Result<usize> {
    loop {
        let end = store.write(world, |tx| delete_in(tx, world, name, sure))?;
        if let Some(revoked) = end {
            return Ok(revoked);
        }
    }
}

/// One part of that; after the last, how many keys were revoked.
pub(super) fn delete_in(
    tx: &mut Tx<'_>,
    world: &World,
    name: &str,
    sure: bool,
) -> Result<Option<usize>> {
    world.caller.unbound("delete clients")?;
    let client = client(tx, &world.caller, name)?;
    let some = tx.unrevoked_keys(client.number, SOME)?;
    if !some.is_empty() && !sure {
        let living = tx.unrevoked_keys_of(client.number)?;
        return Err(refuse(
            Code::ConfirmationMissing,
            format_args!(
                "client `{name}` has {} that would be revoked for good",
                super::key::count(usize::try_from(living).unwrap_or(usize::MAX))
            ),
            keystile_model::next!["say so with ", named("sure")],
        )
        .about("sure"));
    }
    let is_last = some.len() < SOME as usize;
    for key in some {
        super::key::revoke_in(tx, world, key, "client deleted")?;
    }
    if !is_last {
        return Ok(None);
    }
    let revoked = tx.keys_revoked_at(client.number, world.now.seconds())?;
    super::token::revoke_of_client(tx, world, name)?;
    tx.delete_client(client.number, world.now.seconds())?;
    tx.audit(world, "client.delete", name, Some(&client.json()), None)?;
    Ok(Some(usize::try_from(revoked).unwrap_or(usize::MAX)))
}
