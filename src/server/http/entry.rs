//! One operation over HTTP: who asks, what for, and the answer.

use axum::Router;
use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use keystile_api as operation;
use keystile_api::{Ahead, Begun, Endpoint, Method, Operation, Pace};
use keystile_model::error::{Kind, Result, defect};
use keystile_model::world::World;
use keystile_registry::replay;
use keystile_registry::replay::Once;
use keystile_store::Store;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::app::App;
use super::super::auth;
use super::super::auth::Asker;
use super::super::listen::HttpPeer;
use super::super::log::{RequestId, TokenId};
use super::super::problem::Problem;
use super::super::remembered::Remembered;
use super::condition::{fingerprint, incomparable, matches, stale};
use super::message::{Done, header, json, read, respond};

type Fields = BTreeMap<String, String>;

/// A type-erased operation, so that the code around it is compiled once, not for every operation.
trait Asked: Send {
    fn run(self: Box<Self>, store: &mut Store, world: &World, ahead: &Ahead) -> Result<Value>;
    fn reads_ahead(&self) -> bool;
    fn read_ahead(&self, store: &mut Store, world: &World) -> Result<Ahead>;
    fn writes(&self) -> bool;
    fn pace(&self) -> Pace;
    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>>;
}

struct Typed<O>(O);

impl<O: Operation> Asked for Typed<O> {
    fn run(self: Box<Self>, store: &mut Store, world: &World, ahead: &Ahead) -> Result<Value> {
        self.0.run_after(store, world, ahead).and_then(json)
    }

    fn reads_ahead(&self) -> bool {
        O::READS_AHEAD
    }

    fn read_ahead(&self, store: &mut Store, world: &World) -> Result<Ahead> {
        self.0.read_ahead(store, world)
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

/// Reads an operation from path, query and body.
type Reading = fn(&Fields, &str, &[u8]) -> Result<Box<dyn Asked>>;

/// A row of the table of operations.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) route: Endpoint,
    read: Reading,
}

impl Entry {
    pub(super) fn for_operation<O: Operation>() -> Self {
        Self {
            route: O::ENDPOINT,
            read: |path, query, body| {
                let operation: O = operation::put_together(path, query, body)?;
                operation.check_size()?;
                Ok(Box::new(Typed(operation)))
            },
        }
    }

    pub(super) fn handler(self) -> MethodRouter<App> {
        let handler = async move |State(app): State<App>, path: RawPathParams, request: Request| {
            let run = async |app: &App, asker, path, head: &Parts, body| {
                answer(app, self, asker, path, head, body).await
            };
            admitted(&app, &self.route, path, request, run).await
        };
        on(filter(self.route.method), handler)
    }
}

/// A route for an operation that the running server answers from its own state: with the same
/// tokens, roles, limits and logs, but `f` in place of [`Operation::run`].
pub fn live<O, F, A>(app: &App, f: F) -> Router
where
    O: Operation,
    F: Fn(O, World) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<O::Output>> + Send + 'static,
{
    let remembered = Arc::new(Remembered::default());
    let handler = async move |State(app): State<App>, path: RawPathParams, request: Request| {
        let run = async |_: &App, asker: Asker, path: Fields, head: &Parts, body| {
            let body = read(&O::ENDPOINT, &head.headers, body).await?;
            if O::ENDPOINT.writes && head.headers.contains_key(header::IF_MATCH) {
                return Err(incomparable(&O::ENDPOINT).into());
            }
            let query = head.uri.query().unwrap_or_default();
            let operation: O = operation::put_together(&path, query, &body)?;
            let world = asker.world();
            let key = header(&head.headers, HeaderName::from_static("idempotency-key"))?;
            let key = key.filter(|_| O::ENDPOINT.creates);
            let request = fingerprint(&O::ENDPOINT, head, &body);
            if let Some(key) = &key
                && let Some(body) = remembered.find(&world, key, request)?
            {
                let status = O::ENDPOINT.status;
                return Ok(respond(&O::ENDPOINT, head, Done::Before { status, body }));
            }
            let done = f(operation, world.clone()).await.and_then(json)?;
            if let Some(key) = key {
                remembered.keep(&world, key, request, &done);
            }
            Ok(respond(&O::ENDPOINT, head, Done::Now(done)))
        };
        admitted(&app, &O::ENDPOINT, path, request, run).await
    };
    Router::new()
        .route(O::ENDPOINT.path, on(filter(O::ENDPOINT.method), handler))
        .with_state(app.clone())
}

/// Lets `run` answer callers that are allowed to.
async fn admitted(
    app: &App,
    route: &Endpoint,
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

pub(super) async fn asker(app: &App, head: &Parts, action: &'static str) -> Result<Asker, Problem> {
    let peer = head.extensions.get::<HttpPeer>().ok_or_else(no_peer)?;
    let id = head
        .extensions
        .get::<RequestId>()
        .map_or("", |id| id.0.as_str());
    let asker = auth::authenticate(app, &head.headers, peer.address.ip(), id, action).await?;
    peer.presence.recognise();
    Ok(asker)
}

/// The conditions of a change.
#[derive(Clone)]
struct How {
    pub(super) route: Endpoint,
    /// `Idempotency-Key`.
    key: Option<String>,
    /// `If-Match`.
    if_match: Option<String>,
    pub(super) request: [u8; 32],
    /// For changes in parts: whether `if_match` held.
    begun: Begun,
    /// What was read before its turn.
    ahead: Ahead,
}

impl How {
    fn done(self, store: &mut Store, world: &World, operation: Box<dyn Asked>) -> Result<Done> {
        let if_match = self.if_match.as_deref();
        if operation.pace() == Pace::Parts {
            // One transaction per part, and none for the whole.
            let check = || compare(&self.route, &*operation, if_match, store, world);
            self.begun.unless(check)?;
            return operation.run(store, world, &self.ahead).map(Done::Now);
        }
        let run = |store: &mut Store| {
            let ahead = &self.ahead;
            conditional(&self.route, operation, if_match, ahead, store, world)
        };
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
            ahead: Ahead::default(),
        };
        // If it is started again, it is read again from the request.
        let again = || (entry.read)(&path, query, &body);
        changed(app, &world, how, operation, again).await
    } else {
        let asking = world.clone();
        // A dry run is compared, too; for reads, `If-Match` has no effect.
        let if_match = if_match.filter(|_| route.writes);
        let ask = move |store: &mut Store| {
            let ahead = Ahead::default();
            conditional(
                &route,
                operation,
                if_match.as_deref(),
                &ahead,
                store,
                &asking,
            )
        };
        app.pool().ask(&world, ask).await.map(Done::Now)
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

/// Makes a change; `again` makes the same operation once more, in case it is interrupted.
async fn changed(
    app: &App,
    world: &World,
    mut how: How,
    mut operation: Box<dyn Asked>,
    again: impl Fn() -> Result<Box<dyn Asked>>,
) -> Result<Done> {
    if operation.reads_ahead() {
        let (asking, route, if_match) = (world.clone(), how.route, how.if_match.clone());
        let read = move |store: &mut Store| {
            compare(&route, &*operation, if_match.as_deref(), store, &asking)?;
            let ahead = operation.read_ahead(store, &asking)?;
            Ok((operation, ahead))
        };
        (operation, how.ahead) = app.pool().ask(world, read).await?;
    }
    let pace = operation.pace();
    let mut first = Some(operation);
    let begin = || {
        let operation = first.take().map_or_else(&again, Ok)?;
        let (world, how) = (world.clone(), how.clone());
        Ok(move |store: &mut Store| how.done(store, &world, operation))
    };
    app.pool().write_unless_done(world, pace, begin).await
}

/// Performs it if the resource matches `If-Match`. Both are in one transaction, because the
/// resource could otherwise change in between.
fn conditional(
    route: &Endpoint,
    operation: Box<dyn Asked>,
    if_match: Option<&str>,
    ahead: &Ahead,
    store: &mut Store,
    world: &World,
) -> Result<Value> {
    compare(route, &*operation, if_match, store, world)?;
    operation.run(store, world, ahead)
}

/// Checks that the resource of an operation matches `If-Match`.
fn compare(
    route: &Endpoint,
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

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}

pub(super) fn no_peer() -> Problem {
    defect("the origin of the request is unknown").into()
}
