//! Sign-in with OpenID Connect: the authorization code flow with PKCE. The provider says who a
//! person is, and our rules say which role they get.
//!
//! * [`flow`]: what binds an answer to the browser that asked; [`provider`]: the other side;
//! * [`id_token`]: the other side's statements, verified; [`roles`]: the roles that follow from
//!   them.
//!
//! Such a session ends like any other. Roles are determined at sign-in: a person who loses a group
//! at the provider keeps their role here until the session ends.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use keystile_core::key::KeyId;
use maud::html;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::context::{RequestSource, seconds};
use super::form::Form;
use super::page::{self, mark, see_other};
use super::session::{Visitor, Who};
use super::{Console, sign_in};
use keystile_model::caller::Grant;
use keystile_model::error::{Code, Error, Kind, Result, refuse};
use keystile_model::wire::Secret;
use keystile_model::world::World;
use keystile_server::auth::{self, Person};
use keystile_server::problem::Problem;
use keystile_system as system;

mod client;
pub mod flow;
pub mod id_token;
pub mod provider;
pub mod roles;
mod settings;

pub use client::Oidc;
use flow::Flow;
use provider::Provider;
use roles::Claims;
pub use settings::{BEGIN, SignInSettings, checked, checked_console};

/// What failed sign-ins through the provider are counted by, in place of a token's id.
const SIGN_INS: u64 = u64::MAX - 1;
/// What the audit log calls it.
const ACTION: &str = "console.sign_in";

/// Sends somebody to the provider.
pub async fn begin(State(console): State<Console>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let source = match RequestSource::from_head(&head) {
        Ok(source) => source,
        Err(problem) => return page::failure(&problem),
    };
    let query = Form::read(head.uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
    match set_out(&console, &source, &query).await {
        Ok(response) => response,
        Err(problem) => sign_in::signing_in(&console, &query, Some(&problem)),
    }
}

async fn set_out(
    console: &Console,
    source: &RequestSource,
    query: &Form,
) -> Result<Response, Problem> {
    let oidc = console.oidc().ok_or_else(unknown)?;
    let ours = &oidc.settings().console;
    if source.origin().to_ascii_lowercase() != *ours {
        // The provider sends people back there, and the cookie would be left here.
        return Err(refuse(
            Code::SettingInvalid,
            format_args!("this page was opened at `{}`", source.origin()),
            format_args!("open `{ours}/console`: sign-in returns there"),
        )
        .into());
    }
    let entropy = system::of_stranger(source.address, &source.request).entropy;
    let flow = oidc.flows.begin(sign_in::next(query), seconds(), entropy)?;
    let cookie = source.flow_cookie(Some(flow.cookie()), flow::LIFETIME);
    let at = system::instant();
    let address = oidc
        .ask(move |provider| provider.address(&flow, at))
        .await?;
    let mut response = see_other(&address);
    set(&mut response, cookie);
    Ok(response)
}

/// Takes somebody back from the provider.
pub async fn callback(State(console): State<Console>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let source = match RequestSource::from_head(&head) {
        Ok(source) => source,
        Err(problem) => return page::failure(&problem),
    };
    let cookie = source.shown(&head.headers, source.flow_name());
    let query = head.uri.query().unwrap_or_default();
    let mut response = match come_back(&console, &source, cookie, query).await {
        Ok(response) => response,
        Err(problem) => sign_in::signing_in(&console, &Form::default(), Some(&problem)),
    };
    // Whatever the result, this flow is used up.
    set(&mut response, source.flow_cookie(None, 0));
    response
}

async fn come_back(
    console: &Console,
    source: &RequestSource,
    cookie: Option<&str>,
    query: &str,
) -> Result<Response, Problem> {
    let oidc = console.oidc().ok_or_else(unknown)?;
    let stranger = system::of_stranger(source.address, &source.request);
    let entropy = stranger.entropy;
    let now = stranger.now.seconds();
    // Any page of any site can make a browser request this URL: without a sign-in that this browser
    // began, it has no cost.
    let (flow, query) = begun(oidc, cookie, query)?;
    let (claims, next) = match believed(oidc, flow, &query, now).await {
        Ok(believed) => believed,
        Err(e) => return Err(turned_away(console, source, stranger, e).await),
    };
    let person = match known(oidc, &claims) {
        Ok(person) => person,
        Err((name, e)) => {
            let grant = Grant::nothing();
            let world = system::of_person(&name, grant, source.address, &source.request);
            return Err(turned_away(console, source, world, e).await);
        }
    };
    let world = system::of_person(
        &person.name,
        person.grant.clone(),
        source.address,
        &source.request,
    );
    let after = json!({ "role": person.grant.role, "issuer": oidc.settings().issuer });
    let subject = person.name.clone();
    let pool = console.app().pool();
    pool.write(move |store| {
        store.write(&world, |tx| {
            tx.audit(&world, ACTION, &subject, None, Some(&after))
        })
    })
    .await?;
    let visitor = Visitor {
        user: person.name.clone(),
        who: Who::Person(Arc::new(person)),
        address: source.address,
    };
    let session = console.sessions().begin(visitor, entropy).await?;
    let mut response = welcome(console, &next);
    source.set_cookie(Some(&session), &mut response);
    Ok(response)
}

/// The sign-in that this browser began and returns from, with the query that it brings back.
fn begun(oidc: &Oidc, cookie: Option<&str>, query: &str) -> Result<(Flow, Form)> {
    let query = Form::read(query.as_bytes())?;
    for name in ["code", "state", "error", "iss"] {
        if query.all(name).len() > 1 {
            return Err(not_begun());
        }
    }
    let flow = oidc
        .flows
        .end(cookie.unwrap_or_default(), query.text("state"), seconds())
        .ok_or_else(not_begun)?;
    Ok((flow, query))
}

/// The provider's verified statements about the person, and the page that they wanted.
async fn believed(oidc: &Oidc, flow: Flow, query: &Form, now: u64) -> Result<(Claims, String)> {
    // An answer from another provider (RFC 9207) is ignored.
    if query
        .given("iss")
        .is_some_and(|iss| iss != oidc.settings().issuer)
    {
        return Err(not_begun());
    }
    if let Some(word) = query.given("error") {
        let word = Some(word).filter(|word| provider::is_word(word));
        return Err(provider::not_taken(word.unwrap_or("error")));
    }
    let code = query.secret("code").ok_or_else(not_begun)?;
    let next = flow.next.clone();
    let claims = oidc
        .ask(move |provider| exchanged(provider, &code, &flow, now))
        .await?;
    Ok((claims, next))
}

fn exchanged(provider: &Provider, code: &Secret, flow: &Flow, now: u64) -> Result<Claims> {
    provider.exchange(code.expose_secret(), flow, now, system::instant())
}

/// Characters of a subject that stay as they are in the audit log. Everything except letters, digits
/// and these is percent-encoded, so that one part of a name cannot be taken for another: a subject
/// without `@` and brackets is not an email address.
const SUBJECT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'|')
    .remove(b':');
const EMAIL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'+')
    .remove(b'@');

/// A person's name in the audit log, and their display name.
fn names(claims: &Claims) -> (String, String) {
    let subject = claims.get("sub").and_then(|v| v.as_str());
    let subject = utf8_percent_encode(subject.unwrap_or_default(), SUBJECT).to_string();
    match roles::email(claims).map(|email| utf8_percent_encode(email, EMAIL).to_string()) {
        Some(email) => (format!("oidc:{subject} ({email})"), email),
        None => (format!("oidc:{subject}"), subject),
    }
}

/// The person and their role; or their name, if they have no role.
fn known(oidc: &Oidc, claims: &Claims) -> Result<Person, (String, Error)> {
    let subject = claims
        .get("sub")
        .and_then(|v| v.as_str())
        .unwrap_or_default();
    let (name, called) = names(claims);
    let Some(role) = roles::role(&oidc.settings().rules, claims) else {
        let e = refuse(
            Code::SignInNotMapped,
            format_args!(
                "{} knows you as `{called}`, but nothing that it says about you is mapped to a role here",
                oidc.settings().name()
            ),
            "ask the operator of this server for a rule (`--oidc-role`), or sign in with a token",
        );
        return Err((name, e.with_kind(Kind::Forbidden)));
    };
    let grant = Grant {
        id: id(&oidc.settings().issuer, subject),
        name: called,
        role,
        ..Grant::nothing()
    };
    Ok(Person { name, grant })
}

/// Identifies people, as distinct from tokens, in rate limits.
fn id(issuer: &str, subject: &str) -> KeyId {
    let digest = Sha256::new()
        .chain_update(b"keystile oidc\0")
        .chain_update(issuer)
        .chain_update([0])
        .chain_update(subject)
        .finalize();
    let number = digest.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b));
    KeyId::from_u64(number % 62_u64.pow(10)).unwrap_or(Grant::nothing().id)
}

/// The last step is a page of ours: after a redirect from another site, browsers do not send a
/// strict cookie.
fn welcome(console: &Console, next: &str) -> Response {
    let body = html! {
        main.door {
            div.brand { (mark()) "Keystile" }
            div.card {
                h1 { "Signed in" }
                p { a.button href=(next) { "Continue" } }
            }
        }
    };
    page::onward("Signed in", &console.0.version, body, next).into_response()
}

fn unknown() -> Problem {
    let e = refuse(
        Code::SignInNotSetUp,
        "sign-in with an identity provider is not set up here",
        "sign in with a token",
    );
    e.with_kind(Kind::NotFound).into()
}

fn not_begun() -> Error {
    refuse(
        Code::SignInFailed,
        "this sign-in was not started in this browser, was already completed, or took longer than 10 minutes",
        "start again",
    )
}

async fn turned_away(console: &Console, source: &RequestSource, world: World, e: Error) -> Problem {
    let app = console.app();
    // Slowed down, but without affecting others who return from the provider.
    if e.kind() != Kind::Unavailable
        && let Err(problem) = auth::failed(app, source.address, SIGN_INS).await
    {
        return problem;
    }
    let problem = Problem::from(e);
    auth::write_down(app, world, ACTION, "", &problem.detail).await;
    problem
}

fn set(response: &mut Response, cookie: axum::http::HeaderValue) {
    let name = axum::http::header::SET_COOKIE;
    response.headers_mut().append(name, cookie);
}

#[cfg(test)]
mod tests;
