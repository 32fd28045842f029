//! Disabling, enabling and revoking a key.

use axum::extract::Path;
use axum::response::Response;
use keystile_api::encoded;
use keystile_api::key::{Disable, Enable, Revoke};
use keystile_model::error::Result;
use keystile_server::problem::Problem;
use keystile_system as system;

use super::super::context::{PageContext, SubmittedForm};
use super::super::form::unconfirmed;
use super::{again, id};

/// Disables it.
pub async fn disable(
    Path(text): Path<String>,
    SubmittedForm { cx, .. }: SubmittedForm,
) -> Response {
    let began = system::nanoseconds();
    let done = match id(&text) {
        Ok(id) => cx.run(Disable { id }).await,
        Err(problem) => Err(problem),
    };
    after(&cx, &text, done.map(drop), "disabled", began).await
}

/// Enables it, if it is as the page showed it.
pub async fn enable(
    Path(text): Path<String>,
    SubmittedForm { cx, form }: SubmittedForm,
) -> Response {
    let began = system::nanoseconds();
    let done = match id(&text) {
        Ok(id) => cx.unchanged(Enable { id }, &form).await,
        Err(problem) => Err(problem),
    };
    match done {
        Err(problem) if problem.status == 412 => {
            again(&cx, &text, &form.with("do", "enable"), problem).await
        }
        done => after(&cx, &text, done.map(drop), "enabled", began).await,
    }
}

async fn after(
    cx: &PageContext,
    text: &str,
    done: Result<(), Problem>,
    word: &str,
    began: u64,
) -> Response {
    match done {
        Ok(()) => {
            let target = format!("/console/keys/{}", encoded(text));
            cx.go_proven(&target, word, began).await
        }
        Err(problem) => cx.shown(Err(problem)),
    }
}

/// Revokes it permanently, if its id was typed.
pub async fn revoke(
    Path(text): Path<String>,
    SubmittedForm { cx, form }: SubmittedForm,
) -> Response {
    let form = form.with("do", "revoke");
    let id = match id(&text) {
        Ok(id) => id,
        Err(problem) => return cx.shown(Err(problem)),
    };
    if form.text("confirm") != id.0.to_string() {
        let e = unconfirmed(&id.0.to_string(), "type the id of the key");
        return again(&cx, &text, &form, e.into()).await;
    }
    let reason = form.text("reason").to_owned();
    let began = system::nanoseconds();
    match cx.run(Revoke { id, reason }).await {
        Ok(_) => after(&cx, &text, Ok(()), "revoked", began).await,
        Err(problem) => again(&cx, &text, &form, problem).await,
    }
}
