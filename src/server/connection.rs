//! One connection: what it is busy with, how long it may be idle or wait for its peer, and when it
//! has to close.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::sleep;
use tower::ServiceExt as _;

use super::body::{BodyPace, Incoming, Outgoing};
use super::limits::subscriber;
use super::peer::HttpPeer;
use super::proxy::Proxies;
use super::request_connection::Connection;
use keystile_system as system;

/// How often a silent HTTP/2 connection is pinged, and how long the answer may take.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// How long a peer that is sent away has for a request.
const TOLD: Duration = Duration::from_secs(1);
/// A head, and what is read ahead of a body.
const BUFFER: usize = 32 << 10;
/// For HTTP/2, what a peer may send before we ask for more: the protocol's minimum for a
/// connection.
const WINDOW: u32 = 64 << 10;

/// What a listener's connections may do.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For a connection's first bytes, and for the head of a request. A kept-alive HTTP/1
    /// connection may be silent for as long.
    pub head: Duration,
    /// Without a request.
    pub idle: Duration,
    /// From being asked to close until it is closed.
    pub linger: Duration,
    /// Requests at once, of HTTP/2.
    pub streams: u32,
    /// Deadlines of bodies; none where streams stay open, as for discovery.
    pub bodies: Option<Bodies>,
}

/// Deadlines of bodies.
#[derive(Clone, Copy, Debug)]
pub struct Bodies {
    /// How fast a request's body has to come.
    pub pace: BodyPace,
    /// How long the peer may take to read a piece of an answer.
    pub stall: Duration,
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            pace: BodyPace::default(),
            stall: Duration::from_secs(20),
        }
    }
}

impl Bounds {
    /// Of requests that are answered at once.
    pub fn of_requests() -> Self {
        Self {
            head: Duration::from_secs(30),
            idle: Duration::from_secs(45),
            linger: Duration::from_secs(5),
            streams: 32,
            bodies: Some(Bodies::default()),
        }
    }

    /// Of streams that stay open. An Envoy opens one or two at once.
    pub fn of_streams() -> Self {
        Self {
            idle: Duration::from_secs(30),
            streams: 8,
            bodies: None,
            ..Self::of_requests()
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Busy,
    Idle,
    Stalled,
}

fn state(connection: &Connection, bounds: &Bounds) -> State {
    let now = system::nanoseconds();
    let past = |since: u64, most: Duration| u128::from(now - since.min(now)) >= most.as_nanos();
    let work = connection.flights.work();
    if work.flights.is_empty() && past(work.idle_since, bounds.idle) {
        return State::Idle;
    }
    let stalled = |bodies: Bodies| {
        work.flights.values().any(|waiting| {
            let since = waiting.load(Ordering::Relaxed);
            since != 0 && past(since, bodies.stall)
        })
    };
    match bounds.bodies.is_some_and(stalled) {
        true => State::Stalled,
        false => State::Busy,
    }
}

/// What every connection of a listener is served with.
#[derive(Clone)]
pub struct Service {
    /// The answers.
    pub router: Router,
    /// The trusted proxies.
    pub proxies: Arc<Proxies>,
    /// What a connection may do.
    pub bounds: Bounds,
    /// While this is true, peers should go to another server.
    pub away: Option<watch::Receiver<bool>>,
}

impl Service {
    /// Serves one connection until it ends, its seat is needed, or the server stops.
    pub async fn serve<S>(
        self,
        stream: S,
        peer: HttpPeer,
        connection: Arc<Connection>,
        mut stop: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let bounds = self.bounds;
        let mut away = self.away.clone();
        let busy = Arc::clone(&connection);
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            answer(
                self.clone(),
                peer.clone(),
                Arc::clone(&busy),
                request.map(Body::new),
            )
        });
        let builder = builder(&bounds);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let tick = bounds.idle.min(Duration::from_secs(20)) / 4;
        let mut leaving = false;
        let mut sent_away = pin!(sent_away(&mut away));
        let mut deadline = pin!(sleep(tick));
        loop {
            tokio::select! {
                ended = serving.as_mut() => {
                    if let Err(e) = ended {
                        tracing::debug!(error = %e, "a connection was lost");
                    }
                    return;
                }
                () = connection.seat.asked_to_leave() => {
                    tracing::debug!("a connection was closed to make room for another");
                    return;
                }
                _ = stop.wait_for(|stop| *stop), if !leaving => {
                    leaving = true;
                    serving.as_mut().graceful_shutdown();
                    // The listener ends those that take too long.
                    deadline.as_mut().reset(system::instant() + Duration::from_secs(3600));
                }
                () = sent_away.as_mut(), if !leaving => {
                    leaving = true;
                    serving.as_mut().graceful_shutdown();
                    deadline.as_mut().reset(system::instant() + bounds.linger);
                }
                () = deadline.as_mut() => match state(&connection, &bounds) {
                    _ if leaving => return,
                    State::Stalled => {
                        tracing::debug!("a peer did not read its answer");
                        return;
                    }
                    State::Idle => {
                        leaving = true;
                        serving.as_mut().graceful_shutdown();
                        deadline.as_mut().reset(system::instant() + bounds.linger);
                    }
                    State::Busy => deadline.as_mut().reset(system::instant() + tick),
                }
            }
        }
    }
}

/// A peer that has just connected is first told why it has to go.
async fn sent_away(away: &mut Option<watch::Receiver<bool>>) {
    let Some(away) = away else {
        return std::future::pending().await;
    };
    while away.wait_for(|away| *away).await.is_ok() {
        sleep(TOLD).await;
        if *away.borrow() {
            return;
        }
    }
    std::future::pending().await
}

fn builder(bounds: &Bounds) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .max_header_list_size(BUFFER as u32)
        .max_send_buf_size(BUFFER)
        .max_concurrent_streams(bounds.streams);
    builder
}

async fn answer(
    service: Service,
    mut peer: HttpPeer,
    connection: Arc<Connection>,
    request: Request<Body>,
) -> Result<Response, std::convert::Infallible> {
    let flight = connection.begin();
    match service.proxies.origin(peer.address.ip(), request.headers()) {
        Ok(None) => {}
        Ok(Some(origin)) => {
            peer.address.set_ip(origin);
            peer.proxied = true;
        }
        Err(e) => return Ok(e.into_response()),
    }
    peer.proxied |= service.proxies.trusts(peer.address.ip());
    let (presence, charge) = connection.present(subscriber(peer.address.ip()));
    peer.presence = presence;
    let bodies = service.bounds.bodies;
    let mut request = match bodies {
        Some(bodies) => {
            request.map(|body| Body::new(Incoming::new(body, Arc::clone(&charge), bodies.pace)))
        }
        None => request,
    };
    request.extensions_mut().insert(peer);
    // The charge is held until there is an answer, because what was read stays in memory that long.
    let answered = service.router.oneshot(request).await;
    drop(charge);
    answered.map(|response| {
        response.map(|body| Body::new(Outgoing::new(body, flight, bodies.is_some())))
    })
}

#[cfg(test)]
mod tests;
