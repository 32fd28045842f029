//! The policy and its plans.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Ahead, Endpoint, Method, OWNERS, Operation, STAFF};
use crate::Pace;
use keystile_model::error::{Act, Code, Result, refuse};
use keystile_model::wire::Time;
use keystile_model::world::World;
use keystile_policy::check as policy_check;
use keystile_policy::diff as policy_diff;
use keystile_policy::file::{self as policy_file, PolicyFile};
use keystile_registry as registry;
use keystile_store::Store;

mod plans;
mod view;

pub use plans::{PlanView, PlanViews, Plans, QuotaView};
pub use view::{AppliedView, PolicyView, RevisionView, Revisions};

/// A policy without mistakes.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyChecked)]
pub struct Checked {
    /// Always true: mistakes are errors.
    pub ok: bool,
    /// How many routes it has.
    pub routes: u64,
    /// How many plans.
    pub plans: u64,
    /// The scopes that its routes require.
    pub scopes: Vec<String>,
    /// Warnings: effects on existing keys, and what is left open next to something protected.
    pub warnings: Vec<String>,
    /// Notes: intended, but may surprise, such as spellings of paths that are refused.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Shows the policy in force, or an earlier one.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyShow)]
pub struct Show {
    /// The number of an earlier revision.
    #[serde(default)]
    pub revision: Option<u64>,
}

/// Checks a policy, and its effects on existing keys.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyCheck)]
pub struct Check {
    /// The name for messages.
    #[serde(default = "unnamed")]
    pub name: String,
    /// The policy, as YAML.
    pub text: String,
}

/// Compares a policy with the one in force, by what changes for callers.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyCompare)]
pub struct Compare {
    /// The name for messages.
    #[serde(default = "unnamed")]
    pub name: String,
    /// The policy, as YAML.
    pub text: String,
}

/// What changes for callers.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyCompared)]
pub struct Compared {
    /// The policy that it was compared with.
    pub revision: u64,
    /// Changes on every route.
    pub everywhere: Vec<PolicyChangeView>,
    /// Changes on some routes.
    pub routes: Vec<PolicyChangeView>,
}

/// A change for callers.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyChange)]
pub struct PolicyChangeView {
    /// `opens`, `closes`, `moves` or `alters`.
    pub effect: String,
    /// The field of the policy, or the template of the route.
    pub at: String,
    /// Methods; empty for all, `*` for those that no route names.
    pub methods: Vec<String>,
    /// Hosts; empty for all, `*` for those that no route names.
    pub hosts: Vec<String>,
    /// The change in words.
    pub change: String,
    /// Living keys that can call it afterwards and could not before; null if that was not counted,
    /// as for changes on every route.
    #[serde(default)]
    pub keys_gained: Option<u64>,
    /// Living keys that could call it and cannot afterwards; null if that was not counted.
    #[serde(default)]
    pub keys_lost: Option<u64>,
}

/// Puts a policy in force.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyApply)]
pub struct Apply {
    /// The name for messages.
    #[serde(default = "unnamed")]
    pub name: String,
    /// The policy, as YAML.
    pub text: String,
}

/// Lists the revisions of the policy.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyHistory)]
pub struct History {}

/// Puts an earlier policy in force again, as a new revision.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyRollback)]
pub struct Rollback {
    /// Its number.
    pub revision: u64,
}

fn unnamed() -> String {
    "policy".to_owned()
}

impl Operation for Show {
    type Output = PolicyView;
    const ENDPOINT: Endpoint = Endpoint::get(
        "policy.show",
        "/v1/policy",
        STAFF,
        "Show the policy in force, or an earlier one",
    )
    .tagged();

    fn run(self, store: &mut Store, _: &World) -> Result<PolicyView> {
        let found = store.read(|tx| match self.revision {
            None => tx.policy(),
            Some(n) => tx.policy_revision(n)?.ok_or_else(|| no_revision(n)),
        })?;
        let PolicyFile { raw, .. } = policy_file::parse("policy", found.text.clone())?;
        Ok(PolicyView {
            revision: found.revision,
            applied: Time(found.applied),
            text: found.text,
            policy: serde_json::to_value(raw).unwrap_or_default(),
        })
    }
}

fn no_revision(n: u64) -> keystile_model::error::Error {
    refuse(
        Code::RevisionNotFound,
        format_args!("there is no revision {n}"),
        keystile_model::next!["see ", Act::PolicyHistory],
    )
    .about("revision")
}

impl Checked {
    /// A policy without mistakes. `warnings` are those about existing keys.
    pub fn from_file(file: &PolicyFile, mut warnings: Vec<String>) -> Self {
        let policy = &file.policy;
        let found = policy_check::check(file);
        warnings.extend(found.warnings);
        Self {
            ok: true,
            routes: policy.routes.len() as u64,
            plans: policy.plans.len() as u64,
            scopes: policy.scopes.clone(),
            warnings,
            notes: found.notes,
        }
    }
}

impl Operation for Check {
    type Output = Checked;
    const ENDPOINT: Endpoint = Endpoint::ask(
        "policy.check",
        "/v1/policy/check",
        STAFF,
        "Check a policy, and its effects on existing keys",
    )
    .carries_file();

    fn run(self, store: &mut Store, _: &World) -> Result<Checked> {
        let file = policy_file::parse(&self.name, self.text)?;
        let warnings = store.read(|tx| registry::policy::check(tx, &file))?;
        Ok(Checked::from_file(&file, warnings))
    }
}

impl Operation for Compare {
    type Output = Compared;
    const ENDPOINT: Endpoint = Endpoint::ask(
        "policy.compare",
        "/v1/policy/diff",
        STAFF,
        "Compare a policy with the one in force, by what changes for callers",
    )
    .carries_file();

    fn run(self, store: &mut Store, world: &World) -> Result<Compared> {
        let after = policy_file::parse(&self.name, self.text)?;
        let now = world.now.seconds();
        let (revision, before) =
            store.read(|tx| Ok((tx.policy()?.revision, registry::policy(tx)?)))?;
        let diff = policy_diff::diff(&before, &after)?;
        let both = (&before.policy, &after.policy);
        let keys = store.read(|tx| registry::policy::concerned(tx, now, both, &diff.routes))?;
        let keys = keys.into_iter().map(Some).chain(std::iter::repeat(None));
        let routes = diff
            .routes
            .into_iter()
            .zip(keys)
            .map(|(r, keys)| PolicyChangeView {
                effect: r.effect.as_str().to_owned(),
                at: r.path,
                methods: r.methods,
                hosts: r.hosts,
                change: r.change,
                keys_gained: keys.map(|k| k.gain),
                keys_lost: keys.map(|k| k.lose),
            });
        let everywhere = diff.everywhere.into_iter().map(|e| PolicyChangeView {
            effect: e.effect.as_str().to_owned(),
            at: e.field,
            methods: Vec::new(),
            hosts: Vec::new(),
            change: e.change,
            keys_gained: None,
            keys_lost: None,
        });
        Ok(Compared {
            revision,
            everywhere: everywhere.collect(),
            routes: routes.collect(),
        })
    }
}

/// A look at all keys.
fn look(store: &mut Store, file: &PolicyFile) -> Result<Ahead> {
    let looked = store.read(|tx| registry::policy::look(tx, file))?;
    Ok(Ahead::holding(looked))
}

fn apply(
    store: &mut Store,
    world: &World,
    file: &PolicyFile,
    ahead: &Ahead,
) -> Result<AppliedView> {
    let applied = match ahead.get() {
        Some(looked) => registry::policy::apply_after(store, world, file, looked),
        None => registry::policy::apply(store, world, file),
    }?;
    let found = policy_check::check(file);
    let mut warnings = applied.warnings;
    warnings.extend(found.warnings);
    Ok(AppliedView {
        revision: applied.revision,
        changed: !applied.unchanged,
        warnings,
        notes: found.notes,
    })
}

impl Operation for Apply {
    type Output = AppliedView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Put,
        "policy.apply",
        "/v1/policy",
        OWNERS,
        "Put a policy in force",
    )
    .tagged()
    .carries_file();

    const READS_AHEAD: bool = true;

    fn read_ahead(&self, store: &mut Store, _: &World) -> Result<Ahead> {
        look(store, &policy_file::parse(&self.name, self.text.clone())?)
    }

    fn pace(&self) -> Pace {
        // It looks at every key that has changed since it read ahead.
        Pace::Long
    }

    fn run(self, store: &mut Store, world: &World) -> Result<AppliedView> {
        self.run_after(store, world, &Ahead::default())
    }

    fn run_after(self, store: &mut Store, world: &World, ahead: &Ahead) -> Result<AppliedView> {
        let file = policy_file::parse(&self.name, self.text)?;
        apply(store, world, &file, ahead)
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        super::shown(Show { revision: None }, store, world)
    }
}

impl Operation for History {
    type Output = Revisions;
    const ENDPOINT: Endpoint = Endpoint::get(
        "policy.history",
        "/v1/policy/revisions",
        STAFF,
        "List the revisions of the policy",
    );

    fn run(self, store: &mut Store, _: &World) -> Result<Revisions> {
        let mut revisions = Vec::new();
        store.read(|tx| {
            tx.each_policy(|r| {
                revisions.push(RevisionView {
                    revision: r.revision,
                    applied: Time(r.applied),
                    bytes: r.text.len() as u64,
                    lines: r.text.lines().count() as u64,
                });
            })
        })?;
        Ok(Revisions { revisions })
    }
}

impl Rollback {
    /// The earlier policy.
    fn file(&self, store: &mut Store) -> Result<PolicyFile> {
        let n = self.revision;
        let former = store.read(|tx| tx.policy_revision(n)?.ok_or_else(|| no_revision(n)))?;
        policy_file::parse(&format!("policy of revision {n}"), former.text)
    }
}

impl Operation for Rollback {
    type Output = AppliedView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "policy.rollback",
        "/v1/policy/rollback",
        OWNERS,
        "Put an earlier policy in force again",
    )
    .tagged();

    const READS_AHEAD: bool = true;

    fn read_ahead(&self, store: &mut Store, _: &World) -> Result<Ahead> {
        let file = self.file(store)?;
        look(store, &file)
    }

    fn pace(&self) -> Pace {
        // It looks at every key that has changed since it read ahead.
        Pace::Long
    }

    fn run(self, store: &mut Store, world: &World) -> Result<AppliedView> {
        self.run_after(store, world, &Ahead::default())
    }

    fn run_after(self, store: &mut Store, world: &World, ahead: &Ahead) -> Result<AppliedView> {
        let file = self.file(store)?;
        apply(store, world, &file, ahead)
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        super::shown(Show { revision: None }, store, world)
    }
}
