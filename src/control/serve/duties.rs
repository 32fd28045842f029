//! All that a server does, put together: answering, delivering keysets, counting usage,
//! sending webhooks, turning rotations.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::{Router, middleware};
use prometheus_client::collector::Collector;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::fleet::Numbers;
use super::http::{App, live};
use super::limits::Limits;
use super::listen::Peer;
use super::{Parts, Settings, edge, serve, signals};
use crate::console::{self, Console};
use crate::delivery::Delivery;
use crate::desk::Desk;
use crate::error::Result;
use crate::operation::fleet::{Fleet, Forget, List, Wait};
use crate::operation::version;
use crate::outbox;
use crate::scanner::Scanner;
use crate::usage::intake::Intake;
use crate::usage::numbers::Numbers as UsageNumbers;

/// What a server does beside answering.
pub struct Duties {
    /// Takes keysets to Envoys.
    pub delivery: Arc<Delivery>,
    /// Tells of leaked keys, if one is set up.
    pub scanner: Option<Arc<Scanner>>,
    /// Tells webhooks.
    pub sender: outbox::Sender,
    /// How often keys are looked at for rotation.
    pub rotation: Duration,
    /// How long sessions of the console live.
    pub console: console::Settings,
}

/// Does all of it until a signal says to stop.
///
/// # Errors
/// If an address or a certificate cannot be had. Nothing that happens later is one.
pub async fn run(
    desk: Arc<Desk>,
    settings: Settings,
    limits: Limits,
    duties: Duties,
) -> Result<()> {
    let stopped = signals()?;
    let delivery = duties.delivery;
    let numbers = Numbers(Arc::clone(&delivery));
    let intake = Intake::new(Arc::clone(&desk));
    let usage = UsageNumbers(Arc::clone(&intake));
    let counted: Vec<Box<dyn Collector>> = vec![Box::new(numbers), Box::new(usage)];
    let app = App::new(Arc::clone(&desk), limits, counted);
    let routes = edge::router(
        Arc::clone(&desk),
        Arc::clone(&delivery),
        Arc::clone(&intake),
        duties.scanner,
    )
    .merge(fleet(&app, &delivery))
    .merge(console(&app, &delivery, duties.console));
    let parts = Parts {
        routes,
        discovery: Some(placed(delivery.router())),
    };
    let mut duty = JoinSet::new();
    duty.spawn(delivery.run(said(stopped.clone())));
    duty.spawn(intake.run());
    duty.spawn(outbox::run(Arc::clone(&desk), duties.sender));
    duty.spawn(outbox::rotate(desk, duties.rotation));
    let served = serve(app, settings, parts, stopped).await;
    duty.shutdown().await;
    served
}

/// The operations that only a running server can answer.
pub(super) fn fleet(app: &App, delivery: &Arc<Delivery>) -> Router {
    let list = Arc::clone(delivery);
    let wait = Arc::clone(delivery);
    let forget = Arc::clone(delivery);
    live(app, move |_: List, _| {
        let list = Arc::clone(&list);
        async move { Ok(Fleet::of(&list)) }
    })
    .merge(live(app, move |asked: Wait, world| {
        let wait = Arc::clone(&wait);
        async move { asked.at(&wait, world).await }
    }))
    .merge(live(app, move |asked: Forget, world| {
        let forget = Arc::clone(&forget);
        async move { asked.at(&forget, world).await }
    }))
    .merge(versions(app, delivery))
    .merge(super::backups::routes(app))
}

/// What was published.
fn versions(app: &App, delivery: &Arc<Delivery>) -> Router {
    let [list, one, two] = [(); 3].map(|()| Arc::clone(delivery));
    live(app, move |asked: version::List, world| {
        asked.at(Arc::clone(&list), world)
    })
    .merge(live(app, move |asked: version::Inspect, world| {
        asked.at(Arc::clone(&one), world)
    }))
    .merge(live(app, move |asked: version::Diff, world| {
        asked.at(Arc::clone(&two), world)
    }))
}

/// The pages for people.
fn console(app: &App, delivery: &Arc<Delivery>, settings: console::Settings) -> Router {
    let delivery = Arc::clone(delivery);
    let fleet = Arc::new(move || Fleet::of(&delivery));
    console::router(Console::new(app.clone(), settings, fleet))
}

/// When it is said that all shall stop.
async fn said(mut stopped: watch::Receiver<bool>) {
    // Who could say it being gone says it too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Tells a router where each request comes from, in the way of axum.
fn placed(router: Router) -> Router {
    router.layer(middleware::from_fn(
        |mut request: Request, next: middleware::Next| async move {
            if let Some(peer) = request.extensions().get::<Peer>() {
                let address = ConnectInfo(peer.address);
                request.extensions_mut().insert(address);
            }
            next.run(request).await
        },
    ))
}
