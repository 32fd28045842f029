//! What a new token is given, and what is wrong with it.

use ipnet::IpNet;
use keystile_core::policy::{is_client_name, is_plan_name, is_scope};

use crate::{client, policy};
use keystile_model::caller::{Ceilings, Role};
use keystile_model::error::{Act, Code, Result, named, refuse};
use keystile_model::record::Client;
use keystile_model::words;
use keystile_model::world::World;
use keystile_store::Tx;

/// How many ranges, scopes or plans one token may have.
const MOST: usize = 500;

/// The settings of a new token.
#[derive(Clone, Debug)]
pub struct TokenDraft {
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
    /// Seconds; by default 90 days from now, for an invitation a week, and an hour to another role
    /// than `client`.
    pub expires: Option<u64>,
    /// Create an invitation: a code that can only be exchanged for the token.
    pub invitation: bool,
}

impl TokenDraft {
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

/// The client of a valid draft.
pub(super) fn check(tx: &Tx<'_>, world: &World, draft: &TokenDraft) -> Result<Option<Client>> {
    let TokenDraft { name, ceilings, .. } = draft;
    words::check("name", name, words::NAME)?;
    if !is_client_name(name) {
        return Err(refuse(
            Code::InvalidName,
            format_args!("`{name}` is not a valid name for a token"),
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
    bound_client(tx, world, draft)
}

/// The client that a token is bound to; only tokens of the role `client` are, and may have
/// ceilings.
fn bound_client(tx: &Tx<'_>, world: &World, draft: &TokenDraft) -> Result<Option<Client>> {
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
    let policy = policy(tx)?.policy;
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
