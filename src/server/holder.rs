//! Holders revoke their own keys: with the key itself, without a token.
//!
//! The answer is the same whether there is such a key or not, and takes the same time unless the
//! store is busy or slow, so that nobody finds out here which keys exist.

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
use keystile_model::error::{Code, Error, refuse};
use keystile_registry::leak;
use keystile_store::Store;
use keystile_system as system;

/// Where holders revoke their keys.
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
    let presented = match presented(&head.headers) {
        Ok(presented) => presented,
        Err(e) => return Problem::from(e).into_response(),
    };
    let Some(key) = presented else {
        let refused = refuse(
            Code::TokenMissing,
            "the request has no key",
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
    let world = system::of_holder(address, &id);
    // A key that nobody has, or that is revoked already, interrupts no long change.
    let work = app.pool().write_unless_done(&world, Pace::Urgent, || {
        let (world, key) = (system::of_holder(address, &id), key.clone());
        Ok(move |store: &mut Store| leak::given_up(store, &world, &key))
    });
    let (done, ()) = tokio::join!(work, sleep(AT_LEAST));
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => Problem::from(e).into_response(),
    }
}

/// The one key of a request, however often it is there; `None` for none. With several, it is unclear
/// which one is meant, and the caller could not tell which one was revoked.
fn presented(headers: &HeaderMap) -> Result<Option<Zeroizing<String>>, Error> {
    let (mut found, mut others): (Option<Zeroizing<String>>, _) = (None, 0);
    let bearers = headers.get_all(header::AUTHORIZATION).iter().map(|v| {
        let (scheme, key) = v.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key)
    });
    let own = headers.get_all("x-api-key").iter().map(|v| v.to_str().ok());
    for given in bearers.chain(own) {
        match given.map(str::trim) {
            Some(key) if found.is_none() && (1..=LONGEST).contains(&key.len()) => {
                found = Some(Zeroizing::new(key.to_owned()));
            }
            Some(key) if found.as_ref().is_some_and(|found| **found == key) => {}
            _ => others += 1,
        }
    }
    match (found, others) {
        (Some(_), 1..) => Err(refuse(
            Code::FieldsConflict,
            "the request has more than one credential",
            "send only the key that is to be revoked",
        )),
        (found, _) => Ok(found),
    }
}
