//! Admin tokens, which give access to a server.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Endpoint, ISSUERS, Method, Operation, STAFF};
use crate::Pace;
use keystile_model::caller::{Ceilings, Role};
use keystile_model::error::Result;
use keystile_model::record::words;
use keystile_model::token_record::TokenRecord;
use keystile_model::wire::{self, Id, Range, Secret, Span, Time, TimeWords};
use keystile_model::world::World;
use keystile_registry::token::{self, TokenDraft};
use keystile_store::Store;

/// Everything about a token except the token itself, which is stored nowhere.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// The public id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// `active`, `invited`, `expired` or `revoked`.
    pub status: String,
    /// The client that it is bound to.
    pub client: Option<String>,
    /// The scopes that its keys may hold; only for the role `client`.
    pub scopes: Option<Vec<String>>,
    /// The plans that its keys may have; only for the role `client`.
    pub plans: Option<Vec<String>>,
    /// The longest lifetime of its keys.
    pub max_expiry: Option<Span>,
    /// How many of its keys may be valid at once.
    pub max_keys: Option<u32>,
    /// Address ranges from which it may be used.
    pub cidrs: Vec<String>,
    /// When it was created.
    pub created: Time,
    /// Who created it.
    pub created_by: String,
    /// When it expires.
    pub expires: Time,
    /// When it was last used, to the minute.
    pub last_used: Option<Time>,
    /// When it was revoked.
    pub revoked: Option<Time>,
}

impl TokenView {
    /// The view of a token at a time, in seconds since the epoch.
    pub fn from_record(t: &TokenRecord, now: u64) -> Self {
        let grant = &t.grant;
        let ceilings = (grant.role == Role::Client).then_some(&grant.ceilings);
        Self {
            id: Id(grant.id),
            name: grant.name.clone(),
            role: grant.role,
            status: t.status(now).to_owned(),
            client: grant.client.clone(),
            scopes: ceilings.map(|c| c.scopes.clone()),
            plans: ceilings.map(|c| c.plans.clone()),
            max_expiry: ceilings.and_then(|c| c.max_expiry).map(Span),
            max_keys: ceilings.and_then(|c| c.max_keys),
            cidrs: words(&grant.networks),
            created: Time(t.created),
            created_by: t.created_by.clone(),
            expires: Time(t.expires),
            last_used: grant.last_used.map(Time),
            revoked: t.revoked.map(Time),
        }
    }
}

/// Tokens.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Tokens)]
pub struct TokenViews {
    /// Oldest first.
    pub tokens: Vec<TokenView>,
    /// The `cursor` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Id>,
}

/// A new token.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = TokenCreated)]
pub struct CreatedToken {
    /// The token itself, shown only once. Null in the answer to a repeated request.
    pub token: Option<Secret>,
    /// What the store keeps about it.
    #[serde(flatten)]
    pub view: TokenView,
}

/// Creates a token; it is shown only once, in the answer.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenCreate)]
pub struct Create {
    /// Its name, for people and for the audit log.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The client that it is bound to; only for the role `client`, which requires it.
    #[serde(default)]
    pub client: Option<String>,
    /// The scopes that its keys may hold; only for the role `client`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The plans that its keys may have; the client's own has to be listed too. If none are listed,
    /// only the client's own. Only for the role `client`.
    #[serde(default)]
    pub plans: Vec<String>,
    /// The longest lifetime of its keys.
    #[serde(default)]
    pub max_expiry: Option<Span>,
    /// How many of its keys may be valid at once; a rotated key and its successor count as one.
    #[serde(default)]
    pub max_keys: Option<u32>,
    /// Address ranges from which it may be used.
    #[serde(default)]
    pub cidrs: Vec<Range>,
    /// When it expires; by default 90 days from now, for an invitation a week, and an hour to another
    /// role than `client`.
    #[serde(default)]
    pub expires: Option<TimeWords>,
    /// Create an invitation instead: a code that its receiver exchanges once, at
    /// `/console/invitation`, for a token that is valid for 90 days.
    #[serde(default)]
    pub invite: bool,
}

/// Lists tokens.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenList)]
pub struct List {
    /// Leave out revoked tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub living: bool,
    /// How many at most: 1 to 10,000; 1,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Id>,
}

/// Tokens per page by default.
const TOKENS: u32 = 1_000;

/// Shows everything about a token except the token itself.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenShow)]
pub struct Show {
    /// Its id.
    pub id: Id,
}

/// Revokes a token permanently.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenRevoke)]
pub struct Revoke {
    /// Its id.
    pub id: Id,
}

impl Operation for Create {
    type Output = CreatedToken;
    const ENDPOINT: Endpoint = Endpoint::create(
        "token.create",
        "/v1/tokens",
        ISSUERS,
        "Create a token; it is shown only once, in the answer",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<CreatedToken> {
        let now = world.now.seconds();
        let draft = TokenDraft {
            name: self.name,
            role: self.role,
            client: self.client,
            ceilings: Ceilings {
                scopes: self.scopes,
                plans: self.plans,
                max_expiry: self.max_expiry.map(|s| s.0),
                max_keys: self.max_keys,
            },
            networks: self.cidrs.into_iter().map(|r| r.0).collect(),
            expires: self.expires.map(|w| w.0.at(now)),
            invitation: self.invite,
        };
        let (text, token) = token::create(store, world, draft)?;
        Ok(CreatedToken {
            token: Some(Secret::new(text.expose_secret())),
            view: TokenView::from_record(&token, now),
        })
    }
}

impl Operation for List {
    type Output = TokenViews;
    const ENDPOINT: Endpoint = Endpoint::get("token.list", "/v1/tokens", STAFF, "List tokens");

    fn run(self, store: &mut Store, world: &World) -> Result<TokenViews> {
        let mut room = wire::page(self.limit, TOKENS, "`cursor`")?;
        let now = world.now.seconds();
        let mut out = TokenViews {
            tokens: Vec::new(),
            next: None,
        };
        let cursor = self.cursor.map(|c| c.0);
        store.read(|tx| {
            token::each(tx, &world.caller, cursor, |token| {
                if self.living && token.revoked.is_some() {
                    return true;
                }
                let view = TokenView::from_record(&token, now);
                if !room.takes(&view) {
                    out.next = out.tokens.last().map(|t| t.id.clone());
                    return false;
                }
                out.tokens.push(view);
                true
            })
        })?;
        Ok(out)
    }
}

impl Operation for Show {
    type Output = TokenView;
    const ENDPOINT: Endpoint =
        Endpoint::get("token.show", "/v1/tokens/{id}", STAFF, "Show a token").tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<TokenView> {
        let found = store.read(|tx| token::known(tx, &world.caller, self.id.0))?;
        Ok(TokenView::from_record(&found, world.now.seconds()))
    }
}

impl Operation for Revoke {
    type Output = TokenView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Delete,
        "token.revoke",
        "/v1/tokens/{id}",
        ISSUERS,
        "Revoke a token permanently",
    )
    .tagged();

    fn pace(&self) -> Pace {
        Pace::Urgent
    }

    fn run(self, store: &mut Store, world: &World) -> Result<TokenView> {
        let token = token::revoke(store, world, self.id.0)?;
        Ok(TokenView::from_record(&token, world.now.seconds()))
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        let id = self.id.clone();
        super::shown(Show { id }, store, world)
    }
}
