//! Requests that are being answered when the database turns out to be away.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::connection::sent_away;
use crate::problem::Problem;
use crate::replicas::Replicas;
use keystile_model::error::{Code, refuse};

/// How long a request may go on on a connection that is closed soon because the database is away
/// ([`Bounds::linger`](crate::connection::Bounds::linger) is longer, so that there is an answer).
const GRACE: Duration = Duration::from_secs(2);

/// The answer; or, once this server has been cut off from the database for a while, that it is.
pub async fn answered(
    replicas: Option<&Arc<Replicas>>,
    answering: impl Future<Output = Response>,
) -> Response {
    let Some(replicas) = replicas else {
        return answering.await;
    };
    tokio::select! {
        biased;
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

/// Waits until the connection is about to be closed. That is so even if the database is back by then:
/// the request may still wait for a connection of before.
async fn cut_off(alone: watch::Receiver<bool>) {
    sent_away(&mut Some(alone)).await;
    sleep(GRACE).await;
}
