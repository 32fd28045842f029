//! Every operation over HTTP: one handler for all of them, and the pages beside them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keystile_core::report::usage;
use tokio::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use prometheus_client::collector::Collector;
use serde_json::Value;

use self::condition::{fingerprint, incomparable, listed, matches, stale};
use super::auth::{self, Asker};
use super::body::whole;
use super::limits::{Limits, subscriber};
use super::listen::Peer;
use super::log::{self, Quiet, RequestId, TokenId};
use super::metrics::Metrics;
use super::problem::Problem;
use super::remembered::Remembered;
use super::{docs, openapi};
use crate::desk::Desk;
use keystile_api::{self as operation, AUDITORS, Method, Operation, Route};
use keystile_api::{Begun, Pace};
use keystile_model::error::{Code, Kind, Result, defect, refuse};
use keystile_model::reach::Reach;
use keystile_model::world::World;
use keystile_registry::replay::{self, Once};
use keystile_store::Store;
use keystile_system as system;

mod condition;

/// How long it holds that the store could be read, or not: however many ask, it is looked at
/// no more often.
const READY: Duration = Duration::from_millis(200);

/// What every handler stands on.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    desk: Arc<Desk>,
    metrics: Metrics,
    limits: Limits,
    world: World,
    document: Bytes,
    page: Bytes,
    ready: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl App {
    /// Over a store; `collectors` count what others do in this process.
    pub fn new(desk: Arc<Desk>, limits: Limits, collectors: Vec<Box<dyn Collector>>) -> Self {
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

    /// The same, with messages sent to these addresses alone.
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

    /// How often one may ask.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// A new id for a request.
    pub fn fresh_id(&self) -> String {
        let mut bytes = [0; 10];
        // An id that is not random is a nuisance in a log, and nothing else.
        let _ = (self.0.world.entropy)(&mut bytes);
        bytes.iter().map(|b| format!("{b:02x}")).collect()
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

/// So many requests of one place; and what every answer carries. What asks whether we live,
/// and whoever showed something good before, is not counted: strangers at the same place
/// could use it up.
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
                // It is only late: what it shows is looked at.
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

/// Whether a request shows something that is looked at before it is believed: a token, a code,
/// or what an Envoy signed.
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

type Fields = BTreeMap<String, String>;

/// An operation whose type is forgotten: so what surrounds it is compiled once, and not for
/// every operation.
trait Asked: Send {
    fn run(self: Box<Self>, store: &mut Store, world: &World) -> Result<Value>;
    fn writes(&self) -> bool;
    fn pace(&self) -> Pace;
    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>>;
}

struct Typed<O>(O);

impl<O: Operation> Asked for Typed<O> {
    fn run(self: Box<Self>, store: &mut Store, world: &World) -> Result<Value> {
        self.0.run(store, world).and_then(json)
    }

    fn writes(&self) -> bool {
        self.0.writes()
    }

    fn pace(&self) -> Pace {
        self.0.pace()
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        self.0.current(store, world)
    }
}

/// Puts an operation together from path, query and body.
type Reading = fn(&Fields, &str, &[u8]) -> Result<Box<dyn Asked>>;

/// A row of the table of operations.
#[derive(Clone, Copy)]
struct Entry {
    route: Route,
    read: Reading,
}

impl Entry {
    fn of<O: Operation>() -> Self {
        Self {
            route: O::ROUTE,
            read: |path, query, body| {
                let operation: O = operation::put_together(path, query, body)?;
                operation.check_size()?;
                Ok(Box::new(Typed(operation)))
            },
        }
    }

    fn handler(self) -> MethodRouter<App> {
        let handler = async move |State(app): State<App>, path: RawPathParams, request: Request| {
            let run = async |app: &App, asker, path, head: &Parts, body| {
                answer(app, self, asker, path, head, body).await
            };
            admitted(&app, &self.route, path, request, run).await
        };
        on(filter(self.route.method), handler)
    }
}

/// A route for an operation that the running server answers from what it knows itself:
/// the same token, roles, limits and logs, and `f` in the place of [`Operation::run`].
pub fn live<O, F, A>(app: &App, f: F) -> Router
where
    O: Operation,
    F: Fn(O, World) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<O::Output>> + Send + 'static,
{
    let remembered = Arc::new(Remembered::default());
    let handler = async move |State(app): State<App>, path: RawPathParams, request: Request| {
        let run = async |_: &App, asker: Asker, path: Fields, head: &Parts, body| {
            let body = read(&O::ROUTE, &head.headers, body).await?;
            if O::ROUTE.writes && head.headers.contains_key(header::IF_MATCH) {
                return Err(incomparable(&O::ROUTE).into());
            }
            let query = head.uri.query().unwrap_or_default();
            let operation: O = operation::put_together(&path, query, &body)?;
            let world = asker.world();
            let key = header(&head.headers, HeaderName::from_static("idempotency-key"))?;
            let key = key.filter(|_| O::ROUTE.creates);
            let request = fingerprint(&O::ROUTE, head, &body);
            if let Some(key) = &key
                && let Some(body) = remembered.find(&world, key, request)?
            {
                let status = O::ROUTE.status;
                return Ok(respond(&O::ROUTE, head, Done::Before { status, body }));
            }
            let done = f(operation, world.clone()).await.and_then(json)?;
            if let Some(key) = key {
                remembered.keep(&world, key, request, &done);
            }
            Ok(respond(&O::ROUTE, head, Done::Now(done)))
        };
        admitted(&app, &O::ROUTE, path, request, run).await
    };
    Router::new()
        .route(O::ROUTE.path, on(filter(O::ROUTE.method), handler))
        .with_state(app.clone())
}

/// Lets `run` answer whoever may ask.
async fn admitted(
    app: &App,
    route: &Route,
    path: RawPathParams,
    request: Request,
    run: impl AsyncFnOnce(&App, Asker, Fields, &Parts, Body) -> Result<Response, Problem>,
) -> Response {
    let path = path
        .iter()
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    let (head, body) = request.into_parts();
    let asker = match asker(app, &head, route.name).await {
        Ok(asker) => asker,
        Err(problem) => return problem.into_response(),
    };
    let token = TokenId(asker.grant.id.to_string());
    let answer = match auth::admit(app, &asker, route).await {
        Ok(()) => run(app, asker, path, &head, body).await,
        Err(problem) => Err(problem),
    };
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(token);
    response
}

async fn asker(app: &App, head: &Parts, action: &'static str) -> Result<Asker, Problem> {
    let peer = head.extensions.get::<Peer>().ok_or_else(no_peer)?;
    let id = head
        .extensions
        .get::<RequestId>()
        .map_or("", |id| id.0.as_str());
    let asker = auth::authenticate(app, &head.headers, peer.address.ip(), id, action).await?;
    peer.presence.recognise();
    Ok(asker)
}

/// What is done, or was before.
enum Done {
    Now(Value),
    Before { status: u16, body: Vec<u8> },
}

/// What a change is asked for with.
#[derive(Clone)]
struct How {
    route: Route,
    /// `Idempotency-Key`.
    key: Option<String>,
    /// `If-Match`.
    if_match: Option<String>,
    request: [u8; 32],
    /// Of what is done in parts: whether `if_match` held.
    begun: Begun,
}

impl How {
    fn done(self, store: &mut Store, world: &World, operation: Box<dyn Asked>) -> Result<Done> {
        let if_match = self.if_match.as_deref();
        if operation.pace() == Pace::Parts {
            // One transaction for each part, and none for all.
            let check = || compare(&self.route, &*operation, if_match, store, world);
            self.begun.unless(check)?;
            return operation.run(store, world).map(Done::Now);
        }
        let run = |store: &mut Store| conditional(&self.route, operation, if_match, store, world);
        let Some(key) = &self.key else {
            return match if_match {
                None => run(store),
                Some(_) => store.together(run),
            }
            .map(Done::Now);
        };
        let remember = |done: &Value| (self.route.status, done.clone());
        Ok(
            match replay::once(store, world, key, self.request, run, remember)? {
                Once::Done(value) => Done::Now(value),
                Once::Before(before) => Done::Before {
                    status: before.status,
                    body: before.body,
                },
            },
        )
    }
}

async fn answer(
    app: &App,
    entry: Entry,
    asker: Asker,
    path: Fields,
    head: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    let route = entry.route;
    let body = read(&route, &head.headers, body).await?;
    let query = head.uri.query().unwrap_or_default();
    let operation = (entry.read)(&path, query, &body)?;
    let subject = path.values().next().cloned().unwrap_or_default();
    let world = asker.world();
    let if_match = header(&head.headers, header::IF_MATCH)?;
    let key = header(&head.headers, HeaderName::from_static("idempotency-key"))?;
    let done = if operation.writes() {
        let how = How {
            route,
            key: key.filter(|_| route.creates),
            if_match,
            request: fingerprint(&route, head, &body),
            begun: Begun::default(),
        };
        let pace = operation.pace();
        let mut first = Some(operation);
        // What is begun again is read again from what was sent.
        let begin = || {
            let operation = match first.take() {
                Some(operation) => operation,
                None => (entry.read)(&path, query, &body)?,
            };
            let (world, how) = (world.clone(), how.clone());
            Ok(move |store: &mut Store| how.done(store, &world, operation))
        };
        app.desk().write_unless_done(&world, pace, begin).await
    } else {
        let asking = world.clone();
        // A dry run is compared too; of what only reads, `If-Match` asks for nothing.
        let if_match = if_match.filter(|_| route.writes);
        let ask = move |store: &mut Store| {
            conditional(&route, operation, if_match.as_deref(), store, &asking)
        };
        app.desk().ask(&world, ask).await.map(Done::Now)
    };
    match done {
        Ok(done) => Ok(respond(&route, head, done)),
        Err(e) => {
            let failed = matches!(e.kind(), Kind::Store(_));
            if (route.writes && !failed) || e.kind() == Kind::Forbidden {
                auth::write_down(app, asker.world(), route.name, &subject, &e.to_string()).await;
            }
            Err(e.into())
        }
    }
}

/// Does it, if what it is about is as `If-Match` says. A change is not to be asked for outside
/// of a transaction: what is compared could change before it is done.
fn conditional(
    route: &Route,
    operation: Box<dyn Asked>,
    if_match: Option<&str>,
    store: &mut Store,
    world: &World,
) -> Result<Value> {
    compare(route, &*operation, if_match, store, world)?;
    operation.run(store, world)
}

/// That what an operation is about is as `If-Match` says.
fn compare(
    route: &Route,
    operation: &dyn Asked,
    if_match: Option<&str>,
    store: &mut Store,
    world: &World,
) -> Result<()> {
    let Some(tags) = if_match else { return Ok(()) };
    if !route.etag {
        return Err(incomparable(route));
    }
    let current = operation.current(store, world)?;
    match matches(tags, current.as_ref()) {
        true => Ok(()),
        false => Err(stale()),
    }
}

fn json<T: serde::Serialize>(output: T) -> Result<Value> {
    serde_json::to_value(output).map_err(|e| {
        refuse(
            Code::OutputFailed,
            format_args!("it was done, but the answer cannot be written ({e})"),
            "please report this: it is a mistake in Keystile",
        )
        .of(Kind::Unavailable)
    })
}

fn respond(route: &Route, head: &Parts, done: Done) -> Response {
    let (status, body, tag) = match done {
        Done::Now(value) => {
            let tag = (route.etag && !route.writes).then(|| operation::tag(&value));
            (route.status, value.to_string().into_bytes(), tag)
        }
        Done::Before { status, body } => {
            let mut response = plain(status, body);
            response.headers_mut().insert(
                HeaderName::from_static("idempotency-replayed"),
                HeaderValue::from_static("true"),
            );
            return response;
        }
    };
    let Some(tag) = tag else {
        return plain(status, body);
    };
    let known = header(&head.headers, header::IF_NONE_MATCH).ok().flatten();
    let same = known.is_some_and(|known| listed(&known, &tag));
    let mut response = if same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        plain(status, body)
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

fn plain(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let json = [(header::CONTENT_TYPE, "application/json")];
    (status, json, body).into_response()
}

/// Reads a body of the size and the type that the route takes.
async fn read(route: &Route, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    if !route.method.has_body() {
        return Ok(Bytes::new());
    }
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|n| n > route.body) {
        return Err(super::body::too_large(route.body));
    }
    let body = whole(body, route.body).await?;
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .map(|v| v.trim().to_ascii_lowercase());
    let taken = ["application/json", "application/merge-patch+json"];
    if !body.is_empty() && !kind.as_deref().is_some_and(|k| taken.contains(&k)) {
        return Err(refuse(
            Code::MediaTypeUnsupported,
            "the body is not said to be JSON",
            "send `content-type: application/json`",
        )
        .into());
    }
    Ok(body)
}

/// One header that may stand there once.
fn header(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all(&name).iter();
    let wrong = || -> Problem {
        refuse(
            Code::MalformedHeader,
            format_args!("the header `{name}` stands there twice, or is not ASCII"),
            "send it once",
        )
        .into()
    };
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(|v| Some(v.trim().to_owned()))
            .map_err(|_| wrong()),
        (Some(_), Some(_)) => Err(wrong()),
    }
}

async fn ready(State(app): State<App>) -> Response {
    let mut known = app.0.ready.lock().await;
    let now = system::instant();
    if let Some((at, true)) = *known
        && now.saturating_duration_since(at) < READY
        && !app.desk().health().is_ill()
    {
        return "ready\n".into_response();
    }
    let well = app.desk().is_well().await;
    *known = Some((now, well.is_ok()));
    match well {
        Ok(()) => "ready\n".into_response(),
        Err(e) => Problem::from(e.of(Kind::Unavailable)).into_response(),
    }
}

/// Whether a request was made on this machine, and not merely passed on by a proxy that runs
/// on it.
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
    let peer = head.extensions.get::<Peer>();
    direct && peer.is_some_and(|p| !p.proxied && p.address.ip().to_canonical().is_loopback())
}

/// Without a token from this machine only.
async fn metrics(State(app): State<App>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    if !is_local(&head) {
        let route = Route::get("metrics", "/metrics", AUDITORS, "Metrics");
        let asker = match asker(&app, &head, route.name).await {
            Ok(asker) => asker,
            Err(problem) => return problem.into_response(),
        };
        if let Err(problem) = auth::admit(&app, &asker, &route).await {
            return problem.into_response();
        }
    }
    let version = *app.desk().versions().borrow();
    let text = app.metrics().text(version, app.desk().health());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn document(State(app): State<App>) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, app.0.document.clone()).into_response()
}

async fn page(State(app): State<App>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, docs::POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, app.0.page.clone()).into_response()
}

async fn style() -> Response {
    let css = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (css, docs::STYLE).into_response()
}

async fn nowhere() -> Problem {
    refuse(
        Code::PathNotFound,
        "there is nothing at this path",
        "see /docs for what there is",
    )
    .into()
}

/// Names the methods that the path takes, for a caller that used another.
async fn wrong_method(request: Request) -> Problem {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map(MatchedPath::as_str).unwrap_or_default();
    let mut taken = Vec::new();
    macro_rules! all {
        ($($operation:ty,)*) => { $(
            let route = <$operation>::ROUTE;
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
