//! Keys that a restore lost.

use keystile::key::KeyId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Operation, Route, STAFF};
use crate::error::Result;
use crate::registry::lost;
use crate::store::Store;
use crate::wire::{self, Id, Time};
use crate::world::World;

/// Lists what a restore lost: keys of the last published keyset that the store does not know
/// or that are good again, and keys in use that the store does not know.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LostKeyList)]
pub struct List {
    /// Only behind this id: `next` of the page before.
    #[serde(default)]
    pub after: Option<Id>,
    /// How many of each at most: 1 to 10,000, 1,000 if it is not said.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// What a restore lost.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = LostKeys)]
pub struct Lost {
    /// Keys of the last published keyset, by id.
    pub published: Vec<LostView>,
    /// Keys that Envoys let through and that the store does not know, the latest first.
    pub in_use: Vec<UsedView>,
    /// `after` of the next page of `published`; null at the end.
    pub next: Option<Id>,
}

/// A key of the last keyset that was published before the restore.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = LostKey)]
pub struct LostView {
    /// Its id.
    pub id: Id,
    /// The client that it was issued to.
    pub client: String,
    /// `unknown`: the store does not know it, and Envoys refuse it; `good_again`: it was
    /// revoked or disabled since the backup, and is not now.
    pub state: String,
}

/// A key that the store does not know.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = UnknownKeyInUse)]
pub struct UsedView {
    /// Its id.
    pub id: Id,
    /// When an Envoy last let it through.
    pub last_used: Time,
}

impl Operation for List {
    type Output = Lost;
    const ROUTE: Route = Route::get(
        "key.lost",
        "/v1/lost-keys",
        STAFF,
        "List keys that a restore lost: unknown ones in use, and revoked ones that are good again",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Lost> {
        let most = wire::page(self.limit, 1000, "`next` of this one")?;
        let found = lost::list(store, world, self.after.map(|id| id.0), most)?;
        let full = u32::try_from(found.published.len()).is_ok_and(|n| n == most);
        Ok(Lost {
            next: found.published.last().filter(|_| full).map(|k| Id(k.id)),
            published: found.published.into_iter().map(LostView::from).collect(),
            in_use: found.in_use.into_iter().map(UsedView::from).collect(),
        })
    }
}

impl From<crate::store::LostKey> for LostView {
    fn from(key: crate::store::LostKey) -> Self {
        let state = if key.revoked { "good_again" } else { "unknown" };
        Self {
            id: Id(key.id),
            client: key.client,
            state: state.to_owned(),
        }
    }
}

impl From<(KeyId, u64)> for UsedView {
    fn from((id, last_used): (KeyId, u64)) -> Self {
        Self {
            id: Id(id),
            last_used: Time(last_used),
        }
    }
}
