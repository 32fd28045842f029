//! Sign-in with OpenID Connect: the authorization code flow with PKCE. The provider says
//! who somebody is, and rules of ours say which role he has for it.
//!
//! * [`flow`]: what binds an answer to the browser that asked; [`provider`]: the other side;
//! * [`id_token`]: what the other side says, checked; [`roles`]: what it is good for.
//!
//! A session begun so ends like every other. What a person is given is looked at when he
//! signs in: who loses a group at the provider keeps his role here until the session ends.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use keystile_core::key::KeyId;
use maud::html;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::form::Form;
use super::page::{self, mark, see_other};
use super::session::{Visitor, Who};
use super::visit::{Source, seconds};
use super::{Console, door};
use keystile_model::caller::Grant;
use keystile_model::error::{Code, Error, Kind, Result, refuse};
use keystile_model::wire::Secret;
use keystile_model::world::World;
use keystile_server::auth::{self, Person};
use keystile_server::problem::Problem;
use keystile_system as system;

pub mod flow;
pub mod id_token;
pub mod provider;
pub mod roles;

use flow::{Flow, Flows};
use provider::Provider;
use roles::{Claims, Rule};

/// Where the provider sends people back to.
const BACK: &str = "/console/oidc/callback";
/// Where they set out.
pub const BEGIN: &str = "/console/oidc";
/// Answers of the provider waited for at once: each holds a thread.
const AT_ONCE: usize = 16;
/// What failed ways over the provider are counted by, in the place of a token's id.
const SIGN_INS: u64 = u64::MAX - 1;
/// What the audit log calls it.
const ACTION: &str = "console.sign_in";

/// How sign-in is set up.
#[derive(Clone)]
pub struct Settings {
    /// The provider, exactly as it calls itself.
    pub issuer: String,
    /// Our id there.
    pub client: String,
    /// Our secret there; none for a public client.
    pub secret: Option<Secret>,
    /// `https://keystile.example.com`: how browsers call us.
    pub console: String,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Who has which role.
    pub rules: Vec<Rule>,
    /// Authorities to trust in place of those that everybody trusts.
    pub ca: Option<PathBuf>,
    /// Hosts beside the issuer's own that its document may name.
    pub hosts: Vec<String>,
}

impl Settings {
    /// Where the provider sends people back to, as it has to be registered there.
    pub fn redirect(&self) -> String {
        format!("{}{BACK}", self.console)
    }

    fn scopes(&self) -> String {
        let asked = self.scopes.iter().filter(|s| *s != "openid");
        asked.fold("openid".to_owned(), |all, s| format!("{all} {s}"))
    }

    /// An address that the provider's document names: on the issuer's own host, or on one that
    /// the operator listed. Codes and our secret are sent there.
    ///
    /// # Errors
    /// It is somewhere else, or not over TLS although the issuer is.
    pub fn checked_endpoint(&self, field: &str, address: &str) -> Result<()> {
        let address = checked(address)?;
        let parsed = |text: &str| text.parse::<Uri>().unwrap_or_default();
        let (issuer, named) = (parsed(&self.issuer), parsed(&address));
        let host = named.host().unwrap_or_default();
        let listed = self.hosts.iter().map(String::as_str).chain(issuer.host());
        if !listed.into_iter().any(|h| h.eq_ignore_ascii_case(host)) {
            return Err(refuse(
                Code::SettingInvalid,
                format_args!("`{field}` is on `{host}`, which is not the issuer's host"),
                format_args!(
                    "if that host is the provider's, start the server with `--oidc-host {host}`"
                ),
            ));
        }
        if named.scheme_str() != Some("https") && issuer.scheme_str() == Some("https") {
            return Err(refuse(
                Code::SettingInvalid,
                format_args!("`{field}` does not use TLS although the issuer does"),
                "tell the people who run the identity provider",
            ));
        }
        Ok(())
    }

    /// The provider's host: what the button says.
    pub fn name(&self) -> String {
        let issuer: Option<Uri> = self.issuer.parse().ok();
        let host = issuer.as_ref().and_then(Uri::host);
        host.unwrap_or(&self.issuer).to_owned()
    }
}

/// An address over TLS, or on this machine.
///
/// # Errors
/// It is something else.
pub fn checked(address: &str) -> Result<String> {
    let wrong = || {
        refuse(
            Code::InvalidAddress,
            format_args!("`{address}` is no address over TLS"),
            "write it as `https://host/path`; `http://` is for providers on this machine",
        )
    };
    let parsed: Uri = address.parse().map_err(|_| wrong())?;
    let host = parsed.host().unwrap_or_default();
    let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let safe = match parsed.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => here,
        _ => false,
    };
    let plain = address.bytes().all(|b| b.is_ascii_graphic()) && !address.contains(['@', '#']);
    if !safe || !plain {
        return Err(wrong());
    }
    Ok(address.to_owned())
}

/// How browsers call us: an address without a path.
///
/// # Errors
/// It is something else.
pub fn checked_console(address: &str) -> Result<String> {
    let origin = checked(address)?;
    let origin = origin.strip_suffix('/').unwrap_or(&origin);
    if origin.matches('/').count() != 2 || origin.contains('?') {
        return Err(refuse(
            Code::InvalidAddress,
            format_args!("`{address}` has a path"),
            "write `https://host` or `https://host:port`: the console is at `/console` of it",
        ));
    }
    Ok(origin.to_ascii_lowercase())
}

/// The way in over a provider.
pub struct Oidc {
    provider: Arc<Provider>,
    flows: Flows,
    turns: Arc<Semaphore>,
}

impl Oidc {
    /// As it is set up.
    ///
    /// # Errors
    /// If the file of authorities holds none, or the system gives no randomness.
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            provider: Arc::new(Provider::new(settings)?),
            flows: Flows::new(system::of_server().entropy)?,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// How it is set up.
    pub fn settings(&self) -> &Settings {
        self.provider.settings()
    }

    /// Asks the provider, where waiting holds up nobody.
    async fn ask<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Provider) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let busy = || {
            refuse(
                Code::ServerBusy,
                "too many people sign in at once",
                "try again in a moment",
            )
        };
        let turn = Arc::clone(&self.turns);
        let turn = turn.try_acquire_owned().map_err(|_| busy())?;
        let provider = Arc::clone(&self.provider);
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            f(&provider)
        });
        asked.await.map_err(|_| busy())?
    }
}

/// Sends somebody to the provider.
pub async fn begin(State(console): State<Console>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let source = match Source::of(&head) {
        Ok(source) => source,
        Err(problem) => return page::failure(&problem),
    };
    let query = Form::read(head.uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
    match set_out(&console, &source, &query).await {
        Ok(response) => response,
        Err(problem) => door::signing_in(&console, &query, Some(&problem)),
    }
}

async fn set_out(console: &Console, source: &Source, query: &Form) -> Result<Response, Problem> {
    let oidc = console.oidc().ok_or_else(unknown)?;
    let ours = &oidc.settings().console;
    if source.origin().to_ascii_lowercase() != *ours {
        // The provider sends people back there, and the cookie would be left here.
        return Err(refuse(
            Code::SettingInvalid,
            format_args!("this page was opened at `{}`", source.origin()),
            format_args!("open `{ours}/console`: sign-in leads back there"),
        )
        .into());
    }
    let entropy = system::of_stranger(source.address, &source.request).entropy;
    let flow = oidc.flows.begin(door::next(query), seconds(), entropy)?;
    let cookie = source.flow_cookie(Some(flow.cookie()), flow::LIFETIME);
    let address = oidc.ask(move |provider| provider.address(&flow)).await?;
    let mut response = see_other(&address);
    set(&mut response, cookie);
    Ok(response)
}

/// Takes somebody back from the provider.
pub async fn callback(State(console): State<Console>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let source = match Source::of(&head) {
        Ok(source) => source,
        Err(problem) => return page::failure(&problem),
    };
    let cookie = source.shown(&head.headers, source.flow_name());
    let query = head.uri.query().unwrap_or_default();
    let mut response = match come_back(&console, &source, cookie, query).await {
        Ok(response) => response,
        Err(problem) => door::signing_in(&console, &Form::default(), Some(&problem)),
    };
    // Whatever came of it, this way was gone.
    set(&mut response, source.flow_cookie(None, 0));
    response
}

async fn come_back(
    console: &Console,
    source: &Source,
    cookie: Option<&str>,
    query: &str,
) -> Result<Response, Problem> {
    let oidc = console.oidc().ok_or_else(unknown)?;
    let stranger = system::of_stranger(source.address, &source.request);
    let entropy = stranger.entropy;
    let now = stranger.now.seconds();
    // Any page of any site can have a browser ask for this address: without a sign-in that
    // this browser began, it costs nobody anything.
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
    let desk = console.app().desk();
    desk.write(move |store| {
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
    let session = console.sessions().begin(visitor, seconds(), entropy)?;
    let mut response = welcome(console, &next);
    source.set_cookie(Some(&session), &mut response);
    Ok(response)
}

/// The sign-in that this browser began and comes back from, and what comes back with it.
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

/// What the provider says of who comes back, and where he wanted to go.
async fn believed(oidc: &Oidc, flow: Flow, query: &Form, now: u64) -> Result<(Claims, String)> {
    // Who speaks for another provider (RFC 9207) is not listened to.
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
    provider.exchange(code.expose_secret(), flow, now)
}

/// What a provider says, so that one part of a name in the audit log cannot be taken for
/// another: a subject without `@` and brackets is nobody's address. All but letters, digits and
/// `plain` stands in percent signs.
fn unmistakable(text: &str, plain: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match char::from(byte) {
            c if c.is_ascii_alphanumeric() || plain.contains(c) => out.push(c),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// How the audit log names somebody, and how they are called here.
fn names(claims: &Claims) -> (String, String) {
    let subject = claims.get("sub").and_then(|v| v.as_str());
    let subject = unmistakable(subject.unwrap_or_default(), "-._~|:");
    match roles::email(claims).map(|email| unmistakable(email, "-._~+@")) {
        Some(email) => (format!("oidc:{subject} ({email})"), email),
        None => (format!("oidc:{subject}"), subject),
    }
}

/// Who it is, and what he may here; or how he is called, and that he may nothing.
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
                "you are known at {} as `{called}`, and nothing that it says of you is mapped to a role here",
                oidc.settings().name()
            ),
            "ask who runs this server for a rule (`--oidc-role`), or sign in with a token",
        );
        return Err((name, e.of(Kind::Forbidden)));
    };
    let grant = Grant {
        id: id(&oidc.settings().issuer, subject),
        name: called,
        role,
        ..Grant::nothing()
    };
    Ok(Person { name, grant })
}

/// Tells people apart, and from tokens, in what is counted for each.
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

/// The last step is taken by a page of ours: after a way over another site, browsers do
/// not show a strict cookie to where they are redirected.
fn welcome(console: &Console, next: &str) -> Response {
    let body = html! {
        main.door {
            div.brand { (mark()) "Keystile" }
            div.card {
                h1 { "Signed in" }
                p { a.button href=(next) { "Go on" } }
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
    e.of(Kind::NotFound).into()
}

fn not_begun() -> Error {
    refuse(
        Code::SignInFailed,
        "this sign-in was not begun in this browser, was ended already, or took longer than 10 minutes",
        "begin again",
    )
}

async fn turned_away(console: &Console, source: &Source, world: World, e: Error) -> Problem {
    let app = console.app();
    // Slowed, and nobody else with it: whoever comes back from the provider next is heard.
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
mod tests {
    use super::*;

    #[test]
    fn addresses_are_over_tls_or_on_this_machine() {
        for good in [
            "https://id.example.com",
            "https://id.example.com/realms/a?b=c",
            "http://localhost:8081/realms/a",
            "http://127.0.0.1:1",
        ] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example.com",
            "http://localhost.example.com",
            "https://a@b.example.com",
            "https://",
            "id.example.com",
            "javascript:alert(1)",
            "https://a.example.com/#b",
            "https://a.example.com/ b",
            "",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
        let console = |text: &str| checked_console(text).ok();
        assert_eq!(
            console("https://Keystile.example.com:8443/").as_deref(),
            Some("https://keystile.example.com:8443")
        );
        for bad in [
            "https://a.example.com/console",
            "https://a.example.com?x",
            "http://a.b",
        ] {
            assert_eq!(console(bad), None, "{bad}");
        }
    }

    #[test]
    fn people_are_told_apart_by_provider_and_subject() {
        let a = id("https://a.example", "1");
        assert_eq!(a, id("https://a.example", "1"));
        assert_ne!(a, id("https://a.example", "2"));
        assert_ne!(a, id("https://b.example", "1"));
        assert_ne!(id("https://a.example", "1"), id("https://a.example1", ""));
    }

    #[test]
    fn a_subject_cannot_be_made_to_look_like_an_address_that_was_verified() {
        let named = |claims: serde_json::Value| names(claims.as_object().unwrap()).0;
        let email = "boss@example.com";
        let known = named(json!({"sub": "u-1", "email": email, "email_verified": true}));
        assert_eq!(known, "oidc:u-1 (boss@example.com)");
        for forged in [
            "u-1 (boss@example.com)",
            "boss@example.com",
            "u-1\u{a0}(boss@example.com)",
        ] {
            for claims in [
                json!({"sub": forged}),
                json!({"sub": forged, "email": email}),
                json!({"sub": forged, "email": email, "email_verified": false}),
            ] {
                let name = named(claims);
                assert!(!name.contains('@') && !name.contains('('), "{name}");
            }
        }
        // Nor can an address that the provider lets anybody choose.
        let crooked = "x) (boss@example.com";
        let crooked = named(json!({"sub": "u-2", "email": crooked, "email_verified": true}));
        assert_eq!(crooked, "oidc:u-2 (x%29%20%28boss@example.com)");
        assert_eq!(named(json!({"sub": "auth0|5f7c"})), "oidc:auth0|5f7c");
    }
}
