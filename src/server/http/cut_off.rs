//! Requests that are being answered when the database turns out to be away.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::problem::Problem;
use crate::replicas::Replicas;
use keystile_model::error::{Code, refuse};

/// How long a request may go on without an answer once this server is alone: connections that are
/// closed for that reason stay open for longer ([`Bounds::linger`](crate::connection::Bounds::linger)).
const GRACE: Duration = Duration::from_secs(3);

/// The answer; or, a while after this server has been cut off from the database, that it is. That holds
/// even if the database is back by then: the request may still wait on a connection that was opened
/// before. `changes` says whether the request may change anything.
pub async fn answered(
    replicas: Option<&Arc<Replicas>>,
    changes: bool,
    answering: impl Future<Output = Response>,
) -> Response {
    let Some(replicas) = replicas else {
        return answering.await;
    };
    tokio::select! {
        biased;
        response = answering => response,
        () = cut_off(replicas.alone()) => {
            let next = match changes {
                true => "look whether the change was made before you try again",
                false => "try again",
            };
            let away = refuse(Code::StoreUnreachable, "the database does not answer", next);
            Problem::from(away).into_response()
        }
    }
}

async fn cut_off(mut alone: watch::Receiver<bool>) {
    if alone.wait_for(|alone| *alone).await.is_err() {
        return std::future::pending().await;
    }
    sleep(GRACE).await;
}
