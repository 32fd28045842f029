//! Every operation over HTTP: one handler for all of them, and the pages beside them.

use keystile_core::report::usage;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Version, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::get;

pub use super::app::App;
use super::auth;
use super::limits::subscriber;
use super::listen::HttpPeer;
use super::log;
use super::log::Quiet;
use super::problem::Problem;
use axum::response::IntoResponse;
pub use entry::live;
use entry::{Entry, no_peer};
use keystile_api::Operation;
use keystile_system as system;
pub(super) use pages::nowhere;
use pages::{document, metrics, page, ready, script, style, wrong_method};

mod condition;
mod cut_off;
mod entry;
mod message;
mod pages;

/// The operations and the pages beside them; `routes` get the same logs and limits.
pub fn router(app: App, routes: Router) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(document))
        .route("/docs", get(page))
        .route("/docs.css", get(style))
        .route("/docs.js", get(script));
    macro_rules! all {
        ($($operation:ty,)*) => {
            $(if !<$operation>::ENDPOINT.live {
                let entry = Entry::for_operation::<$operation>();
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

/// Limits the requests from one address, and adds what every answer carries. Health checks, and
/// callers with recently valid credentials, do not count, because strangers at the same address
/// could use up their share.
async fn limited(State(app): State<App>, request: Request, next: middleware::Next) -> Response {
    let Some(peer) = request.extensions().get::<HttpPeer>() else {
        return no_peer().into_response();
    };
    let version = request.version();
    let now = system::nanoseconds();
    let place = subscriber(peer.address.ip());
    let health = matches!(request.uri().path(), "/healthz" | "/readyz");
    let free = peer.presence.is_known() || auth::was_good(&app, request.headers(), now);
    let taken = match free {
        true => Ok(()),
        false if health => app.limits().health.take(place, now),
        false => app.limits().places.take(place, now),
    };
    let replicas = app.pool().replicas();
    let changes = !request.method().is_safe();
    let mut response = match taken {
        Ok(()) => cut_off::answered(replicas, changes, next.run(request)).await,
        Err(e) => {
            app.metrics().limited();
            let held_up = app.limits().hold_up().await;
            if health || (held_up && may_be_good(&request)) {
                // It is only delayed: its credentials are checked.
                cut_off::answered(replicas, changes, next.run(request)).await
            } else {
                let mut response = Problem::from(e).into_response();
                response.extensions_mut().insert(Quiet);
                response
            }
        }
    };
    // Whoever comes back may come to another server.
    let sends_away = version < Version::HTTP_2 && replicas.is_some_and(|r| r.is_alone());
    let headers = response.headers_mut();
    if sends_away {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
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
