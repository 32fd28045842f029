//! Health, metrics, documents, and addresses where nothing is.

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use keystile_api::{AUDITORS, Endpoint};
use keystile_model::error::{Code, Kind, Result, refuse};
use keystile_system as system;
use std::time::Duration;

use super::super::app::App;
use super::super::listen::HttpPeer;
use super::super::problem::Problem;
use super::super::{auth, docs};
use super::entry::asker;
use axum::response::IntoResponse;
use keystile_api::Operation;

/// How long a readiness result is reused, so that the store is checked no more often than this.
const READY: Duration = Duration::from_millis(200);

pub(super) async fn ready(State(app): State<App>) -> Response {
    match readiness(&app).await {
        Ok(()) => "ready\n".into_response(),
        Err(e) => Problem::from(e.with_kind(Kind::Unavailable)).into_response(),
    }
}

/// Whether this server can do its work.
async fn readiness(app: &App) -> Result<()> {
    // Reads may work where changes, and so this server's lease, do not.
    let replicas = app.pool().replicas().filter(|r| r.is_alone());
    if let Some(replicas) = replicas
        && replicas.renews()
    {
        let why = app.pool().is_well().await.err().unwrap_or_else(|| {
            refuse(
                Code::StoreUnreachable,
                "this server could not read the store for some seconds",
                "see the server's log",
            )
        });
        return Err(why);
    }
    if replicas.is_some() {
        return Err(refuse(
            Code::StoreUnreachable,
            "this server's lease in the database cannot be renewed",
            "look whether the database takes changes",
        ));
    }
    let mut known = app.0.ready.lock().await;
    let now = system::instant();
    if let Some((at, true)) = *known
        && now.saturating_duration_since(at) < READY
        && !app.pool().health().is_ill()
    {
        return Ok(());
    }
    let well = app.pool().is_well().await;
    *known = Some((now, well.is_ok()));
    well
}

/// Whether a request was made on this machine, and not passed on by a proxy that runs on it.
fn is_local(head: &Parts) -> bool {
    let passed_on = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
        "via",
    ];
    let direct = !passed_on
        .iter()
        .any(|name| head.headers.contains_key(*name));
    let peer = head.extensions.get::<HttpPeer>();
    direct && peer.is_some_and(|p| !p.proxied && p.address.ip().to_canonical().is_loopback())
}

/// Without a token, only from this machine.
pub(super) async fn metrics(State(app): State<App>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    if !is_local(&head) {
        let route = Endpoint::get("metrics", "/metrics", AUDITORS, "Metrics");
        let asker = match asker(&app, &head, route.name).await {
            Ok(asker) => asker,
            Err(problem) => return problem.into_response(),
        };
        if let Err(problem) = auth::admit(&app, &asker, &route).await {
            return problem.into_response();
        }
    }
    let version = *app.pool().versions().borrow();
    let is_ready = readiness(&app).await.is_ok();
    let text = app.metrics().text(version, is_ready, app.pool().health());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

pub(super) async fn document(State(app): State<App>) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, app.0.document.clone()).into_response()
}

pub(super) async fn page(State(app): State<App>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, docs::POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, app.0.page.clone()).into_response()
}

pub(super) async fn style() -> Response {
    let css = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (css, docs::STYLE).into_response()
}

pub(super) async fn script() -> Response {
    let js = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (js, docs::SCRIPT).into_response()
}

pub(in super::super) async fn nowhere() -> Problem {
    refuse(
        Code::PathNotFound,
        "there is nothing at this path",
        "see /docs for what there is",
    )
    .into()
}

/// Names the methods that the path accepts, for a caller that used another.
pub(super) async fn wrong_method(request: Request) -> Problem {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map(MatchedPath::as_str).unwrap_or_default();
    let mut taken = Vec::new();
    macro_rules! all {
        ($($operation:ty,)*) => { $(
            let route = <$operation>::ENDPOINT;
            if route.path == path {
                taken.push(format!("{} ({})", route.method.as_str(), route.summary));
            }
        )* };
    }
    keystile_api::for_each_operation!(all);
    let next = match taken.is_empty() {
        true => "see /docs for how".to_owned(),
        false => format!("it takes {}; see /docs", taken.join(", ")),
    };
    let fact = format_args!("this path does not take {}", request.method());
    refuse(Code::MethodNotAllowed, fact, next).into()
}
