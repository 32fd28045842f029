//! Holders give up their keys: with the key itself, and no token.
//!
//! The answer is the same whether there is such a key or not, and takes the same time unless the
//! store is slow, so that nobody finds out here which keys exist.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::app::App;
use super::auth;
use super::listen::HttpPeer;
use super::log::RequestId;
use super::problem::Problem;
use keystile_api::Pace;
use keystile_model::error::{Code, refuse};
use keystile_registry::leak;
use keystile_system as system;

/// Where a key is given up.
pub const PATH: &str = "/v1/keys/self/revoke";
/// How long an answer takes at least: longer than a write to the store.
const AT_LEAST: Duration = Duration::from_millis(250);
/// The longest key, ours or another's.
const LONGEST: usize = 4096;

/// The one route.
pub fn router(app: &App) -> Router {
    Router::new()
        .route(PATH, post(revoke))
        .with_state(app.clone())
}

async fn revoke(State(app): State<App>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let Some(key) = presented(&head.headers) else {
        let refused = refuse(
            Code::TokenMissing,
            "there is no key with the request",
            "send the key that is to be revoked, as in `authorization: Bearer KEY` or `x-api-key: KEY`",
        );
        return Problem::from(refused).into_response();
    };
    let Some(address) = head.extensions.get::<HttpPeer>().map(|p| p.address.ip()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // Whoever tries many keys here is slowed like one that tries many tokens.
    if let Err(problem) = auth::failed(&app, address, auth::prefix(&key)).await {
        return problem.into_response();
    }
    let id = head.extensions.get::<RequestId>();
    let id = id.map_or(String::new(), |id| id.0.clone());
    let work = app.pool().write_at(Pace::Urgent, move |store| {
        leak::given_up(store, &system::of_holder(address, &id), &key)
    });
    let (done, ()) = tokio::join!(work, sleep(AT_LEAST));
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => Problem::from(e).into_response(),
    }
}

fn presented(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let own = headers.get("x-api-key").and_then(|v| v.to_str().ok());
    let bearer = headers.get(header::AUTHORIZATION);
    let bearer = bearer.and_then(|v| v.to_str().ok()?.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let key = bearer.map(|(_, key)| key).or(own)?.trim();
    let fits = (1..=LONGEST).contains(&key.len());
    fits.then(|| Zeroizing::new(key.to_owned()))
}
