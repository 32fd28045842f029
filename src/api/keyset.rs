//! The keyset of the store.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, ISSUERS, Method, Operation, STAFF};
use keystile_model::error::Result;
use keystile_model::wire::Time;
use keystile_model::world::World;
use keystile_registry as registry;
use keystile_registry::publish;
use keystile_registry::signing;
use keystile_store::Store;

/// What the store would publish.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Keyset)]
pub struct KeysetView {
    /// The id of the store in keysets.
    pub store: String,
    /// Its version.
    pub version: u64,
    /// When it last changed.
    pub issued_at: Time,
    /// When the filter stops accepting it, if the policy limits its age.
    pub not_after: Option<Time>,
    /// How many keys it holds; revoked ones are included until they would have expired.
    pub keys: u64,
    /// The revision of the policy in it.
    pub policy_revision: u64,
    /// Ids of the keys it is signed with, the active one first.
    pub signed_with: Vec<String>,
}

/// A signed keyset.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetConfiguration)]
pub struct SignedKeyset {
    /// Its version.
    pub version: u64,
    /// How many keys.
    pub keys: u64,
    /// Its size.
    pub bytes: u64,
    /// The plugin configuration, for Envoy's StringValue.
    pub configuration: String,
}

/// A version of the keyset.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetVersion)]
pub struct KeysetVersion {
    /// Milliseconds since the epoch; always increasing.
    pub version: u64,
}

/// Shows what the store would publish.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysetShow)]
pub struct Show {}

/// Builds and signs the keyset; reissues it first if half of its lifetime has passed.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysetBuild)]
pub struct Build {}

/// Reissues the keyset now.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysetRenew)]
pub struct Renew {}

impl Operation for Show {
    type Output = KeysetView;
    const ENDPOINT: Endpoint = Endpoint::get(
        "keyset.show",
        "/v1/keyset",
        STAFF,
        "Show what the store would publish",
    );

    fn run(self, store: &mut Store, _: &World) -> Result<KeysetView> {
        store.read(|tx| {
            let meta = tx.meta();
            let bound = registry::policy(tx)?.policy.not_after;
            let mut signers = tx.signing_keys()?;
            signers.sort_by_key(|k| k.state != keystile_model::record::SigningState::Active);
            let ready = publish::unrenewed(tx)?;
            Ok(KeysetView {
                store: meta.store.to_string(),
                version: meta.version,
                issued_at: Time(meta.issued_at),
                not_after: bound.map(|n| Time(meta.issued_at.saturating_add(n))),
                keys: ready.built.keys as u64,
                policy_revision: tx.policy()?.revision,
                signed_with: signers
                    .iter()
                    .filter(|k| k.key.is_some())
                    .map(|k| k.kid.clone())
                    .collect(),
            })
        })
    }
}

impl Operation for Build {
    type Output = SignedKeyset;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "keyset.build",
        "/v1/keyset/build",
        ISSUERS,
        "Build and sign the keyset",
    )
    .live();

    /// It reads the store, and at most reissues the keyset.
    fn updates_store(&self) -> bool {
        false
    }

    fn run(self, store: &mut Store, world: &World) -> Result<SignedKeyset> {
        Ok(SignedKeyset::from_ready(&publish::ready(store, world)?))
    }
}

impl SignedKeyset {
    /// Signs a keyset.
    pub fn from_ready(ready: &publish::Ready) -> Self {
        let configuration = ready.seal(0);
        Self {
            version: ready.built.version,
            keys: ready.built.keys as u64,
            bytes: configuration.len() as u64,
            configuration,
        }
    }
}

impl Operation for Renew {
    type Output = KeysetVersion;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "keyset.renew",
        "/v1/keyset/renew",
        ISSUERS,
        "Reissue the keyset now",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<KeysetVersion> {
        signing::renew(store, world)?;
        let version = store.read(|tx| Ok(tx.meta().version))?;
        Ok(KeysetVersion { version })
    }
}
