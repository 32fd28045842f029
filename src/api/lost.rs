//! Keys that a restore lost.

use keystile_core::key::KeyId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Operation, STAFF};
use keystile_model::error::Result;
use keystile_model::wire::{self, Id, Time};
use keystile_model::world::World;
use keystile_registry::lost;
use keystile_store::Store;

const AGAIN: &str = "good_again";

/// Lists what a restore lost: keys of the last published keyset that are unknown to the store or
/// valid again, and keys in use that are unknown to the store.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LostKeyList)]
pub struct List {
    /// Only keys after this id: `next` of the previous page.
    #[serde(default)]
    pub after: Option<Id>,
    /// How many of each at most: 1 to 10,000; 1,000 by default.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// What a restore lost.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = LostKeys)]
pub struct LostPage {
    /// Keys of the last published keyset, sorted by id.
    pub published: Vec<LostView>,
    /// Keys that Envoys let through although the store does not know them, latest first.
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
    /// When an Envoy last let it through, if that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Time>,
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
    type Output = LostPage;
    const ENDPOINT: Endpoint = Endpoint::get(
        "key.lost",
        "/v1/lost-keys",
        STAFF,
        "List keys that a restore lost: unknown ones in use, and revoked ones that are good again",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<LostPage> {
        let room = wire::page(self.limit, 1000, "`next` of this one")?;
        let most = room.things();
        let found = lost::list(store, world, self.after.map(|id| id.0), most)?;
        let all = found.published.len();
        let published = room.fill(found.published.into_iter().map(LostView::from));
        let more = published.len() < all || u32::try_from(all).is_ok_and(|n| n == most);
        Ok(LostPage {
            next: published.last().filter(|_| more).map(|k| k.id.clone()),
            published,
            in_use: room.fill(found.in_use.into_iter().map(UsedView::from)),
        })
    }
}

impl LostPage {
    /// Sorts the most dangerous first: keys that are good again, because Envoys accept them as soon
    /// as the server starts, then those that Envoys refuse; each group by last use, latest first.
    pub fn by_danger(&mut self) {
        let used = |t: &Option<Time>| std::cmp::Reverse(t.as_ref().map(|t| t.0));
        let rank = |k: &LostView| (k.state != AGAIN, used(&k.last_used), k.id.0);
        self.published.sort_by_key(rank);
        self.in_use
            .sort_by_key(|k| (std::cmp::Reverse(k.last_used.0), k.id.0));
    }
}

impl From<(keystile_store::LostKey, Option<u64>)> for LostView {
    fn from((key, used): (keystile_store::LostKey, Option<u64>)) -> Self {
        let state = if key.revoked { AGAIN } else { "unknown" };
        Self {
            id: Id(key.id),
            client: key.client,
            state: state.to_owned(),
            last_used: used.map(Time),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> Id {
        Id(KeyId::from_u64(n).unwrap())
    }

    #[test]
    fn the_most_dangerous_come_first() {
        let published = |n, state: &str, used: Option<u64>| LostView {
            id: id(n),
            client: "acme".to_owned(),
            state: state.to_owned(),
            last_used: used.map(Time),
        };
        let in_use = |n, used| UsedView {
            id: id(n),
            last_used: Time(used),
        };
        let mut lost = LostPage {
            published: vec![
                published(1, "unknown", Some(90)),
                published(2, "good_again", None),
                published(3, "good_again", Some(10)),
                published(4, "unknown", None),
                published(5, "good_again", Some(20)),
            ],
            in_use: vec![in_use(7, 5), in_use(8, 9), in_use(6, 5)],
            next: None,
        };
        lost.by_danger();
        let ids: Vec<_> = lost.published.iter().map(|k| k.id.0).collect();
        assert_eq!(ids, [5, 3, 2, 1, 4].map(|n| id(n).0));
        let ids: Vec<_> = lost.in_use.iter().map(|k| k.id.0).collect();
        assert_eq!(ids, [8, 6, 7].map(|n| id(n).0));
    }
}
