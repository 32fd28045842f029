//! Everything that a server does, put together: answering requests, delivering keysets, counting
//! usage, sending webhooks, rotating keys.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::{Router, middleware};
use prometheus_client::collector::Collector;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::backlog::Backlog;
use super::fleet::FleetCollector;
use super::http::App;
use super::limits::RateLimits;
use super::listen::HttpPeer;
use super::{Routers, ServerSettings, auth, envoys, serve, signals, signed};
use crate::delivery::Delivery;
use crate::delivery::node_identity::Papers;
use crate::exporter::Exporter;
use crate::intake::Intake;
use crate::outbox;
use crate::pool::StorePool;
use crate::scanner::Scanner;
use crate::usage_numbers::UsageCollector;
use keystile_model::error::Result;

/// How long a server that ends waits for a database each time it says something to it.
const GOODBYE: Duration = Duration::from_secs(2);

/// Makes the routes of the pages for people.
pub type Pages = Box<dyn FnOnce(&App, &Arc<Delivery>) -> Router + Send>;

/// What a server does besides answering requests.
pub struct Duties {
    /// Sends keysets to Envoys.
    pub delivery: Arc<Delivery>,
    /// Accepts reports of leaked keys, if configured.
    pub scanner: Option<Arc<Scanner>>,
    /// Sends webhook messages.
    pub sender: outbox::WebhookSender,
    /// Sends the audit log elsewhere, and removes what is old.
    pub exporter: Arc<Exporter>,
    /// How often keys are checked for rotation.
    pub rotation: Duration,
    /// The pages for people.
    pub pages: Pages,
}

/// Does all of it until a signal to stop.
///
/// # Errors
/// If an address is unavailable or a certificate is invalid. Nothing that happens later is an
/// error.
pub async fn run(
    pool: Arc<StorePool>,
    settings: ServerSettings,
    limits: RateLimits,
    duties: Duties,
) -> Result<()> {
    let stopped = signals()?;
    let delivery = duties.delivery;
    let numbers = FleetCollector(Arc::clone(&delivery));
    let intake = Intake::new(Arc::clone(&pool), delivery.enrolled_only());
    let usage = UsageCollector(Arc::clone(&intake));
    let backlog = Backlog {
        delivery: Arc::clone(&delivery),
        sender: duties.sender.clone(),
        exporter: Arc::clone(&duties.exporter),
    };
    let counted: Vec<Box<dyn Collector>> =
        vec![Box::new(numbers), Box::new(usage), Box::new(backlog)];
    let app = App::new(Arc::clone(&pool), limits, counted).reaching(duties.sender.reach());
    let routes = signed::router(
        &app,
        Arc::clone(&delivery),
        Arc::clone(&intake),
        duties.scanner,
    )
    .merge(super::holder::router(&app))
    .merge(envoys::routes(&app, &delivery))
    .merge(super::backups::routes(&app))
    .merge((duties.pages)(&app, &delivery));
    let parts = Routers {
        routes,
        discovery: Some(placed(delivery.router())),
    };
    let mut duty = JoinSet::new();
    duty.spawn(delivery.run(said(stopped.clone())));
    if let Some(replicas) = pool.replicas() {
        duty.spawn(Arc::clone(replicas).take_turns());
    }
    let replicas = pool.replicas().cloned();
    duty.spawn(intake.run());
    duty.spawn(outbox::run(Arc::clone(&pool), duties.sender));
    duty.spawn(duties.exporter.run(Arc::clone(&pool)));
    duty.spawn(outbox::rotate(pool, duties.rotation));
    let served = serve(app.clone(), settings, parts, stopped).await;
    match &replicas {
        None => auth::tell_refused(&app).await,
        // One that stands still is not waited for.
        Some(_) => {
            if tokio::time::timeout(GOODBYE, auth::tell_refused(&app))
                .await
                .is_err()
            {
                tracing::warn!(
                    "the database does not answer, so the last refusals are not in the audit log"
                );
            }
        }
    }
    duty.shutdown().await;
    if let Some(replicas) = replicas {
        // Nothing is left to do if this cannot be said, or only to a database that stands still.
        let told = tokio::task::spawn_blocking(move || replicas.end());
        let _ = tokio::time::timeout(GOODBYE, told).await;
    }
    served
}

/// Waits for the signal to stop.
async fn said(mut stopped: watch::Receiver<bool>) {
    // A dropped sender also means stop.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Adds the address and the certificate to each request, in axum's way.
fn placed(router: Router) -> Router {
    router.layer(middleware::from_fn(
        |mut request: Request, next: middleware::Next| async move {
            if let Some(peer) = request.extensions().get::<HttpPeer>() {
                let address = ConnectInfo(peer.address);
                let papers = peer.certificate.as_deref().map(Papers::from_certificate);
                request.extensions_mut().insert(address);
                if let Some(papers) = papers {
                    request.extensions_mut().insert(papers);
                }
            }
            next.run(request).await
        },
    ))
}
