//! The list of console sessions, and ending one.

use axum::extract::Path;
use axum::response::Response;
use maud::html;

use super::book::Book;
use super::context::{PageContext, SubmittedForm};
use super::page::{Page, Section};
use super::session::Sessions;
use super::widgets;
use keystile_api::Operation as _;
use keystile_api::Pace;
use keystile_api::session::{self, End, List, SessionView};
use keystile_model::error::Result;
use keystile_model::world::World;
use keystile_server::problem::Problem;

/// All requests.
pub async fn list(cx: PageContext) -> Response {
    let page = page(&cx).await;
    cx.shown(page)
}

async fn page(cx: &PageContext) -> Result<Page, Problem> {
    // The data come from the server itself, but the role has to be checked.
    cx.with::<List, _>("", |_, _| Ok(())).await?;
    let all = cx.sessions().all(cx.now).await?;
    let own = Sessions::public_id(cx.session());
    let row = |s: &SessionView| {
        vec![
            html! { (s.user) },
            html! { (s.address) },
            widgets::time(s.began.0, cx.now),
            widgets::time(s.last_seen.0, cx.now),
            html! {
                @if s.id == own {
                    span.soft { "yours" }
                } @else if cx.may::<End>() {
                    form method="post" action={ "/console/sessions/" (s.id) "/end" } {
                        (cx.seal())
                        button.quiet.small.danger type="submit" aria-label={ "End the session of " (s.user) } { "End" }
                    }
                }
            },
        ]
    };
    let body = html! {
        (widgets::table(
            "Sessions",
            &["User", "From", "Since", "Last seen", ""],
            all.iter().map(row).collect(),
            "Nobody is signed in.",
        ))
        p.soft { "A person whose session you end can sign in again. To keep them out, revoke their token, or remove their role at the identity provider." }
    };
    Ok(Page::new(Section::Tokens, "Sessions", body).up("/console/tokens", "Tokens"))
}

/// Ends one.
pub async fn end(Path(id): Path<String>, SubmittedForm { cx, .. }: SubmittedForm) -> Response {
    let sessions = cx.shared_sessions();
    let now = cx.now;
    let done = cx
        .with_at::<End, _>(&id.clone(), Pace::Urgent, move |store, world| {
            ended(&sessions, store, world, &id, now)
        })
        .await;
    match done {
        Ok(_) => cx.go("/console/sessions", "session-ended"),
        Err(problem) => cx.shown(Err(problem)),
    }
}

/// Ends a session, and records it in the audit log.
///
/// # Errors
/// If there is none with that id; those of the store. In the latter case the session has ended
/// nevertheless: nobody stays signed in because a disk is full.
pub fn ended(
    sessions: &Book,
    store: &mut keystile_store::Store,
    world: &World,
    id: &str,
    clock: u64,
) -> Result<SessionView> {
    let ended = sessions.end_public(id, clock)?;
    let ended = ended.ok_or_else(|| session::none(id))?;
    let before = serde_json::json!({ "user": ended.user, "address": ended.address });
    store.write(world, |tx| {
        tx.audit(world, End::ENDPOINT.name, id, Some(&before), None)
    })?;
    Ok(ended)
}
