//! Structured logs: one JSON object per line, on stderr or in a file; on a terminal, what needs
//! attention, as text. They contain names, ids and templates, but never a key, a token, a body or a
//! query.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Mutex;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing_subscriber::filter::LevelFilter;

use super::app::App;
use super::listen::HttpPeer;
use super::metrics::Answered;
use keystile_model::foreign;
use keystile_system as system;

/// The header of the request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// Where the log goes, and in what form.
pub enum LogForm {
    /// JSON lines, on stderr.
    Json,
    /// JSON lines, in a file.
    File(File),
    /// Text for a person: warnings and errors, on stderr.
    Text,
}

/// Begins to log. A second call changes nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "JSON escapes whatever would act on a terminal"
)]
pub fn begin(form: LogForm) {
    let json = || {
        tracing_subscriber::fmt()
            .with_target(false)
            .json()
            .flatten_event(true)
            .with_max_level(LevelFilter::INFO)
    };
    let _ = match form {
        LogForm::Json => json().with_writer(io::stderr).try_init(),
        LogForm::File(file) => json().with_writer(Mutex::new(file)).try_init(),
        LogForm::Text => tracing_subscriber::fmt()
            .with_target(false)
            .compact()
            .with_ansi(false)
            .without_time()
            .with_max_level(LevelFilter::WARN)
            .with_writer(|| TerminalLog)
            .try_init(),
    };
}

/// Stderr, for text: what callers wrote is made fit for a terminal.
struct TerminalLog;

impl Write for TerminalLog {
    #[expect(
        clippy::disallowed_methods,
        reason = "the text is made fit for a terminal here"
    )]
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = foreign::page(&String::from_utf8_lossy(event));
        io::stderr().write_all(text.as_bytes())?;
        Ok(event.len())
    }

    #[expect(clippy::disallowed_methods, reason = "it writes nothing")]
    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The id of a request: the caller's if it is safe for a log, or a new one.
#[derive(Clone)]
pub struct RequestId(pub String);

/// The token of a request, by its public id; in the answer's extensions.
#[derive(Clone)]
pub struct TokenId(pub String);

/// Marks an answer to one of too many requests: counted but not logged, so that nobody can fill a
/// disk by being refused; in the answer's extensions.
#[derive(Clone)]
pub struct Quiet;

impl RequestId {
    fn from_headers(headers: &HeaderMap, app: &App) -> Self {
        let given = headers
            .get(REQUEST_ID)
            .and_then(|v| v.to_str().ok())
            .filter(|v| (1..=64).contains(&v.len()))
            .filter(|v| {
                v.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            });
        Self(given.map_or_else(|| app.fresh_id(), str::to_owned))
    }
}

/// Gives every request its id, counts it and logs it.
pub async fn layer(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = system::instant();
    let id = RequestId::from_headers(request.headers(), &app);
    let method = request.method().as_str();
    // An unknown method must not become a label.
    let method = match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => method.to_owned(),
        _ => "other".to_owned(),
    };
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |p| p.as_str().to_owned());
    let peer = request.extensions().get::<HttpPeer>();
    let address = peer.map(|p| p.address.ip().to_canonical().to_string());
    let tls = peer.is_some_and(|p| p.tls);
    let certificate = peer.and_then(HttpPeer::fingerprint);
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    let seconds = started.elapsed().as_secs_f64();
    let status = response.status().as_u16();
    let token = response
        .extensions()
        .get::<TokenId>()
        .map(|t| t.0.clone())
        .unwrap_or_default();
    if response.extensions().get::<Quiet>().is_none() {
        tracing::info!(
            method,
            route,
            status,
            ms = (seconds * 1e6).round() / 1e3,
            request = id.0,
            token,
            address = address.unwrap_or_default(),
            tls,
            certificate,
            "request"
        );
    }
    let answered = Answered {
        method,
        route,
        status,
    };
    app.metrics().answered(&answered, seconds);
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
