//! The web console, and the portal for clients: pages made on the server with the API's operations,
//! in the name of the person who is signed in. What a role may not do in the API, it may not do
//! here.
//!
//! * No key or token ever appears in a URL, in a redirect, or in a page that is shown a second
//!   time.
//! * Nothing is ever changed by a request that another site caused: cookies stay on this site, the
//!   origin is compared, and every form carries a token that only our pages know.
//! * No page ever runs a script, or takes a style, that is not ours; nothing is inline.
//!
//! # Map
//!
//! * [`context`]: one request: its session, its origin, the headers of its answer; [`session`] and
//!   [`book`]: who is signed in, and for how long;
//! * [`page`]: the frame around every page; [`widgets`], [`table`] and [`chart`]: what pages are
//!   made of; [`confirm`]: the question before something that is hard to undo;
//!   [`form`]: what was typed, and what is wrong with it; [`snapshot`]: what a form showed;
//! * [`sign_in`]: signing in and out, invitations; [`oidc`]: signing in through an identity
//!   provider;
//! * every other module is the page that it is named after.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use keystile_api as operation;
use keystile_api::Pace;
use keystile_server::delivery::Delivery;
use keystile_server::envoys;
use keystile_server::http::{App, live};
use keystile_store::Store;

pub mod audit;
pub mod book;
pub mod brand;
pub mod chart;
pub mod client;
mod confirm;
pub mod context;
mod document;
pub mod explain;
pub mod fleet;
pub mod form;
mod go;
pub mod guide;
pub mod issue;
pub mod key;
pub mod lost;
pub mod oidc;
pub mod overview;
pub mod page;
pub mod policy;
pub mod portal;
pub mod posture;
mod proof;
mod proven;
mod secret;
pub mod session;
pub mod settings;
mod setup;
pub mod sign_in;
pub mod signed_in;
pub mod snapshot;
mod state;
mod table;
pub mod token;
pub mod usage;
pub mod webhook;
pub mod widgets;

pub use brand::Brand;
pub use setup::{ConsoleSettings, Envoys, Forgetting, Waiting};
pub use state::Console;
use state::{SCRIPT, STYLE};

/// How long a change is watched until it is in force everywhere.
const WATCHED: Duration = Duration::from_secs(60);

/// The routes of the pages, for a server with these Envoys.
pub fn mount(app: &App, delivery: &Arc<Delivery>, settings: ConsoleSettings) -> Router {
    let [list, forget, wait] = [(); 3].map(|()| Arc::clone(delivery));
    let envoys = Envoys {
        list: Arc::new(move || envoys::all(&list)),
        forget: Arc::new(move |world, node| {
            let forget = Arc::clone(&forget);
            Box::pin(async move { forget.forget(world, vec![node]).await })
        }),
        wait: Arc::new(move |version| {
            let wait = Arc::clone(&wait);
            Box::pin(async move {
                let waited = wait.in_force(version, WATCHED).await;
                (waited.in_force.len(), waited.missing.len())
            })
        }),
    };
    let console = Console::new(app.clone(), settings, envoys);
    router(console.clone()).merge(console.live())
}

impl Console {
    /// The operations about its sessions, which only the running server can answer.
    pub fn live(&self) -> Router {
        let app = self.app();
        let [list, end] = [(); 2].map(|()| self.clone());
        let all = live(app, move |_: operation::session::List, world| {
            let list = list.clone();
            async move {
                let sessions = list.sessions().all(world.now.seconds()).await?;
                Ok(operation::session::SessionViews { sessions })
            }
        });
        all.merge(live(app, move |asked: operation::session::End, world| {
            let end = end.clone();
            async move {
                let sessions = Arc::clone(&end.0.sessions);
                let clock = world.now.seconds();
                let ended = move |store: &mut Store| {
                    signed_in::ended(&sessions, store, &world, &asked.id, clock)
                };
                end.app().pool().write_at(Pace::Urgent, ended).await
            }
        }))
    }
}

const ICON: &str = include_str!("icon.svg");

/// The content policy of every page: nothing from elsewhere, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The pages, below `/console`.
pub fn router(console: Console) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::to("/console") }))
        .route("/console", get(overview::show))
        .route("/console/", get(|| async { Redirect::to("/console") }))
        .route(
            "/console/sign-in",
            get(sign_in::show).post(sign_in::sign_in),
        )
        .route("/console/sign-out", post(sign_in::sign_out))
        .route(oidc::BEGIN, get(oidc::begin))
        .route("/console/oidc/callback", get(oidc::callback))
        .route(
            "/console/invitation",
            get(sign_in::invitation).post(sign_in::accept),
        )
        .route("/console/clients", get(client::list).post(client::create))
        .route("/console/clients/new", get(client::new))
        .route(
            "/console/clients/{name}",
            get(client::show).post(client::update),
        )
        .route("/console/clients/{name}/delete", post(client::delete))
        .route(
            "/console/clients/{name}/issue",
            get(issue::form).post(issue::issue),
        )
        .route("/console/keys", get(key::list).post(key::several))
        .route("/console/keys/new", get(key::choose))
        .route("/console/keys/{id}", get(key::show).post(key::update))
        .route("/console/keys/{id}/disable", post(key::disable))
        .route("/console/keys/{id}/enable", post(key::enable))
        .route("/console/keys/{id}/rotate", post(issue::rotate))
        .route("/console/keys/{id}/fetch", post(issue::fetch))
        .route("/console/keys/{id}/revoke", post(key::revoke))
        .route("/console/posture", get(posture::show))
        .route("/console/policy", get(policy::show))
        .route(
            "/console/policy/edit",
            get(policy::edit).post(policy::submit),
        )
        .route("/console/policy/history", get(policy::history::show))
        .route("/console/policy/rollback", post(policy::history::rollback))
        .route("/console/explain", get(explain::form).post(explain::ask))
        .route("/console/audit", get(audit::list))
        .route("/console/audit/verify", post(audit::verify))
        .route("/console/audit/export", get(audit::export))
        .route("/console/proof", get(proof::show))
        .route("/console/go", get(go::show))
        .route("/console/go.json", get(go::offer))
        .route("/console/fleet", get(fleet::show))
        .route("/console/fleet/forget", post(fleet::forget))
        .route("/console/lost-keys", get(lost::show))
        .route("/console/sessions", get(signed_in::list))
        .route("/console/sessions/{id}/end", post(signed_in::end))
        .route("/console/tokens", get(token::list).post(token::create))
        .route("/console/tokens/{id}/revoke", post(token::revoke))
        .merge(webhooks())
        .route(
            "/console/settings",
            get(settings::show).post(settings::update),
        )
        .route("/console/settings/forget", post(settings::forget))
        .route("/console/guide", get(guide::show))
        .merge(assets())
        .route("/console/{*rest}", get(page::nowhere))
        .layer(middleware::from_fn(guarded))
        .with_state(console)
}

fn webhooks() -> Router<Console> {
    Router::new()
        .route(
            "/console/webhooks",
            get(webhook::list).post(webhook::create),
        )
        .route("/console/webhooks/{name}", get(webhook::attempts::show))
        .route("/console/webhooks/{name}/delete", post(webhook::delete))
        .route(
            "/console/webhooks/{name}/test",
            post(webhook::attempts::test),
        )
        .route(
            "/console/webhooks/{name}/resend",
            post(webhook::attempts::resend),
        )
        .route(
            "/console/webhooks/{name}/pause",
            post(webhook::attempts::pause),
        )
        .route(
            "/console/webhooks/{name}/resume",
            post(webhook::attempts::resume),
        )
}

fn assets() -> Router<Console> {
    Router::new()
        .route("/console/style.css", get(|| asset("text/css", STYLE)))
        .route(
            "/console/console.js",
            get(|| asset("text/javascript", SCRIPT)),
        )
        .route("/console/logo", get(portal::logo))
        .route("/console/brand.css", get(portal::style))
        .route("/console/icon.svg", get(|| asset("image/svg+xml", ICON)))
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        // Pages name them by their content.
        (
            header::CACHE_CONTROL,
            "public, max-age=31536000, immutable".to_owned(),
        ),
    ];
    (headers, text).into_response()
}

/// What every answer carries.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Other sites learn nothing. Not `no-referrer`, with which browsers send forms with `Origin:
    // null`, so that the origin could not be compared.
    set(header::REFERRER_POLICY, "same-origin");
    set(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    set(
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
    set(
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), clipboard-write=(self)",
    );
    no_store(headers);
    response
}

fn no_store(headers: &mut HeaderMap) {
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests;
