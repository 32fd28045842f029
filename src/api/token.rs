//! Admin tokens: who may talk to a server.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{ISSUERS, Method, Operation, Route, STAFF};
use crate::Pace;
use keystile_model::caller::{Ceilings, Role};
use keystile_model::error::Result;
use keystile_model::record::words;
use keystile_model::token_record::TokenRecord;
use keystile_model::wire::{self, Id, Range, Secret, Span, Time, TimeWords};
use keystile_model::world::World;
use keystile_registry::token::{self, Draft};
use keystile_store::Store;

/// A token: all but the token itself, which is stored nowhere.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// Public id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// What kind of caller it makes.
    pub role: Role,
    /// `active`, `invited`, `expired` or `revoked`.
    pub status: String,
    /// The client that it is bound to.
    pub client: Option<String>,
    /// The scopes that keys may hold which it makes; of the role `client`.
    pub scopes: Option<Vec<String>>,
    /// The plans that they may have; of the role `client`.
    pub plans: Option<Vec<String>>,
    /// How far ahead they must end.
    pub max_expiry: Option<Span>,
    /// How many may live at once.
    pub max_keys: Option<u32>,
    /// Ranges that it may be used from.
    pub cidrs: Vec<String>,
    /// Since when.
    pub created: Time,
    /// By whom it was made.
    pub created_by: String,
    /// When it ends.
    pub expires: Time,
    /// When it was last used, to the minute.
    pub last_used: Option<Time>,
    /// Since when it is switched off for good.
    pub revoked: Option<Time>,
}

impl TokenView {
    /// A token at an instant, in seconds.
    pub fn of(t: &TokenRecord, now: u64) -> Self {
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
    /// The oldest first.
    pub tokens: Vec<TokenView>,
    /// The `cursor` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Id>,
}

/// A new token.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = TokenCreated)]
pub struct Created {
    /// The token itself: shown this once. Null in the answer to a request that is repeated.
    pub token: Option<Secret>,
    /// What the store keeps.
    #[serde(flatten)]
    pub view: TokenView,
}

/// Makes a token; it is shown once, in the answer.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenCreate)]
pub struct Create {
    /// Its name, for people and for the audit log.
    pub name: String,
    /// What kind of caller it makes.
    pub role: Role,
    /// The client that it is bound to; with the role `client`, and only then.
    #[serde(default)]
    pub client: Option<String>,
    /// The scopes that keys may hold which it makes; of the role `client`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The plans that they may have; the client's own has to be listed too. With none listed,
    /// only the client's own. Of the role `client`.
    #[serde(default)]
    pub plans: Vec<String>,
    /// How far ahead they must end.
    #[serde(default)]
    pub max_expiry: Option<Span>,
    /// How many may live at once; one that gives way and its successor count as one.
    #[serde(default)]
    pub max_keys: Option<u32>,
    /// Ranges that it may be used from.
    #[serde(default)]
    pub cidrs: Vec<Range>,
    /// When it ends; 90 days from now if it is not said, a week for an invitation.
    #[serde(default)]
    pub expires: Option<TimeWords>,
    /// Make an invitation instead: a code that its receiver exchanges, once, at
    /// `/console/invitation` for a token that is good for 90 days; of the role `client`.
    #[serde(default)]
    pub invite: bool,
}

/// Lists tokens.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenList)]
pub struct List {
    /// Leave out those that are revoked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub living: bool,
    /// How many at most: 1 to 10,000; 1,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Id>,
}

/// Tokens on a page, if it is not said how many.
const TOKENS: u32 = 1_000;

/// Shows a token: all but the token itself.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenShow)]
pub struct Show {
    /// Its id.
    pub id: Id,
}

/// Switches a token off for good.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenRevoke)]
pub struct Revoke {
    /// Its id.
    pub id: Id,
}

impl Operation for Create {
    type Output = Created;
    const ROUTE: Route = Route::create(
        "token.create",
        "/v1/tokens",
        ISSUERS,
        "Make a token; it is shown once, in the answer",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Created> {
        let now = world.now.seconds();
        let draft = Draft {
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
        Ok(Created {
            token: Some(Secret::new(text.expose_secret())),
            view: TokenView::of(&token, now),
        })
    }
}

impl Operation for List {
    type Output = TokenViews;
    const ROUTE: Route = Route::get("token.list", "/v1/tokens", STAFF, "List tokens");

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
                let view = TokenView::of(&token, now);
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
    const ROUTE: Route =
        Route::get("token.show", "/v1/tokens/{id}", STAFF, "Show a token").tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<TokenView> {
        let found = store.read(|tx| token::known(tx, &world.caller, self.id.0))?;
        Ok(TokenView::of(&found, world.now.seconds()))
    }
}

impl Operation for Revoke {
    type Output = TokenView;
    const ROUTE: Route = Route::change(
        Method::Delete,
        "token.revoke",
        "/v1/tokens/{id}",
        ISSUERS,
        "Switch a token off for good",
    )
    .tagged();

    fn pace(&self) -> Pace {
        Pace::Urgent
    }

    fn run(self, store: &mut Store, world: &World) -> Result<TokenView> {
        let token = token::revoke(store, world, self.id.0)?;
        Ok(TokenView::of(&token, world.now.seconds()))
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        let id = self.id.clone();
        super::shown(Show { id }, store, world)
    }
}
