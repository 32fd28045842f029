//! Every operation over HTTP: one handler for all of them, and the pages beside them.

use std::sync::Arc;

use keystile_core::hex;
use keystile_core::report::usage;
use tokio::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{MethodFilter, get};
use prometheus_client::collector::Collector;

use super::auth;
use super::limits::{RateLimits, subscriber};
use super::listen::Peer;
use super::log;
use super::log::Quiet;
use super::metrics::Metrics;
use super::problem::Problem;
use super::{docs, openapi};
use crate::desk::Desk;
use axum::response::IntoResponse;
pub use entry::live;
use entry::{Done, Entry};
use keystile_api::Method;
use keystile_api::Operation;
use keystile_model::error::defect;
use keystile_model::reach::Reach;
use keystile_model::world::World;
use keystile_system as system;
use pages::{document, metrics, nowhere, page, ready, style, wrong_method};

mod condition;
mod entry;
mod message;
mod pages;

/// The state that every handler uses.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    desk: Arc<Desk>,
    metrics: Metrics,
    limits: RateLimits,
    world: World,
    document: Bytes,
    page: Bytes,
    ready: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl App {
    /// Over a store; `collectors` count what others do in this process.
    pub fn new(desk: Arc<Desk>, limits: RateLimits, collectors: Vec<Box<dyn Collector>>) -> Self {
        let document = openapi::document();
        Self(Arc::new(Inner {
            desk,
            metrics: Metrics::new(collectors),
            limits,
            world: system::local(),
            page: docs::page(&document).into(),
            document: document.to_string().into(),
            ready: tokio::sync::Mutex::default(),
        }))
    }

    /// The same, with messages sent only to these addresses.
    #[must_use]
    pub fn reaching(mut self, reach: Reach) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.world.reach = reach;
        }
        self
    }

    /// Where messages may be sent.
    pub fn reach(&self) -> &Reach {
        &self.0.world.reach
    }

    /// The store.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.0.desk
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The rate limits.
    pub fn limits(&self) -> &RateLimits {
        &self.0.limits
    }

    /// A new id for a request.
    pub fn fresh_id(&self) -> String {
        let mut bytes = [0; 10];
        // An id that is not random is only a nuisance in the log.
        let _ = (self.0.world.entropy)(&mut bytes);
        hex::text(bytes)
    }
}

/// The operations and the pages beside them; `routes` get the same logs and limits.
pub fn router(app: App, routes: Router) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(document))
        .route("/docs", get(page))
        .route("/docs.css", get(style));
    macro_rules! all {
        ($($operation:ty,)*) => {
            $(if !<$operation>::ROUTE.live {
                let entry = Entry::of::<$operation>();
                router = router.route(entry.route.path, entry.handler());
            })*
        };
    }
    keystile_api::for_each_operation!(all);
    router
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app.clone())
        .merge(routes)
        .layer(middleware::from_fn_with_state(app.clone(), limited))
        .layer(middleware::from_fn_with_state(app, log::layer))
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}

/// Limits the requests from one address, and adds what every answer carries. Health checks, and
/// callers with recently valid credentials, do not count, because strangers at the same address
/// could use up their share.
async fn limited(State(app): State<App>, request: Request, next: middleware::Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>() else {
        return no_peer().into_response();
    };
    let now = system::nanoseconds();
    let place = subscriber(peer.address.ip());
    let health = matches!(request.uri().path(), "/healthz" | "/readyz");
    let free = peer.presence.is_known() || auth::was_good(&app, request.headers(), now);
    let taken = match free {
        true => Ok(()),
        false if health => app.limits().health.take(place, now),
        false => app.limits().places.take(place, now),
    };
    let mut response = match taken {
        Ok(()) => next.run(request).await,
        Err(e) => {
            app.metrics().limited();
            let held_up = app.limits().hold_up().await;
            if health || (held_up && may_be_good(&request)) {
                // It is only delayed: its credentials are checked.
                next.run(request).await
            } else {
                let mut response = Problem::from(e).into_response();
                response.extensions_mut().insert(Quiet);
                response
            }
        }
    };
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a request has credentials that have to be checked: a token, a code, or an Envoy's
/// signature.
fn may_be_good(request: &Request) -> bool {
    let posts = request.method() == axum::http::Method::POST;
    match request.uri().path() {
        "/console/sign-in" | "/console/invitation" | "/v1/reports" | usage::PATH => posts,
        _ => request.headers().contains_key(header::AUTHORIZATION),
    }
}

fn no_peer() -> Problem {
    defect("nobody knows where the request comes from").into()
}
