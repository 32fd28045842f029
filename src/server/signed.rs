//! Requests of Envoys and scanners, which have a signature instead of a token.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use keystile_core::report::message::{self, KID_HEADER, MessageError, SIGNATURE_HEADER, Sealed};
use keystile_core::report::usage;
use serde_json::json;

use super::app::App;
use super::auth;
use super::body;
use super::listen::HttpPeer;
use super::log::RequestId;
use super::problem::Problem;
use crate::delivery::{Delivery, ReportRefusal};
use crate::intake::{self as batches, Intake};
use crate::pool::StorePool;
use crate::scanner::Scanner;
use keystile_api::Pace;
use keystile_model::error::{Act, Code, Kind, Next, Result, refuse};
use keystile_model::next;
use keystile_model::scanning::UntrustedReport;
use keystile_registry::leak::{self, Ownership};
use keystile_system as system;

/// A report of one worker is some hundred bytes.
const REPORT: usize = 64 << 10;
/// A scanner may have found many at once.
const ALERTS: usize = 8 << 20;

/// `/v1/reports`, `/v1/usage`, and `/v1/leaks` where a scanner is set up.
pub fn router(
    app: &App,
    delivery: Arc<Delivery>,
    intake: Arc<Intake>,
    scanner: Option<Arc<Scanner>>,
) -> Router {
    let pool = Arc::clone(app.pool());
    let app = app.clone();
    let router = Router::new()
        .route("/v1/reports", post(report))
        .route(usage::PATH, post(batch))
        .with_state(Edge {
            app,
            delivery,
            intake,
        });
    match scanner {
        None => router,
        Some(scanner) => router.route("/v1/leaks", post(leaks).with_state((pool, scanner))),
    }
}

/// What takes messages of Envoys.
#[derive(Clone)]
struct Edge {
    app: App,
    delivery: Arc<Delivery>,
    intake: Arc<Intake>,
}

impl Edge {
    /// Records that somebody sent a message in the name of an Envoy that has, or had, a secret of
    /// its own, but did not sign it with that. Other messages are not recorded: an Envoy whose
    /// signing key was retired sends one every few seconds.
    async fn forged(&self, head: &Parts, body: &[u8], action: &'static str, why: impl Display) {
        let node = message::node_of(body).unwrap_or_default();
        if !self.delivery.is_enrolled_or_revoked(&node) {
            return;
        }
        let address = match head.extensions.get::<HttpPeer>() {
            Some(peer) => peer.address.ip(),
            None => IpAddr::from([0, 0, 0, 0]),
        };
        let id = head.extensions.get::<RequestId>();
        let world = system::of_stranger(address, id.map_or("", |id| id.0.as_str()));
        auth::write_down(&self.app, world, action, &node, &why.to_string()).await;
    }
}

async fn report(State(edge): State<Edge>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = match whole(body, REPORT).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let kid = text(&head.headers, KID_HEADER).unwrap_or_default();
    let tag = text(&head.headers, SIGNATURE_HEADER).unwrap_or_default();
    match edge.delivery.reported(&body, kid, tag) {
        Ok(()) => {
            recognise(&head);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refused) => {
            if let ReportRefusal::Report(why) = &refused {
                edge.forged(&head, &body, "report.send", why).await;
            }
            refused_report(&refused).into_response()
        }
    }
}

async fn batch(State(edge): State<Edge>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = match whole(body, usage::MAX_BYTES).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let kid = text(&head.headers, KID_HEADER).unwrap_or_default();
    let tag = text(&head.headers, SIGNATURE_HEADER).unwrap_or_default();
    match edge.intake.take(&body, kid, tag).await {
        Ok(receipt) => {
            recognise(&head);
            signed(StatusCode::OK, receipt)
        }
        // Only this answer makes the sender drop a batch.
        Err(batches::NotCounted::Never(refusal)) => {
            signed(StatusCode::UNPROCESSABLE_ENTITY, *refusal)
        }
        Err(batches::NotCounted::Later(e)) => {
            Problem::from(e.with_kind(Kind::Unavailable)).into_response()
        }
        Err(batches::NotCounted::OtherStore) => refused_batch(
            "the batch belongs to another store",
            "send it to the server of that store",
        ),
        Err(batches::NotCounted::Node(e)) => {
            edge.forged(&head, &body, "usage.send", &e).await;
            Problem::from(e.at("the batch is not counted")).into_response()
        }
        Err(batches::NotCounted::Message(e)) => {
            edge.forged(&head, &body, "usage.send", e).await;
            let next = next_of_message(e);
            refused_batch(format_args!("the batch is not counted: {e}"), next)
        }
    }
}

fn signed(status: StatusCode, message: Sealed) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json"),
        (KID_HEADER, &message.kid),
        (SIGNATURE_HEADER, &message.tag),
    ];
    (status, headers, message.body).into_response()
}

fn next_of_message(e: MessageError) -> Next {
    match e {
        MessageError::TooLong(_) | MessageError::Shape => {
            "update the filter and the server to the same version".into()
        }
        MessageError::UnknownKid | MessageError::Signature => next![
            "check KEYSTILE_SIGNING_KEYS and KEYSTILE_NODE_KEY of its Envoy, or enroll it again with ",
            Act::NodeEnroll
        ],
    }
}

fn refused_batch(what: impl Display, next: impl Into<Next>) -> Response {
    Problem::from(refuse(Code::BatchRefused, what, next)).into_response()
}

fn refused_report(refused: &ReportRefusal) -> Problem {
    let kind = match refused {
        ReportRefusal::NotReady => Kind::Unavailable,
        ReportRefusal::Node => Kind::Invalid,
        _ => Kind::Forbidden,
    };
    let next = match refused {
        ReportRefusal::Node => "set `node` in the Envoy's bootstrap",
        ReportRefusal::Clock(_) => "correct the clocks of Envoy and server",
        ReportRefusal::NotReady => "report again",
        _ => {
            "check the clock of the machine, KEYSTILE_SIGNING_KEYS and KEYSTILE_NODE_KEY of its Envoy, \
             and that the filter and the server have the same version"
        }
    };
    refuse(
        Code::ReportRefused,
        format_args!("the report is rejected: {refused}"),
        next,
    )
    .with_kind(kind)
    .into()
}

async fn leaks(
    State((pool, scanner)): State<(Arc<StorePool>, Arc<Scanner>)>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let body = match whole(body, ALERTS).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let key = text(&head.headers, "github-public-key-identifier");
    let signature = text(&head.headers, "github-public-key-signature");
    let alerts = match scanner.open(&body, key, signature).await {
        Ok(alerts) => alerts,
        Err(UntrustedReport::NoKeys) => {
            let problem = refuse(
                Code::NotReady,
                format_args!("the message cannot be checked: {}", UntrustedReport::NoKeys),
                "send it again later",
            );
            return Problem::from(problem.with_kind(Kind::Unavailable)).into_response();
        }
        Err(untrusted) => {
            let problem = refuse(
                Code::MessageUntrusted,
                format_args!("the message is rejected: {untrusted}"),
                "send it as the secret scanning partner program says",
            );
            return Problem::from(problem.with_kind(Kind::Forbidden)).into_response();
        }
    };
    let (Some(peer), id) = (
        head.extensions.get::<HttpPeer>().map(|p| p.address.ip()),
        head.extensions
            .get::<RequestId>()
            .map_or(String::new(), |id| id.0.clone()),
    ) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let policy = scanner.policy();
    let hashes: Vec<_> = alerts
        .iter()
        .map(|a| (a.token_hash(), a.kind.clone()))
        .collect();
    let found = pool
        .write_at(Pace::Urgent, move |store| {
            let world = system::of_scanner(peer, &id);
            leak::found(store, &world, &alerts, policy)
        })
        .await;
    match found {
        Err(e) => Problem::from(e).into_response(),
        Ok(found) => {
            let labels: Vec<_> = hashes
                .into_iter()
                .zip(found)
                .map(|((token_hash, token_type), found)| {
                    let label = match found {
                        Ownership::Ours => "true_positive",
                        Ownership::Unknown => "false_positive",
                    };
                    json!({"token_hash": token_hash, "token_type": token_type, "label": label})
                })
                .collect();
            axum::Json(labels).into_response()
        }
    }
}

/// A body of an Envoy or a scanner. It may be valid even if it was not received completely or in
/// time: unless it is too long, its sender must not take it as refused.
async fn whole(body: Body, most: usize) -> Result<Bytes, Problem> {
    body::whole(body, most).await.map_err(|e| match e.status {
        413 => refuse(
            Code::BodyTooLarge,
            format_args!("the body is larger than {most} bytes"),
            "send less at once",
        )
        .with_kind(Kind::Malformed)
        .into(),
        _ => Problem {
            retry_after: e.retry_after,
            ..refuse(
                Code::BodyIncomplete,
                "the body was cut short, or arrived too slowly",
                "send it again",
            )
            .with_kind(Kind::Unavailable)
            .into()
        },
    })
}

/// The message was signed by one of our Envoys, or by a trusted scanner.
fn recognise(head: &Parts) {
    if let Some(peer) = head.extensions.get::<HttpPeer>() {
        peer.presence.recognise();
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
