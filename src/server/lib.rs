//! `keystilectl serve`: the operations over HTTP, discovery for Envoys, and background tasks.
//!
//! Never decides what an operation may do: the registry does, for the command line as well. Never
//! uses SQL, never logs a key, a token or a body, and never waits for the store on the threads that
//! serve connections. It knows no pages: the console is a router that is passed in.
//!
//! # Map
//!
//! * [`listen`] and [`tls`]: connections; they serve any router. [`seats`]: how many may be
//!   connected at once; [`connection`]: for how long; [`body`] and [`budget`]: how much they may
//!   send and be answered; [`proxy`]: which proxies may speak for others;
//! * [`http`]: one handler for every operation; [`auth`]: who asks, and what their token allows;
//!   [`limits`]: how often; [`problem`]: what is told when something is not done;
//!   [`pool`]: the one writer of the store, and its readers; [`replicas`]: other servers of it;
//! * [`delivery`]: keysets on their way to Envoys, and the proof of what is in force; [`envoys`] and
//!   [`fleet`]: what is known of each; [`signed`] and [`intake`]: reports and usage that they send;
//! * [`duties`]: all of it put together, and what is done without being asked; [`outbox`]: webhooks; [`exporter`]: the
//!   audit log sent elsewhere; [`scanner`]: reports of leaked keys; [`backups`]: the store as a whole;
//! * [`openapi`] and [`docs`]: the table of operations, for programs and for people;
//! * [`log`], [`metrics`], [`usage_numbers`] and [`backlog`]: what is told about all that.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use keystile_model::error::{Code, Result, refuse};
use keystile_system as system;
use keystile_system::file;

pub mod app;
pub mod auth;
pub mod backlog;
pub mod backups;
pub mod body;
pub mod budget;
pub mod connection;
pub mod delivery;
pub mod docs;
pub mod duties;
pub mod envoys;
pub mod exporter;
pub mod fleet;
pub mod guide;
mod holder;
pub mod http;
pub mod in_progress;
pub mod intake;
pub mod limits;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod openapi;
pub mod outbox;
pub mod peer;
pub mod pool;
pub mod problem;
pub mod proxy;
mod remembered;
pub mod replicas;
pub mod request_connection;
pub mod scanner;
pub mod seats;
pub mod signed;
pub mod tls;
pub mod usage_counted;
pub mod usage_numbers;

use budget::Budget;
use connection::{Bounds, Service};
use http::App;
use listen::{Listener, Terms};
use proxy::Proxies;
use seats::Seats;
use tls::{Certificates, TlsFiles};

/// The API's and that of discovery.
const LISTENERS: usize = 2;

/// Where to listen, and how.
pub struct ServerSettings {
    /// For the API.
    pub listen: SocketAddr,
    /// Its certificate.
    pub tls: Option<TlsFiles>,
    /// For discovery.
    pub discovery: SocketAddr,
    /// Its certificate, and the authority of Envoys.
    pub discovery_tls: Option<TlsFiles>,
    /// Allow other machines without TLS.
    pub allow_plaintext: bool,
    /// The file for the bound addresses, one per line: `api ADDRESS`, `discovery ADDRESS`.
    pub address_file: Option<PathBuf>,
    /// The trusted proxies.
    pub proxies: Proxies,
    /// Connections of each listener at once.
    pub connections: usize,
    /// Called once it listens.
    pub listening: Option<Listening>,
}

/// What is done once a server listens.
pub type Listening = Box<dyn FnOnce(&BoundAddresses) + Send>;

/// Where a server listens.
pub struct BoundAddresses {
    /// The API and the console.
    pub api: SocketAddr,
    /// Whether these have TLS.
    pub has_tls: bool,
    /// Discovery.
    pub discovery: Option<SocketAddr>,
}

/// Routers that are passed in.
#[derive(Default)]
pub struct Routers {
    /// Beside the operations: see [`http::live`].
    pub routes: Router,
    /// For Envoys; without it, nothing listens for them.
    pub discovery: Option<Router>,
}

/// Serves until `stopped`, and then until what has begun is done.
///
/// # Errors
/// If an address is unavailable or a certificate is invalid. Nothing that happens later is an
/// error.
pub async fn serve(
    app: App,
    settings: ServerSettings,
    parts: Routers,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let pool = Arc::clone(app.pool());
    let has_tls = settings.tls.is_some();
    let api = bind(settings.listen, settings.tls, settings.allow_plaintext).await?;
    let api_address = api.address();
    let mut addresses = format!("api {api_address}\n");
    let mut discovery = None;
    let proxies = Arc::new(settings.proxies);
    let budget = Budget::new(budget::Most::default());
    let away = pool.replicas().map(|r| r.alone());
    let terms = |router: Router, room: Arc<Seats>, bounds: Bounds| Terms {
        room,
        budget: Arc::clone(&budget),
        service: Service {
            router,
            proxies: Arc::clone(&proxies),
            bounds,
            away: away.clone(),
        },
    };
    let most = system::connections(settings.connections, LISTENERS);
    if most < settings.connections {
        tracing::warn!(
            connections = most,
            "fewer connections are accepted than configured: this process may not open more files; raise its limit (`ulimit -n`, `LimitNOFILE=`)"
        );
    }
    // An eighth for one address of the API; half for one of discovery, where all Envoys of a
    // cluster may come from the same.
    let room = Seats::new(most, most.div_ceil(8));
    let router = http::router(app, parts.routes);
    let mut listeners = vec![(api, terms(router, room, Bounds::of_requests()))];
    if let Some(router) = parts.discovery {
        let listener = bind(
            settings.discovery,
            settings.discovery_tls,
            settings.allow_plaintext,
        )
        .await?;
        let address = listener.address();
        discovery = Some(address);
        addresses.push_str(&format!("discovery {address}\n"));
        let room = Seats::new(most, most.div_ceil(2));
        listeners.push((listener, terms(router, room, Bounds::of_streams())));
    }
    if let Some(path) = &settings.address_file {
        file::replace(path, 0o644, addresses.as_bytes())?;
    }
    tracing::info!(
        api = %api_address,
        discovery = discovery.map(|d| d.to_string()).unwrap_or_default(),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    if let Some(listening) = settings.listening {
        listening(&BoundAddresses {
            api: api_address,
            has_tls,
            discovery,
        });
    }
    let looking = tokio::spawn(pool.watch_others());
    let mut serving = tokio::task::JoinSet::new();
    for (listener, terms) in listeners {
        serving.spawn(listener.serve(terms, stopped.clone()));
    }
    serving.join_all().await;
    looking.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Becomes true with the first SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot listen for signals.
pub fn signals() -> Result<watch::Receiver<bool>> {
    let cannot = |e: std::io::Error| {
        refuse(
            Code::SystemFailed,
            format_args!("cannot listen for signals ({e})"),
            "check the limits of the process",
        )
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.send_replace(true);
    });
    Ok(stopped)
}

async fn bind(address: SocketAddr, files: Option<TlsFiles>, plaintext: bool) -> Result<Listener> {
    if files.is_none() && !address.ip().is_loopback() && !plaintext {
        return Err(refuse(
            Code::NotEncrypted,
            format_args!("`{address}` would be served to other machines without TLS"),
            "give a certificate (`--tls-cert`, `--discovery-tls-cert`), listen on 127.0.0.1, or use `--allow-plaintext` if a proxy encrypts",
        ));
    }
    let certificates = match files {
        Some(files) => Some(Certificates::read(files, system::instant())?),
        None => None,
    };
    Listener::bind(address, certificates).await
}

#[cfg(test)]
mod tests;
