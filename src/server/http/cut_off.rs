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

/// How long the database may be away before a request is answered without it: less than connections
/// stay open, so that there is an answer.
const GRACE: Duration = Duration::from_secs(3);

/// The answer; or, once this server has been cut off from the database for a while, that it is.
pub async fn answered(
    replicas: Option<&Arc<Replicas>>,
    answering: impl Future<Output = Response>,
) -> Response {
    let Some(replicas) = replicas else {
        return answering.await;
    };
    tokio::select! {
        response = answering => response,
        () = cut_off(replicas.alone()) => {
            let away = refuse(
                Code::StoreUnreachable,
                "the database does not answer",
                "look whether the change was made before you try again",
            );
            Problem::from(away).into_response()
        }
    }
}

/// Waits until it has been for so long.
async fn cut_off(mut alone: watch::Receiver<bool>) {
    while alone.wait_for(|alone| *alone).await.is_ok() {
        sleep(GRACE).await;
        if *alone.borrow() {
            return;
        }
    }
    std::future::pending().await
}
