//! Signing keys, without their secrets, which leave the store only on its own machine.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{AUDITORS, Endpoint, Method, OWNERS, Operation};
use crate::Pace;
use keystile_core::keyset::Algorithm;
use keystile_model::error::Result;
use keystile_model::record::SigningRecord;
use keystile_model::wire::Time;
use keystile_model::world::World;
use keystile_registry::signing;
use keystile_store::Store;

/// How a signing key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SigningAlgorithm {
    /// Whoever can check keysets can also sign them
    HmacSha256,
    /// Envoys get only public keys
    Ed25519,
}

impl From<SigningAlgorithm> for Algorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        match algorithm {
            SigningAlgorithm::HmacSha256 => Self::HmacSha256,
            SigningAlgorithm::Ed25519 => Self::Ed25519,
        }
    }
}

impl From<Algorithm> for SigningAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::HmacSha256 => Self::HmacSha256,
            Algorithm::Ed25519 => Self::Ed25519,
        }
    }
}

/// A key that keysets are signed with.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = SigningKey)]
pub struct SigningKeyView {
    /// Its id.
    pub kid: String,
    /// How it signs.
    pub algorithm: SigningAlgorithm,
    /// `active`, `accepted` or `retired`.
    pub state: String,
    /// Its entry in `KEYSTILE_VERIFY_KEYS`, if it has a public key: not a secret.
    pub verify_key: Option<String>,
    /// When it was created.
    pub created: Time,
    /// When it was retired and erased.
    pub retired: Option<Time>,
}

/// Signing keys.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct SigningKeyViews {
    /// Oldest first.
    pub signing_keys: Vec<SigningKeyView>,
}

/// A change of the key that signs.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = SigningKeyRotated)]
pub struct RotatedSigningKey {
    /// The key that signs from now on.
    pub active: String,
    /// The old key, which is accepted until it is retired.
    pub accepted: String,
}

/// A signing key that is erased.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = SigningKeyRetired)]
pub struct Retired {
    /// Its id.
    pub kid: String,
    /// `retired`.
    pub state: String,
}

/// Lists signing keys.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SigningKeyList)]
pub struct List {}

/// Creates a new signing key; the old one is accepted until it is retired.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SigningKeyRotate)]
pub struct Rotate {}

/// Creates a signing key of an algorithm; the old one is accepted until it is retired.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SigningKeyCreate)]
pub struct Create {
    /// How it signs.
    pub algorithm: SigningAlgorithm,
}

/// Erases an old signing key.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SigningKeyRetire)]
pub struct Retire {
    /// Its id.
    pub kid: String,
}

impl Operation for List {
    type Output = SigningKeyViews;
    const ENDPOINT: Endpoint = Endpoint::get(
        "signing-key.list",
        "/v1/signing-keys",
        AUDITORS,
        "List signing keys",
    )
    .tagged();

    fn run(self, store: &mut Store, _: &World) -> Result<SigningKeyViews> {
        let all = store.read(|tx| tx.signing_keys())?;
        let view = |k: &SigningRecord| SigningKeyView {
            kid: k.kid.clone(),
            algorithm: k.algorithm.into(),
            state: k.state.as_str().to_owned(),
            verify_key: k.key.as_ref().and_then(|key| key.public_entry()),
            created: Time(k.created),
            retired: k.retired.map(Time),
        };
        Ok(SigningKeyViews {
            signing_keys: all.iter().map(view).collect(),
        })
    }
}

impl Operation for Rotate {
    type Output = RotatedSigningKey;
    const ENDPOINT: Endpoint = Endpoint::create(
        "signing-key.rotate",
        "/v1/signing-keys/rotate",
        OWNERS,
        "Create a new signing key; the old one is accepted until it is retired",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<RotatedSigningKey> {
        let (active, accepted) = signing::rotate(store, world, None)?;
        Ok(RotatedSigningKey { active, accepted })
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        super::shown(List {}, store, world)
    }
}

impl Operation for Create {
    type Output = RotatedSigningKey;
    const ENDPOINT: Endpoint = Endpoint::create(
        "signing-key.create",
        "/v1/signing-keys",
        OWNERS,
        "Create a signing key of a given algorithm; the old one is accepted until it is retired",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<RotatedSigningKey> {
        let (active, accepted) = signing::rotate(store, world, Some(self.algorithm.into()))?;
        Ok(RotatedSigningKey { active, accepted })
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        super::shown(List {}, store, world)
    }
}

impl Operation for Retire {
    type Output = Retired;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Delete,
        "signing-key.retire",
        "/v1/signing-keys/{kid}",
        OWNERS,
        "Erase an old signing key",
    )
    .tagged();

    fn pace(&self) -> Pace {
        Pace::Urgent
    }

    fn run(self, store: &mut Store, world: &World) -> Result<Retired> {
        signing::retire(store, world, &self.kid)?;
        Ok(Retired {
            kid: self.kid,
            state: "retired".to_owned(),
        })
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        super::shown(List {}, store, world)
    }
}
