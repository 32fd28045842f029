//! Tokens, which give access to a server: created, shown once, checked, revoked.

use std::fmt;
use std::net::IpAddr;

use hmac::digest::CtOutput;
use ipnet::IpNet;
use keystile_core::key::{self, Digest, KeyId, KeyText, Name, Parsed};
use keystile_core::policy::{is_client_name, is_plan_name, is_scope};
use sha2::Sha256;

use super::client;
use keystile_model::caller::{Caller, Ceilings, Grant, Role, forbidden};
use keystile_model::error::{Act, Code, Error, Result, defect, named, refuse};
use keystile_model::record::Client;
use keystile_model::token_record::TokenRecord;
use keystile_model::words;
use keystile_model::world::World;
use keystile_store::{Store, Tx};

/// What every token begins with: `kst_<role>_…`, in the form of a key.
pub const BRAND: &str = "kst";
/// How long a token is valid by default, in seconds.
pub const LIFETIME: u64 = 90 * 86_400;
/// How long an invitation is valid by default, in seconds.
pub const INVITED: u64 = 7 * 86_400;
/// What an invitation has in place of a role, so that it is not accepted where a token is required.
const INVITATION: &str = "invite";
/// The precision with which the last use is stored, in seconds.
const LAST_USED_STEP: u64 = 60;
/// How many ranges, scopes or plans one token may have.
const MOST: usize = 500;

/// The settings of a new token.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its name, for people and for the audit log.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The client that it is bound to; only for the role `client`, which requires it.
    pub client: Option<String>,
    /// The limits for its keys; only for the role `client`.
    pub ceilings: Ceilings,
    /// Address ranges from which it may be used; any if empty.
    pub networks: Vec<IpNet>,
    /// Seconds; by default 90 days from now, or a week for an invitation.
    pub expires: Option<u64>,
    /// Create an invitation: a code that can only be exchanged for the token.
    pub invitation: bool,
}

impl Draft {
    /// With this role and nothing else; for the role `client`, of the client `acme`.
    pub fn plain(name: impl Into<String>, role: Role) -> Self {
        Self {
            name: name.into(),
            role,
            client: (role == Role::Client).then(|| "acme".to_owned()),
            ceilings: Ceilings::default(),
            networks: Vec::new(),
            expires: None,
            invitation: false,
        }
    }
}

/// Why a token is invalid. Anything more than `Unknown` is revealed only to a caller that presents
/// the full secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Not the text of a token.
    Malformed,
    /// It does not exist.
    Unknown,
    /// Expired.
    Expired,
    /// Revoked, or bound to a client that was deleted.
    Revoked,
    /// Not to be used from this address.
    Network,
    /// The store did not answer.
    Store,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is not a token",
            Self::Unknown => "there is no such token",
            Self::Expired => "the token has expired",
            Self::Revoked => "the token was revoked",
            Self::Network => "the token may not be used from this address",
            Self::Store => "the store cannot be read",
        })
    }
}

/// Creates a token; its text is shown only once.
///
/// # Errors
/// If the caller may not create such a token, or the draft is invalid.
pub fn create(store: &mut Store, world: &World, draft: Draft) -> Result<(KeyText, TokenRecord)> {
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
        let usual = if draft.invitation { INVITED } else { LIFETIME };
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
        TokenError::Revoked => "the invitation was accepted already, or taken back",
        TokenError::Network => "the invitation may not be accepted from this address",
        TokenError::Unknown | TokenError::Store => "there is no such invitation",
    };
    refuse(Code::TokenInvalid, fact, "ask for a new one")
}

fn name(text: &str) -> Result<Name> {
    text.parse().map_err(defect)
}

/// The client of a valid draft.
fn check(tx: &Tx<'_>, world: &World, draft: &Draft) -> Result<Option<Client>> {
    let Draft { name, ceilings, .. } = draft;
    words::check("name", name, words::NAME)?;
    if !is_client_name(name) {
        return Err(refuse(
            Code::InvalidName,
            format_args!("`{name}` is no name for a token"),
            "use 1 to 63 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, a letter or digit first",
        )
        .about("name"));
    }
    if let Some(other) = tx.living_token(name)? {
        return Err(refuse(
            Code::TokenExists,
            format_args!("there is a token `{name}` already"),
            keystile_model::next![
                "choose another name, or revoke that one with ",
                Act::TokenRevoke.of(other)
            ],
        )
        .about("name"));
    }
    if draft.expires.is_some_and(|t| t <= world.now.seconds()) {
        return Err(refuse(
            Code::ExpiryInPast,
            "the token would be expired from the start",
            keystile_model::next!["give a later ", named("expires")],
        )
        .about("expires"));
    }
    if [
        ceilings.scopes.len(),
        ceilings.plans.len(),
        draft.networks.len(),
    ]
    .into_iter()
    .any(|n| n > MOST)
    {
        return Err(refuse(
            Code::TooMany,
            format_args!("a token may have {MOST} ranges, scopes or plans at most"),
            "use wider ranges or fewer of them",
        ));
    }
    if draft.invitation && draft.role != Role::Client {
        return Err(refuse(
            Code::FieldsConflict,
            format_args!("nobody is invited to the role `{}`", draft.role),
            "make a token, or invite to the role `client`",
        )
        .about("role"));
    }
    bound_client(tx, world, draft)
}

/// The client that a token is bound to; only tokens of the role `client` are, and may have
/// ceilings.
fn bound_client(tx: &Tx<'_>, world: &World, draft: &Draft) -> Result<Option<Client>> {
    let ceilings = &draft.ceilings;
    match (draft.role, &draft.client) {
        (Role::Client, None) => Err(refuse(
            Code::FieldMissing,
            "a token of the role `client` is bound to one",
            keystile_model::next!["name it with ", named("client")],
        )
        .about("client")),
        (Role::Client, Some(bound)) => {
            check_ceilings(tx, ceilings)?;
            client(tx, &world.caller, bound).map(Some)
        }
        (role, Some(_)) => Err(refuse(
            Code::FieldsConflict,
            format_args!("a token of the role `{role}` is not bound to a client"),
            keystile_model::next![
                "leave ",
                named("client"),
                " out, or give ",
                named("role").value("client")
            ],
        )
        .about("client")),
        (role, None) if *ceilings != Ceilings::default() => Err(refuse(
            Code::FieldsConflict,
            format_args!("a token of the role `{role}` has no ceilings"),
            keystile_model::next![
                "leave scopes, plans, ",
                named("max_expiry"),
                " and ",
                named("max_keys"),
                " out, or give ",
                named("role").value("client")
            ],
        )
        .about("role")),
        (_, None) => Ok(None),
    }
}

fn check_ceilings(tx: &Tx<'_>, ceilings: &Ceilings) -> Result<()> {
    if let Some(scope) = ceilings.scopes.iter().find(|s| !is_scope(s)) {
        return Err(refuse(
            Code::InvalidScope,
            format_args!("`{scope}` is not a scope"),
            "use up to 64 printable characters without spaces, commas, quotes and backslashes, such as `read:users`",
        )
        .about("scopes"));
    }
    let policy = super::policy(tx)?.policy;
    for plan in &ceilings.plans {
        if !is_plan_name(plan) {
            return Err(refuse(
                Code::UnknownPlan,
                format_args!("`{plan}` is not a plan name"),
                keystile_model::next!["see ", Act::PlanList],
            )
            .about("plans"));
        }
        keystile_model::rules::check_plan(&policy, Some(plan))?;
    }
    Ok(())
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

/// What a token allows that is presented from an address, at a time in seconds.
///
/// # Errors
/// If it is invalid, with the reason.
pub fn authenticate(
    tx: &Tx<'_>,
    presented: &str,
    address: IpAddr,
    now: u64,
) -> std::result::Result<Grant, TokenError> {
    let (token, word) = find(tx, presented)?;
    if token.invitation || word != token.grant.role.as_str() {
        return Err(TokenError::Unknown);
    }
    alive(&token, Some(address), now)
}

/// What a token allows, by its id, if its text was presented earlier.
///
/// # Errors
/// If it is no longer valid, with the reason.
pub fn still_good(
    tx: &Tx<'_>,
    id: KeyId,
    address: IpAddr,
    now: u64,
) -> std::result::Result<Grant, TokenError> {
    let found = tx.token(id).map_err(|_| TokenError::Store)?;
    let token = found.filter(|t| !t.invitation).ok_or(TokenError::Unknown)?;
    alive(&token, Some(address), now)
}

/// The record for a text, and the word in its middle.
fn find(tx: &Tx<'_>, presented: &str) -> std::result::Result<(TokenRecord, String), TokenError> {
    let text = Parsed::parse(presented.as_bytes()).map_err(|_| TokenError::Malformed)?;
    if text.brand != BRAND {
        return Err(TokenError::Malformed);
    }
    let found = tx.token(text.id()).map_err(|_| TokenError::Store)?;
    let token = found.ok_or(TokenError::Unknown)?;
    if !same(&token.digest, &text.digest()) {
        return Err(TokenError::Unknown);
    }
    Ok((token, text.environment.to_owned()))
}

fn alive(
    token: &TokenRecord,
    address: Option<IpAddr>,
    now: u64,
) -> std::result::Result<Grant, TokenError> {
    let orphan = token.grant.role == Role::Client && token.grant.client.is_none();
    if token.revoked.is_some() || orphan {
        return Err(TokenError::Revoked);
    }
    if token.expires <= now {
        return Err(TokenError::Expired);
    }
    let near = address.map_or(token.grant.networks.is_empty(), |a| token.grant.admits(a));
    if !near {
        return Err(TokenError::Network);
    }
    Ok(token.grant.clone())
}

/// Compares in constant time.
fn same(a: &Digest, b: &Digest) -> bool {
    CtOutput::<Sha256>::new(a.0.into()) == CtOutput::new(b.0.into())
}

/// Whether the use of a token at a time, in seconds, is to be stored: at most one per minute.
pub fn is_use_due(grant: &Grant, now: u64) -> bool {
    grant
        .last_used
        .is_none_or(|t| t.saturating_add(LAST_USED_STEP) <= now)
}

/// Stores that a token was used.
///
/// # Errors
/// Those of the store.
pub fn used(store: &mut Store, world: &World, id: KeyId) -> Result<()> {
    store.write(world, |tx| tx.token_used(id, world.now.seconds()))
}
