//! Requests of Envoys and scanners, which have a signature instead of a token.

use std::fmt::Display;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use keystile_core::report::message::{KID_HEADER, SIGNATURE_HEADER, Sealed};
use keystile_core::report::usage;
use serde_json::json;

use super::body;
use super::listen::HttpPeer;
use super::log::RequestId;
use super::problem::Problem;
use crate::delivery::{Delivery, ReportRefusal};
use crate::intake::{self as batches, Intake};
use crate::pool::StorePool;
use crate::scanner::Scanner;
use keystile_api::Pace;
use keystile_model::error::{Code, Kind, Result, refuse};
use keystile_model::scanning::UntrustedReport;
use keystile_registry::leak::{self, Ownership};
use keystile_system as system;

/// A report of one worker is some hundred bytes.
const REPORT: usize = 64 << 10;
/// A scanner may have found many at once.
const ALERTS: usize = 8 << 20;

/// `/v1/reports`, `/v1/usage`, and `/v1/leaks` where a scanner is set up.
pub fn router(
    pool: Arc<StorePool>,
    delivery: Arc<Delivery>,
    intake: Arc<Intake>,
    scanner: Option<Arc<Scanner>>,
) -> Router {
    let router = Router::new()
        .route("/v1/reports", post(report))
        .with_state(delivery)
        .route(usage::PATH, post(batch).with_state(intake));
    match scanner {
        None => router,
        Some(scanner) => router.route("/v1/leaks", post(leaks).with_state((pool, scanner))),
    }
}

async fn report(State(delivery): State<Arc<Delivery>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = match whole(body, REPORT).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let kid = text(&head.headers, "x-keystile-kid").unwrap_or_default();
    let tag = text(&head.headers, "x-keystile-signature").unwrap_or_default();
    match delivery.reported(&body, kid, tag) {
        Ok(()) => {
            recognise(&head);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refused) => refused_report(&refused).into_response(),
    }
}

async fn batch(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = match whole(body, usage::MAX_BYTES).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let kid = text(&head.headers, KID_HEADER).unwrap_or_default();
    let tag = text(&head.headers, SIGNATURE_HEADER).unwrap_or_default();
    match intake.take(&body, kid, tag).await {
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
            "the batch is of another store",
            "send it to the server of that",
        ),
        Err(batches::NotCounted::Node(e)) => {
            Problem::from(e.at("the batch is not counted")).into_response()
        }
        Err(batches::NotCounted::Message(e)) => refused_batch(
            format_args!("the batch is not counted: {e}"),
            "look at KEYSTILE_SIGNING_KEYS of its Envoy",
        ),
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

fn refused_batch(what: impl Display, next: &str) -> Response {
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
        _ => "look at the clock of the machine and at KEYSTILE_SIGNING_KEYS of its Envoy",
    };
    refuse(
        Code::ReportRefused,
        format_args!("the report is not taken: {refused}"),
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
                format_args!("the message cannot be judged: {}", UntrustedReport::NoKeys),
                "send it again later",
            );
            return Problem::from(problem.with_kind(Kind::Unavailable)).into_response();
        }
        Err(untrusted) => {
            let problem = refuse(
                Code::MessageUntrusted,
                format_args!("the message is not believed: {untrusted}"),
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
                "the body broke off, or came too slowly",
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
