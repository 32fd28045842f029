//! Tokens, which give access to a server: created, shown once, checked, revoked.

use keystile_core::key::{self, KeyId, KeyText, Name};

use keystile_model::caller::{Caller, Grant, Role, forbidden};
use keystile_model::error::{Act, Code, Error, Result, defect, refuse};
use keystile_model::record::Client;
use keystile_model::token_record::TokenRecord;
use keystile_model::world::World;
use keystile_store::{Store, Tx};

mod access;
mod draft;

pub use access::{BRAND, TokenError, authenticate, is_use_due, still_good, used};
use access::{alive, find};
pub use draft::TokenDraft;
use draft::check;

/// How long a token is valid by default, in seconds.
pub const LIFETIME: u64 = 90 * 86_400;
/// How long an invitation to the role `client` is valid by default, in seconds: people read their
/// mail.
const INVITED: u64 = 7 * 86_400;
/// The same to any other role: it is worth as much as the token.
const SIGN_IN: u64 = 3600;
/// What an invitation has in place of a role, so that it is not accepted where a token is required.
const INVITATION: &str = "invite";

/// Creates a token; its text is shown only once.
///
/// # Errors
/// If the caller may not create such a token, or the draft is invalid.
pub fn create(
    store: &mut Store,
    world: &World,
    draft: TokenDraft,
) -> Result<(KeyText, TokenRecord)> {
    store.write(world, |tx| {
        may_manage(&world.caller, draft.role)?;
        let client = check(tx, world, &draft)?;
        let now = world.now.seconds();
        let word = if draft.invitation {
            INVITATION
        } else {
            draft.role.as_str()
        };
        let fresh = generate(tx, word, world)?;
        let usual = match (draft.invitation, draft.role) {
            (false, _) => LIFETIME,
            (true, Role::Client) => INVITED,
            (true, _) => SIGN_IN,
        };
        let token = TokenRecord {
            grant: Grant {
                id: fresh.id,
                name: draft.name,
                role: draft.role,
                client: draft.client,
                ceilings: draft.ceilings,
                networks: draft.networks,
                last_used: None,
            },
            digest: fresh.digest,
            created: now,
            created_by: world.actor.user.clone(),
            expires: draft.expires.unwrap_or_else(|| now.saturating_add(usual)),
            revoked: None,
            invitation: draft.invitation,
        };
        insert(tx, world, &token, client.as_ref())?;
        Ok((fresh.text, token))
    })
}

fn insert(
    tx: &mut Tx<'_>,
    world: &World,
    token: &TokenRecord,
    client: Option<&Client>,
) -> Result<()> {
    tx.insert_token(token, client.map(|c| c.number))?;
    tx.audit(
        world,
        "token.create",
        &token.grant.id.to_string(),
        None,
        Some(&token.audit_json()),
    )
}

fn generate(tx: &Tx<'_>, word: &str, world: &World) -> Result<key::Fresh> {
    let (brand, word) = (name(BRAND)?, name(word)?);
    let mut fresh = key::generate(&brand, &word, world.entropy)?;
    while tx.token(fresh.id)?.is_some() {
        fresh = key::generate(&brand, &word, world.entropy)?;
    }
    Ok(fresh)
}

/// Exchanges an invitation for its token, once; the token is valid for 90 days and shown only once.
///
/// # Errors
/// If the code is not that of an open invitation.
pub fn accept(store: &mut Store, world: &World, code: &str) -> Result<(KeyText, TokenRecord)> {
    store.write(world, |tx| {
        let now = world.now.seconds();
        let (invitation, word) = find(tx, code).map_err(closed)?;
        if !invitation.invitation || word != INVITATION {
            return Err(closed(TokenError::Unknown));
        }
        let grant = alive(&invitation, world.actor.address.parse().ok(), now).map_err(closed)?;
        let fresh = generate(tx, grant.role.as_str(), world)?;
        let client = grant.client.as_deref().map(|name| tx.client(name));
        let client = client.transpose()?.flatten();
        let token = TokenRecord {
            grant: Grant {
                id: fresh.id,
                last_used: None,
                ..grant
            },
            digest: fresh.digest,
            created: now,
            created_by: invitation.created_by.clone(),
            expires: now.saturating_add(LIFETIME),
            revoked: None,
            invitation: false,
        };
        let id = invitation.grant.id.to_string();
        let spent = TokenRecord {
            revoked: Some(now),
            ..invitation.clone()
        };
        tx.revoke_token(invitation.grant.id, now)?;
        tx.audit(
            world,
            "token.accept",
            &id,
            Some(&invitation.audit_json()),
            Some(&spent.audit_json()),
        )?;
        insert(tx, world, &token, client.as_ref())?;
        Ok((fresh.text, token))
    })
}

fn closed(e: TokenError) -> keystile_model::error::Error {
    let fact = match e {
        TokenError::Malformed => "this is not the code of an invitation",
        TokenError::Expired => "the invitation has expired",
        TokenError::Revoked => "the invitation was already accepted, or withdrawn",
        TokenError::Network => "the invitation may not be accepted from this address",
        TokenError::Unknown | TokenError::Store => "there is no such invitation",
    };
    refuse(Code::TokenInvalid, fact, "ask for a new one")
}

fn name(text: &str) -> Result<Name> {
    text.parse().map_err(defect)
}

/// Checks that a caller may create and revoke tokens of a role: an owner all, an issuer those that
/// are bound to a client.
fn may_manage(caller: &Caller, role: Role) -> Result<()> {
    match (caller.role(), role) {
        (Role::Owner, _) | (Role::Issuer, Role::Client) => Ok(()),
        (own, _) => Err(forbidden(format_args!(
            "a token of the role `{own}` may not make or revoke tokens of the role `{role}`"
        ))),
    }
}

/// The tokens that a caller may see, oldest first: owner and auditor all, an issuer those that are
/// bound to a client, a client none. Those after one, until `each` gives false.
///
/// # Errors
/// Those of the store.
pub fn each(
    tx: &Tx<'_>,
    caller: &Caller,
    after: Option<KeyId>,
    mut each: impl FnMut(TokenRecord) -> bool,
) -> Result<()> {
    tx.tokens_after(after, |token| !knows_of(caller, &token) || each(token))
}

/// A token that the caller may see.
///
/// # Errors
/// If it does not exist; those of the store.
pub fn known(tx: &Tx<'_>, caller: &Caller, id: KeyId) -> Result<TokenRecord> {
    let found = tx.token(id)?.filter(|t| knows_of(caller, t));
    found.ok_or_else(|| unknown(id))
}

fn knows_of(caller: &Caller, token: &TokenRecord) -> bool {
    match caller.role() {
        Role::Owner | Role::Auditor => true,
        Role::Issuer => token.grant.role == Role::Client,
        Role::Client => false,
    }
}

/// Revokes a token permanently. Revoking again is not an error: the caller wants it revoked.
///
/// # Errors
/// If it does not exist, or the caller may not.
pub fn revoke(store: &mut Store, world: &World, id: KeyId) -> Result<TokenRecord> {
    store.write(world, |tx| {
        let found = tx.token(id)?.filter(|t| knows_of(&world.caller, t));
        let token = found.ok_or_else(|| unknown(id))?;
        may_manage(&world.caller, token.grant.role)?;
        if token.revoked.is_some() {
            return Ok(token);
        }
        revoke_in(tx, world, token)
    })
}

/// The error that there is none with that id.
pub fn unknown(id: KeyId) -> Error {
    refuse(
        Code::TokenNotFound,
        format_args!("there is no token `{id}`"),
        keystile_model::next!["see ", Act::TokenList, " for the ids"],
    )
    .about("id")
}

/// The same inside another operation.
fn revoke_in(tx: &mut Tx<'_>, world: &World, before: TokenRecord) -> Result<TokenRecord> {
    let after = TokenRecord {
        revoked: Some(world.now.seconds()),
        ..before.clone()
    };
    tx.revoke_token(after.grant.id, world.now.seconds())?;
    tx.audit(
        world,
        "token.revoke",
        &after.grant.id.to_string(),
        Some(&before.audit_json()),
        Some(&after.audit_json()),
    )?;
    Ok(after)
}

/// Revokes the tokens of a client that is about to be deleted.
pub fn revoke_of_client(tx: &mut Tx<'_>, world: &World, client: &str) -> Result<()> {
    let tokens = tx
        .tokens()?
        .into_iter()
        .filter(|t| t.revoked.is_none() && t.grant.client.as_deref() == Some(client));
    for token in tokens {
        revoke_in(tx, world, token)?;
    }
    Ok(())
}
