//! New keys: issued, rotated, imported.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::KeyView;
use crate::Pace;
use crate::{Endpoint, HOLDERS, ISSUERS, MANY, Operation};
use keystile_core::policy::{Auth, Policy};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::key::Issue;
use keystile_model::plural;
use keystile_model::wire::{self, Id, Secret, Span, Time, TimeWords};
use keystile_model::world::World;
use keystile_registry::handover;
use keystile_registry::import::{self, ImportOptions};
use keystile_registry::key;
use keystile_store::Store;

/// How many keys one operation may issue on the store itself.
const MOST: u32 = 1_000_000;
/// The same through a server.
const MOST_AT_ONCE: u32 = 10_000;

/// A new key.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct IssuedKey {
    /// The key itself, shown only once. Null in the answer to a repeated request.
    pub key: Option<Secret>,
    /// What the store keeps about it.
    #[serde(flatten)]
    pub view: KeyView,
    /// Hints for the holder of the key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One key, or with `count` several.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = IssuedKeys)]
pub enum IssuedKeys {
    /// One.
    One(Box<IssuedKey>),
    /// Several.
    Many(Vec<IssuedKey>),
}

impl IssuedKeys {
    /// The keys.
    pub fn keys(&self) -> &[IssuedKey] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }

    /// The keys, mutably.
    pub fn keys_mut(&mut self) -> &mut [IssuedKey] {
        match self {
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(all) => all,
        }
    }
}

impl IssuedKey {
    fn from_issued(issued: &key::Issued, now: u64) -> Self {
        Self {
            key: Some(Secret::new(issued.text.expose_secret())),
            view: KeyView::from_key(&issued.key, now),
            warnings: Vec::new(),
        }
    }
}

impl Operation for Issue {
    type Output = IssuedKeys;
    const ENDPOINT: Endpoint = Endpoint::create(
        "key.issue",
        "/v1/keys",
        HOLDERS,
        "Issue keys; each is shown only once, in the answer",
    );

    fn pace(&self) -> Pace {
        match self.count {
            Some(n) if n as usize > MANY => Pace::Long,
            _ => Pace::Usual,
        }
    }

    fn run(mut self, store: &mut Store, world: &World) -> Result<IssuedKeys> {
        let now = world.now.seconds();
        let total = self.count.unwrap_or(1);
        if total == 0 || total > MOST {
            return Err(refuse(
                Code::OutOfRange,
                format_args!("{total} is not in 1..={MOST}"),
                "issue some, or fewer at once",
            )
            .field("count"));
        }
        let draft = self.draft(now)?;
        let progress = &mut self.progress;
        let (issued, policy) = key::issue(store, world, &self.client, draft, total, |n| {
            if let Some(hear) = progress {
                hear(n);
            }
        })?;
        let mut keys: Vec<IssuedKey> = issued
            .iter()
            .map(|i| IssuedKey::from_issued(i, now))
            .collect();
        if let Some(first) = keys.first_mut()
            && !policy.environments.contains(&first.view.environment.0)
        {
            first.warnings.push(format!(
                "the policy does not accept environment `{}`, so this key answers 403 `environment_denied` here",
                first.view.environment.0
            ));
        }
        if let Some(first) = keys.first_mut()
            && first.view.scopes.is_empty()
        {
            first.warnings.extend(closed_without_scopes(&policy));
        }
        match (self.count, keys.pop()) {
            (None, Some(one)) => Ok(IssuedKeys::One(Box::new(one))),
            (_, last) => {
                keys.extend(last);
                Ok(IssuedKeys::Many(keys))
            }
        }
    }

    fn check_size(&self) -> Result<()> {
        match self.count {
            Some(n) if n > MOST_AT_ONCE => Err(refuse(
                Code::TooMany,
                format_args!("{n} keys are more than fit into one answer of a server"),
                format_args!("issue {MOST_AT_ONCE} at a time"),
            )
            .about("count")),
            _ => Ok(()),
        }
    }
}

/// What a key without scopes cannot reach.
fn closed_without_scopes(policy: &Policy) -> Option<String> {
    const NAMED: usize = 3;
    let with_key = || policy.routes.iter().filter(|r| r.auth == Auth::Required);
    let closed = with_key().filter(|r| !r.scopes.is_empty() || !r.any_scope.is_empty());
    let (closed, all) = (closed.count(), with_key().count());
    if closed == 0 {
        return None;
    }
    let mut asked: Vec<u16> = with_key()
        .flat_map(|r| r.scopes.iter().chain(&r.any_scope).copied())
        .collect();
    asked.sort_unstable();
    asked.dedup();
    let names = asked
        .iter()
        .filter_map(|n| policy.scopes.get(usize::from(*n)));
    let named: Vec<String> = names.take(NAMED).map(|s| format!("`{s}`")).collect();
    let more = if asked.len() > NAMED { ", …" } else { "" };
    Some(format!(
        "it has no scopes, so {closed} of the {} that require a key answer 403 `insufficient_scope`: they ask for {}{more}",
        plural::count(all, "route"),
        named.join(", "),
    ))
}

/// Replaces a key with a new one that has the same rules; both work for a while.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyRotate)]
pub struct Rotate {
    /// Its id.
    pub id: Id,
    /// How long the old key goes on working; a day by default.
    #[serde(default = "day")]
    pub grace: Span,
    /// When the new key expires, or null for never; by default when the old one would have.
    #[serde(
        default,
        deserialize_with = "wire::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<TimeWords>)]
    pub expires: Option<Option<TimeWords>>,
}

fn day() -> Span {
    Span(86_400)
}

/// A new key, and the old one.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Rotated)]
pub struct RotatedKeyView {
    /// The new one.
    #[serde(flatten)]
    pub new: IssuedKey,
    /// The old one.
    pub old: OldKey,
}

/// A key that has been replaced.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct OldKey {
    /// Its id.
    pub id: Id,
    /// When it stops working.
    pub works_until: Option<Time>,
}

/// Fetches the successor of a key that was due for rotation, once.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyFetch)]
pub struct Fetch {
    /// The id of the key to replace.
    pub id: Id,
}

impl Operation for Fetch {
    type Output = IssuedKey;
    const ENDPOINT: Endpoint = Endpoint::create(
        "key.fetch",
        "/v1/keys/{id}/secret",
        HOLDERS,
        "Fetch the successor of a key that was due for rotation, once",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<IssuedKey> {
        let issued = handover::fetch(store, world, self.id.0)?;
        Ok(IssuedKey {
            key: Some(Secret::new(issued.text.expose_secret())),
            view: KeyView::from_key(&issued.key, world.now.seconds()),
            warnings: Vec::new(),
        })
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        super::current(&self.id, store, world)
    }
}

impl Operation for Rotate {
    type Output = RotatedKeyView;
    const ENDPOINT: Endpoint = Endpoint::create(
        "key.rotate",
        "/v1/keys/{id}/rotate",
        HOLDERS,
        "Replace a key with a new one; both work for a while",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<RotatedKeyView> {
        let now = world.now.seconds();
        let expires = self.expires.map(|w| w.map(|w| w.0.at(now)));
        let (new, old) = key::rotate(store, world, self.id.0, self.grace.0, expires)?;
        Ok(RotatedKeyView {
            new: IssuedKey::from_issued(&new, now),
            old: OldKey {
                id: Id(old.id),
                works_until: old.effective_expiry().map(Time),
            },
        })
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        super::current(&self.id, store, world)
    }
}

/// Imports keys from elsewhere by their SHA-256 digests: all of them or none.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyImport)]
pub struct Import {
    /// The name for messages.
    #[serde(default = "unnamed")]
    pub name: String,
    /// CSV with a header line; or JSON, as an array of objects or one object per line.
    pub text: String,
    /// Check everything, but change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Create clients that do not exist yet.
    #[serde(default)]
    pub create_clients: bool,
    /// Accept scopes that no route of the policy asks for.
    #[serde(default)]
    pub allow_unknown_scope: bool,
}

fn unnamed() -> String {
    "text".to_owned()
}

/// The result of the import.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Imported)]
pub struct ImportedView {
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// How many keys.
    pub imported: u64,
    /// Clients that were created for them.
    pub clients_created: Vec<String>,
    /// The keys; empty for a dry run.
    pub keys: Vec<KeyView>,
}

impl Operation for Import {
    type Output = ImportedView;
    const ENDPOINT: Endpoint = Endpoint::create(
        "key.import",
        "/v1/keys/import",
        ISSUERS,
        "Import keys from elsewhere, by their SHA-256 digests",
    )
    .carries_file();

    fn writes(&self) -> bool {
        !self.dry_run
    }

    fn pace(&self) -> Pace {
        Pace::Long
    }

    fn run(self, store: &mut Store, world: &World) -> Result<ImportedView> {
        let text = self.text.trim_start_matches('\u{feff}');
        let lines = import::read(&self.name, text, || store.go_on())?;
        let how = ImportOptions {
            create_clients: self.create_clients,
            any_scope: self.allow_unknown_scope,
            dry_run: self.dry_run,
        };
        let done = import::import(store, world, lines, how)?;
        let now = world.now.seconds();
        // The ids of a dry run are discarded with it.
        let keys = if self.dry_run {
            Vec::new()
        } else {
            done.keys
                .iter()
                .map(|k| KeyView::from_key(k, now))
                .collect()
        };
        Ok(ImportedView {
            dry_run: self.dry_run,
            imported: done.keys.len() as u64,
            clients_created: done.clients,
            keys,
        })
    }
}
