//! Sign in and out, and invitations.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use keystile_core::key::KeyId;
use maud::{Markup, html};
use zeroize::Zeroizing;

use super::brand;
use super::context::{PageContext, RequestSource, SubmittedForm};
use super::form::Form;
use super::page::{self, FormState};
use super::session::{Visitor, Who};
use super::widgets::{self, field};
use super::{Console, oidc, page::see_other};
use keystile_api as operation;
use keystile_model::wire::Secret;
use keystile_registry::token;
use keystile_server::auth;
use keystile_server::body::whole;
use keystile_server::problem::Problem;
use keystile_system as system;

/// A token and where it leads are short.
const FORM: usize = 16 << 10;

/// The way back: one of our own pages, whatever the URL says.
pub fn next(form: &Form) -> &str {
    let ours = |t: &&str| {
        t.strip_prefix("/console").is_some_and(|rest| {
            rest.starts_with(['/', '?'])
                && !rest.starts_with("/sign-")
                && !rest.starts_with("/oidc")
                && rest.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
        })
    };
    form.given("next").filter(ours).unwrap_or("/console")
}

/// The form to sign in.
pub async fn show(State(console): State<Console>, request: Request) -> Response {
    let form = Form::read(request.uri().query().unwrap_or_default().as_bytes());
    signing_in(&console, &form.unwrap_or_default(), None)
}

/// The form to sign in, and what went wrong before.
pub fn signing_in(console: &Console, form: &Form, problem: Option<&Problem>) -> Response {
    let messages: Vec<String> = problem.map(page::messages).unwrap_or_default();
    let next = next(form);
    let body = html! {
        main.door {
            div.brand { (console.brand().mark()) }
            form.card method="post" action="/console/sign-in" {
                h1 { "Sign in" }
                @if !messages.is_empty() { (widgets::alert("Sign-in failed.", &messages)) }
                @if next != "/console" { input type="hidden" name="next" value=(next); }
                div.field {
                    label for="f-token" { "Token" }
                    input #f-token name="token" type="password" required autocomplete="current-password"
                        spellcheck="false" autofocus placeholder="kst_…" aria-describedby="f-token-hint";
                    p.soft #f-token-hint {
                        "An owner creates one with " code { "keystilectl token create" } " or under Tokens in this console."
                    }
                }
                button type="submit" { "Sign in" }
                @if let Some(oidc) = console.oidc() {
                    p.or { "or" }
                    a.button.quiet href=(over(next)) { "Sign in with " (oidc.settings().name()) }
                }
            }
            p.soft { a href="/console/invitation" { "I have an invitation" } }
        }
    };
    let status = problem.and_then(|p| StatusCode::from_u16(p.status).ok());
    let page = brand::document(console.brand(), "Sign in", &console.0.version, body);
    (status.unwrap_or(StatusCode::OK), page).into_response()
}

/// The URL that starts sign-in at the identity provider and leads on to a page.
fn over(next: &str) -> String {
    match next {
        "/console" => oidc::BEGIN.to_owned(),
        next => format!("{}?next={}", oidc::BEGIN, operation::encoded(next)),
    }
}

/// The error, worded for a person who pastes a token into a form.
fn plain(problem: Problem) -> Problem {
    match problem.status {
        401 => problem.advising("paste all of it"),
        _ => problem,
    }
}

/// A form from somebody who is not signed in: only its origin is checked.
async fn stranger(request: Request) -> Result<(RequestSource, Form), Response> {
    let (head, body) = request.into_parts();
    let source = RequestSource::from_head(&head).map_err(|p| page::failure(&p))?;
    source
        .is_own(&head.headers)
        .map_err(|p| page::failure(&p))?;
    let body = whole(body, FORM).await.map_err(|p| page::failure(&p))?;
    let form = Form::read(&body).map_err(|e| page::failure(&e.into()))?;
    Ok((source, form))
}

/// Signs in.
pub async fn sign_in(State(console): State<Console>, request: Request) -> Response {
    let (source, form) = match stranger(request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let presented = Ok(Zeroizing::new(form.text("token").to_owned()));
    let identified = auth::identify(
        console.app(),
        presented,
        source.address,
        &source.request,
        "console.sign_in",
    )
    .await;
    let asker = match identified {
        Ok(asker) => asker,
        Err(problem) => {
            let form = form.without("token");
            return signing_in(&console, &form, Some(&plain(problem)));
        }
    };
    let world = asker.world();
    let visitor = visitor(asker.grant.id, &asker.grant.name, &source);
    match console.sessions().begin(visitor, world.entropy).await {
        Ok(session) => {
            source.presence.recognise();
            let mut response = see_other(next(&form));
            source.set_cookie(Some(&session), &mut response);
            response
        }
        Err(e) => page::failure(&e.into()),
    }
}

fn visitor(token: KeyId, name: &str, source: &RequestSource) -> Visitor {
    Visitor {
        who: Who::Token(token),
        user: format!("token {name} ({token})"),
        address: source.address,
    }
}

/// Signs out.
pub async fn sign_out(State(console): State<Console>, request: Request) -> Response {
    use axum::extract::FromRequest as _;
    let (head, body) = request.into_parts();
    let source = RequestSource::from_head(&head);
    let request = Request::from_parts(head, body);
    let SubmittedForm { cx, .. } = match SubmittedForm::from_request(request, &console).await {
        Ok(sent) => sent,
        Err(response) => return response,
    };
    if let Err(e) = console.sessions().end(cx.session()).await {
        return page::failure(&e.into());
    }
    let mut response = see_other("/console/sign-in");
    if let Ok(source) = source {
        source.set_cookie(None, &mut response);
    }
    cx.tagged(response)
}

/// The form to accept an invitation. The code is after the `#` of the link, which browsers do not
/// send; the page's script moves it into the form.
pub async fn invitation(State(console): State<Console>) -> Response {
    inviting(&console, None)
}

fn inviting(console: &Console, problem: Option<&Problem>) -> Response {
    let form = Form::default();
    let draft = FormState::new(&form, problem);
    let body = html! {
        main.door {
            div.brand { (console.brand().mark()) }
            form.card method="post" action="/console/invitation" data-invitation {
                h1 { "Accept an invitation" }
                (draft.summary())
                p { "The code works once. You get a token in exchange; save it, because you sign in with it." }
                (field("code", "Code").kind("password").needed().placeholder("kst_invite_…").line(&draft))
                button type="submit" { "Accept" }
            }
            p.soft { a href="/console/sign-in" { "I have a token" } }
        }
    };
    let status = problem.and_then(|p| StatusCode::from_u16(p.status).ok());
    let page = brand::document(console.brand(), "Invitation", &console.0.version, body);
    (status.unwrap_or(StatusCode::OK), page).into_response()
}

/// Exchanges an invitation for a token, shows it once, and signs in.
pub async fn accept(State(console): State<Console>, request: Request) -> Response {
    let (source, form) = match stranger(request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let app = console.app();
    let world = system::of_stranger(source.address, &source.request);
    let code = Secret::new(form.text("code"));
    let prefix = auth::prefix(code.expose_secret());
    let accepted = app
        .pool()
        .write(move |store| token::accept(store, &world, code.expose_secret()))
        .await;
    let (text, record) = match accepted {
        Ok(accepted) => accepted,
        Err(e) => {
            if let Err(problem) = auth::failed(app, source.address, prefix).await {
                return inviting(&console, Some(&problem));
            }
            let problem = Problem::from(e);
            let world = system::of_stranger(source.address, &source.request);
            auth::write_down(app, world, "token.accept", "", &problem.detail).await;
            return inviting(&console, Some(&problem));
        }
    };
    let entropy = system::of_stranger(source.address, &source.request).entropy;
    let visitor = visitor(record.grant.id, &record.grant.name, &source);
    let session = console.sessions().begin(visitor, entropy).await;
    let body: Markup = html! {
        main.door {
            div.brand { (console.brand().mark()) }
            div.card {
                h1 { "Welcome" }
                p { "This is your token. Use it to sign in here, and as " code { "KEYSTILE_TOKEN" } "." }
                (widgets::secret(text.expose_secret(), "Your token"))
                p { a.button href="/console" { "I have saved it: continue" } }
            }
        }
    };
    let mut response =
        brand::document(console.brand(), "Welcome", &console.0.version, body).into_response();
    match session {
        Ok(session) => source.set_cookie(Some(&session), &mut response),
        // They have the token, and can sign in with it.
        Err(e) => tracing::warn!(error = %e, "no session could be started after an invitation"),
    }
    response
}

/// Whether somebody is signed in as a client.
pub fn is_client(cx: &PageContext) -> bool {
    cx.role() == keystile_model::caller::Role::Client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_signing_in_one_lands_on_a_page_of_ours() {
        let to = |text: &str| next(&Form::default().with("next", text)).to_owned();
        assert_eq!(to("/console/keys?client=acme"), "/console/keys?client=acme");
        assert_eq!(to("/console?x=1"), "/console?x=1");
        for bad in [
            "",
            "https://evil.example",
            "//evil.example",
            "/console.evil.example",
            "/consolex",
            "/v1/keys",
            "/console/sign-out",
            "/console/oidc?next=/console",
            "/console/a\\b",
            "/console/a\r\nb",
        ] {
            assert_eq!(to(bad), "/console", "{bad:?}");
        }
    }
}
