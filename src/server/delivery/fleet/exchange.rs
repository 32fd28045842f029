//! Tells other servers of the store what this one observes of its Envoys, and learns what they
//! observe.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::delivery::Delivery;
use crate::replicas::{Heard, RENEW, Replicas, ServerNews};
use keystile_model::error::{Result, defect};
use keystile_system as system;

/// At least this long between two exchanges.
const JOIN: Duration = Duration::from_millis(10);
/// After this long, every other server that lives has read what was said.
const SWEEP: Duration = Duration::from_secs(60);
/// How often to check whether this server is alone.
const LOOK: Duration = Duration::from_millis(250);

/// Exchanges until it is dropped, if there may be other servers.
pub async fn run(delivery: &Delivery) {
    let Some(replicas) = delivery.pool.replicas().cloned() else {
        return std::future::pending().await;
    };
    // Nobody knows of this server yet.
    delivery.closing.send_replace(true);
    tokio::join!(
        exchange(delivery, &replicas),
        look(&replicas),
        stand_alone(delivery, &replicas)
    );
}

/// Checks whether this server is alone, whatever else waits for the database.
async fn look(replicas: &Replicas) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        replicas.look();
    }
}

async fn exchange(delivery: &Delivery, replicas: &Arc<Replicas>) {
    let mut observed = delivery.fleet.watch();
    let mut told = replicas.fleet();
    let mut published = delivery.published.subscribe();
    let mut everything = true;
    let mut renewed: Option<(Instant, Option<u64>)> = None;
    let mut swept = (system::instant(), 0);
    loop {
        let began = system::instant();
        observed.borrow_and_update();
        told.borrow_and_update();
        let version = published.borrow_and_update().as_ref().map(|p| p.version());
        let renews = renewed.is_none_or(|(then, said)| began >= then + RENEW || said != version);
        let sweep = (renews && began >= swept.0 + SWEEP).then_some(swept.1);
        if sweep.is_some() {
            swept = (began, delivery.fleet.told());
        }
        let news = ServerNews {
            published: version.unwrap_or(0),
            renews,
            rows: delivery.fleet.tell(everything, system::now()),
            sweep,
        };
        let dropped = news.rows.iter().filter(|r| r.body.is_empty());
        let dropped: Vec<String> = dropped.map(|r| r.node.clone()).collect();
        match once(delivery, replicas, news).await {
            Ok(heard) => {
                everything = heard.forgotten;
                if renews {
                    renewed = Some((began, version));
                }
                take(delivery, heard);
            }
            Err(e) => {
                tracing::warn!(error = %e, "state cannot be exchanged with the other servers");
                (everything, renewed) = (true, None);
                delivery.fleet.not_told(dropped);
                sleep(LOOK).await;
            }
        }
        if everything {
            continue;
        }
        sleep(JOIN).await;
        let due = renewed.map_or(began, |(then, _)| then + RENEW);
        tokio::select! {
            _ = observed.changed() => {}
            _ = told.changed() => {}
            _ = published.changed() => {}
            () = sleep_until(due) => {}
        }
    }
}

async fn once(delivery: &Delivery, replicas: &Arc<Replicas>, news: ServerNews) -> Result<Heard> {
    let (replicas, fleet) = (Arc::clone(replicas), Arc::clone(&delivery.fleet));
    let exchanged =
        tokio::task::spawn_blocking(move || replicas.exchange(&news, |other| fleet.read_of(other)));
    let broken = || Err(defect("the state of the servers could not be exchanged"));
    exchanged.await.unwrap_or_else(|_| broken())
}

fn take(delivery: &Delivery, heard: Heard) {
    let (now, at) = (system::now(), system::instant());
    let living = heard.others.iter().filter(|o| o.lives);
    for other in living.clone() {
        delivery.fleet.issued_elsewhere(other.published);
    }
    let living: Vec<&str> = living.map(|o| o.id.as_str()).collect();
    delivery.fleet.living(&living, now);
    for (replica, rows) in heard.rows {
        delivery.fleet.hear(&replica, rows, now, at);
    }
}

/// Ends all streams while this server is alone, and admits none: Envoys go to another one.
async fn stand_alone(delivery: &Delivery, replicas: &Replicas) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let was_alone = *delivery.closing.borrow();
        // Whoever waited for a version meanwhile did not wait for this server.
        let is_behind = was_alone && !is_up_to_date(delivery).await;
        let alone = replicas.look() || is_behind;
        let changed = delivery.closing.send_if_modified(|closing| {
            let differs = *closing != alone;
            *closing = alone;
            differs
        });
        if changed && alone {
            tracing::error!(
                "this server cannot reach the database, or cannot read the store in it; its Envoys are sent to other servers until it can"
            );
        }
    }
}

/// Whether this server publishes what is in the store.
async fn is_up_to_date(delivery: &Delivery) -> bool {
    match delivery.store_version().await {
        Ok(version) => delivery.version().unwrap_or(0) >= version,
        Err(_) => false,
    }
}

/// Waits until no server of the store can send an Envoy an older version than this; gives those
/// that may, if it takes too long.
pub async fn until_published(
    delivery: &Delivery,
    replicas: &Replicas,
    version: u64,
    deadline: Instant,
) -> Vec<String> {
    let (mut others, mut own) = (replicas.others(), delivery.published.subscribe());
    // What was heard before may lack a server that has just started.
    let (asked, mut exchanged) = (system::instant(), replicas.exchanged());
    replicas.ask();
    loop {
        let is_news = exchanged.borrow_and_update().is_some_and(|at| at >= asked);
        let mut late: Vec<String> = others
            .borrow_and_update()
            .iter()
            .filter(|o| o.lives && o.published < version)
            .map(|o| format!("(server {})", o.id))
            .collect();
        let here = own.borrow_and_update().as_ref().map(|p| p.version());
        if !is_news || here.is_none_or(|v| v < version) {
            late.push("(this server)".to_owned());
        }
        if late.is_empty() {
            return late;
        }
        tokio::select! {
            changed = others.changed() => if changed.is_err() { return late },
            changed = exchanged.changed() => if changed.is_err() { return late },
            changed = own.changed() => if changed.is_err() { return late },
            () = sleep_until(deadline) => return late,
        }
    }
}
