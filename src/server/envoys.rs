//! Operations that only a running server can answer: the Envoys that it knows, and what they were
//! sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::Value;

use super::http::{App, live};
use crate::delivery::Delivery;
use crate::delivery::history::SentVersion;
use keystile_api::{fleet, keyset, version};
use keystile_model::caller::Role;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::room::Room;
use keystile_model::wire::{self, Time};
use keystile_model::world::World;
use keystile_registry::{inspect, publish, signing};
use keystile_store::{Store, Tx};

/// How long to wait by default, in seconds.
const PATIENCE: u64 = 10;
const LONGEST: u64 = 120;
/// Envoys forgotten at once.
const FORGOTTEN: usize = 1000;
/// The most keys in one answer.
const KEYS: u32 = 1_000;
/// How many audit records are examined for the reasons of one version.
const RECORDS: u32 = 1_000;

/// The routes.
pub fn routes(app: &App, delivery: &Arc<Delivery>) -> Router {
    let [all, waits, forgets] = [(); 3].map(|()| Arc::clone(delivery));
    let [published, one, two, builds] = [(); 4].map(|()| Arc::clone(delivery));
    live(app, move |asked: fleet::List, _| {
        let all = Arc::clone(&all);
        async move { list(&asked, &all) }
    })
    .merge(live(app, move |asked: fleet::Wait, world| {
        let waits = Arc::clone(&waits);
        async move { wait(asked, &waits, world).await }
    }))
    .merge(live(app, move |asked: fleet::Forget, world| {
        let forgets = Arc::clone(&forgets);
        async move { forget(asked, &forgets, world).await }
    }))
    .merge(live(app, move |_: keyset::Build, world| {
        build(Arc::clone(&builds), world)
    }))
    .merge(live(app, move |_: version::List, world| {
        versions(Arc::clone(&published), world)
    }))
    .merge(live(app, move |asked: version::Inspect, world| {
        inspect(asked, Arc::clone(&one), world)
    }))
    .merge(live(app, move |asked: version::Diff, world| {
        diff(asked, Arc::clone(&two), world)
    }))
}

/// Builds the keyset with a reader, because that takes longer the more keys there are; only
/// reissuing it first is a change.
async fn build(delivery: Arc<Delivery>, world: World) -> Result<keyset::SignedKeyset> {
    let pool = delivery.pool();
    let asking = world.clone();
    if pool.read(move |tx| publish::is_due(tx, &asking)).await? {
        let renewing = world.clone();
        pool.write(move |store| signing::renew(store, &renewing))
            .await?;
    }
    let build = |store: &mut Store| {
        let ready = store.read(publish::unrenewed)?;
        Ok(keyset::SignedKeyset::from_ready(&ready))
    };
    pool.ask(&world, build).await
}

/// All that a server knows.
pub fn all(delivery: &Delivery) -> fleet::FleetView {
    fleet::FleetView {
        version: delivery.version().unwrap_or(0),
        signed_with: delivery.algorithms(),
        nodes: delivery.fleet(),
        next: None,
    }
}

/// A page of it.
///
/// # Errors
/// If more is asked for than goes into a page.
pub fn list(asked: &fleet::List, delivery: &Delivery) -> Result<fleet::FleetView> {
    let room = wire::page(asked.limit, fleet::NODES, "`cursor`")?;
    let after = asked.cursor.as_deref().unwrap_or_default();
    let (nodes, next) = delivery.fleet_after(after, room);
    Ok(fleet::FleetView {
        version: delivery.version().unwrap_or(0),
        signed_with: delivery.algorithms(),
        nodes,
        next,
    })
}

/// Forgets them at a server.
///
/// # Errors
/// One is not known, or is connected; those of the store.
async fn forget(
    asked: fleet::Forget,
    delivery: &Delivery,
    world: World,
) -> Result<fleet::ForgottenEnvoys> {
    if asked.nodes.is_empty() || asked.nodes.len() > FORGOTTEN {
        return Err(refuse(
            Code::OutOfRange,
            format_args!("`nodes` names {} Envoys", asked.nodes.len()),
            format_args!("name 1 to {FORGOTTEN} at a time"),
        )
        .about("nodes"));
    }
    delivery.forget(world, asked.nodes.clone()).await?;
    Ok(fleet::ForgottenEnvoys { nodes: asked.nodes })
}

/// Waits at a server.
///
/// # Errors
/// Those of the store.
/// Waits until every Envoy that is known has proved to have a version in force.
///
/// # Errors
/// Those of the store.
pub async fn wait(
    asked: fleet::Wait,
    delivery: &Delivery,
    world: World,
) -> Result<fleet::WaitedView> {
    let version = match asked.version {
        Some(version) => version,
        None => delivery.store_version().await?,
    };
    let patience = asked.patience.map_or(PATIENCE, |s| s.0.min(LONGEST));
    let waited = delivery
        .in_force(version, Duration::from_secs(patience))
        .await;
    let mut missing = waited.missing;
    if world.caller.role() == Role::Client {
        for one in &mut missing {
            one.node = "an Envoy".to_owned();
        }
    }
    Ok(fleet::WaitedView {
        version,
        done: missing.is_empty() && !waited.in_force.is_empty(),
        in_force: waited.in_force.len(),
        missing,
    })
}

/// Asks a server.
///
/// # Errors
/// Those of the store.
async fn versions(delivery: Arc<Delivery>, world: World) -> Result<version::Versions> {
    let all = delivery.history().all();
    let views = move |tx: &Tx<'_>| all.iter().map(|v| view(tx, v)).collect();
    let ask = move |store: &mut Store| store.read(views);
    let versions = delivery.pool().ask(&world, ask).await?;
    Ok(version::Versions { versions })
}

/// Asks a server.
///
/// # Errors
/// If it does not know the version; and those of the store.
async fn inspect(
    asked: version::Inspect,
    delivery: Arc<Delivery>,
    world: World,
) -> Result<version::Inspected> {
    let version = delivery.history().get(asked.version)?;
    let inspected = move |tx: &Tx<'_>| {
        let content = version.open()?;
        let policy = serde_json::to_value(&content.base.manifest.policy);
        Ok(version::Inspected {
            view: view(tx, &version)?,
            policy: policy.unwrap_or_default(),
            entries: Room::from(KEYS).fill(content.changed().into_values()),
        })
    };
    let ask = move |store: &mut Store| store.read(inspected);
    delivery.pool().ask(&world, ask).await
}

/// Asks a server.
///
/// # Errors
/// If it does not know one of the versions.
async fn diff(
    asked: version::Diff,
    delivery: Arc<Delivery>,
    world: World,
) -> Result<version::DifferenceView> {
    let history = delivery.history();
    let (a, b) = (history.get(asked.version)?, history.get(asked.to)?);
    let differ = move |_: &mut Store| {
        let differs = a.open()?.difference(&b.open()?);
        Ok(difference([a.version(), b.version()], differs))
    };
    delivery.pool().ask(&world, differ).await
}

fn view(tx: &Tx<'_>, of: &SentVersion) -> Result<version::VersionView> {
    let (keys, changed) = of.keys();
    let mut why = BTreeMap::new();
    if let Some(since) = of.since {
        let deeds = tx.deeds_after(since, RECORDS)?;
        let deeds = deeds.into_iter().take_while(|d| d.seq <= of.audit_seq);
        for deed in deeds.filter(|d| d.is_done) {
            *why.entry(deed.action).or_default() += 1;
        }
    }
    Ok(version::VersionView {
        version: of.version(),
        issued_at: Time(of.issued_at),
        base: of.base(),
        keys: keys as u64,
        changed: changed as u64,
        audit_seq: of.audit_seq,
        why,
    })
}

fn difference(versions: [u64; 2], difference: inspect::Difference) -> version::DifferenceView {
    let all = difference.added.len() + difference.removed.len() + difference.changed.len();
    let values =
        |list: Vec<(_, Value)>| Room::from(KEYS).fill(list.into_iter().map(|(_, value)| value));
    let changed = difference.changed.into_iter();
    let changed = changed.map(|(id, changes)| version::ChangedKey {
        id: id.to_string(),
        changes: fields(changes),
    });
    let (added, removed) = (values(difference.added), values(difference.removed));
    let changed = Room::from(KEYS).fill(changed);
    let shown = added.len() + removed.len() + changed.len();
    version::DifferenceView {
        versions,
        added,
        removed,
        changed,
        policy: fields(difference.policy),
        left_out: all.saturating_sub(shown) as u64,
    }
}

fn fields(changes: Vec<inspect::Change>) -> Vec<version::ChangeView> {
    let field = |c: inspect::Change| version::ChangeView {
        field: c.field,
        before: c.before,
        after: c.after,
    };
    changes.into_iter().map(field).collect()
}
