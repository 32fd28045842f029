//! Who is looking: a session, its token and where the request comes from; and how
//! operations are asked for in its name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::Console;
use super::form::Form;
use super::held::{self, SEEN};
use super::page;
use super::session::{SessionId, Sessions, Who};
use keystile_api::{self as operation, Operation, fleet};
use keystile_api::{Begun, Pace};
use keystile_model::caller::Role;
use keystile_model::error::{Code, Error, Kind, Result, defect, refuse};
use keystile_model::world::World;
use keystile_registry::replay::{self, Once};
use keystile_server::auth::{self, Asker};
use keystile_server::body::whole;
use keystile_server::connection::Presence;
use keystile_server::listen::Peer;
use keystile_server::log::{RequestId, TokenId};
use keystile_server::problem::Problem;
use keystile_store::Store;
use keystile_system as system;

/// The largest form: a policy and its fields, encoded.
const FORM: usize = 4 << 20;

/// A page or an action in the name of who is signed in.
pub struct Visit {
    console: Console,
    asker: Asker,
    session: SessionId,
    /// What the forms of its pages carry.
    pub form_token: String,
    /// Fields of the query; the first value of each counts.
    pub query: Form,
    /// `https://keystile.example.com`: how the browser calls us.
    pub origin: String,
    /// Its one instant, in seconds.
    pub now: u64,
}

/// An action: a form that one of our pages made for this session.
pub struct Sent {
    /// Whose.
    pub visit: Visit,
    /// What it says.
    pub form: Form,
}

impl Visit {
    /// What kind of caller it is.
    pub fn role(&self) -> Role {
        self.asker.grant.role
    }

    /// Its token's name, or how the identity provider calls him.
    pub fn name(&self) -> &str {
        &self.asker.grant.name
    }

    /// Its token's id, or how the audit log names who has none.
    pub fn token(&self) -> String {
        self.asker.mark()
    }

    /// The client that it is bound to.
    pub fn client(&self) -> Option<&str> {
        self.asker.grant.client.as_deref()
    }

    /// What it may give to keys; of a client only.
    pub fn ceilings(&self) -> Option<&keystile_model::caller::Ceilings> {
        let bound = self.role() == Role::Client;
        bound.then_some(&self.asker.grant.ceilings)
    }

    /// Of style and script.
    pub fn version(&self) -> &str {
        &self.console.0.version
    }

    /// Its session, to end it.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// The Envoys.
    pub fn fleet(&self) -> keystile_api::fleet::Fleet {
        (self.console.0.envoys.list)()
    }

    /// Forgets an Envoy that is gone for good.
    ///
    /// # Errors
    /// 403 for a role that may not; it is not known, or is connected.
    pub async fn forget(&self, node: &str) -> Result<(), Problem> {
        let route = fleet::Forget::ROUTE;
        let app = self.console.app();
        auth::admit(app, &self.asker, &route).await?;
        let forget = &self.console.0.envoys.forget;
        forget(self.asker.world(), node.to_owned())
            .await
            .map_err(Problem::from)
    }

    /// Who is signed in.
    pub fn sessions(&self) -> &Sessions {
        self.console.sessions()
    }

    /// The same, for a thread of its own.
    pub fn shared_sessions(&self) -> Arc<Sessions> {
        Arc::clone(&self.console.0.sessions)
    }

    /// A word that no form had before.
    pub fn fresh(&self) -> String {
        self.console.app().fresh_id()
    }

    /// Whether its role may ask for an operation.
    pub fn may<O: Operation>(&self) -> bool {
        O::ROUTE.roles.contains(&self.role())
    }

    /// Asks for an operation.
    ///
    /// # Errors
    /// Those of the operation, and 403 for a role that may not.
    pub async fn run<O: Operation>(&self, asked: O) -> Result<O::Output, Problem> {
        self.paced(asked, None).await
    }

    /// Asks for an operation about something that is as its page showed it.
    ///
    /// # Errors
    /// Those of [`Visit::run`], and 412 if it has changed since.
    pub async fn unchanged<O: Operation>(
        &self,
        asked: O,
        form: &Form,
    ) -> Result<O::Output, Problem> {
        self.paced(asked, Some(form.text(SEEN).to_owned())).await
    }

    /// Asks for an operation that is done in parts, if what it is about passes a check before the
    /// first.
    ///
    /// # Errors
    /// Those of [`Visit::run`], and of `check`.
    pub async fn in_parts<O: Operation, C>(
        &self,
        subject: &str,
        asked: &O,
        check: C,
    ) -> Result<O::Output, Problem>
    where
        C: Fn(&mut Store, &World) -> keystile_model::error::Result<()> + Clone + Send + 'static,
    {
        let (kept, begun) = (operation::written(asked), Begun::default());
        let begin = move || {
            let asked: O = operation::read_again(&kept)?;
            let (check, begun) = (check.clone(), begun.clone());
            Ok(move |store: &mut Store, world: &World| {
                begun.unless(|| check(store, world))?;
                asked.run(store, world)
            })
        };
        self.with_pace::<O, _, _>(subject, asked.pace(), true, begin)
            .await
    }

    /// In the order that the operation asks for; what may be begun again is read again.
    async fn paced<O: Operation>(
        &self,
        asked: O,
        seen: Option<String>,
    ) -> Result<O::Output, Problem> {
        let pace = asked.pace();
        let again = pace != Pace::Usual;
        let kept = again.then(|| operation::written(&asked));
        let begun = Begun::default();
        let mut first = Some(asked);
        let begin = move || {
            let asked = match (first.take(), &kept) {
                (Some(asked), _) => asked,
                (None, Some(kept)) => operation::read_again(kept)?,
                (None, None) => return Err(begun_twice()),
            };
            let (seen, begun) = (seen.clone(), begun.clone());
            Ok(move |store: &mut Store, world: &World| {
                let Some(seen) = seen else {
                    asked.check_size()?;
                    return asked.run(store, world);
                };
                if pace == Pace::Parts {
                    begun.unless(|| is_as_seen(&asked, &seen, store, world))?;
                    return asked.run(store, world);
                }
                store.together(|store| {
                    is_as_seen(&asked, &seen, store, world)?;
                    asked.check_size()?;
                    asked.run(store, world)
                })
            })
        };
        self.with_pace::<O, _, _>("", pace, true, begin).await
    }

    /// Asks for an operation that makes something, once for each form: a page that is
    /// loaded again makes nothing a second time. `None` if it was made before.
    ///
    /// # Errors
    /// Those of [`Visit::run`].
    pub async fn once<O: Operation>(
        &self,
        asked: O,
        form: &Form,
    ) -> Result<Option<O::Output>, Problem> {
        let nonce = format!("console-{}", form.text("nonce"));
        let request: [u8; 32] = Sha256::new()
            .chain_update(O::ROUTE.name)
            .chain_update(form.digest())
            .finalize()
            .into();
        let seen = form.given(SEEN).map(str::to_owned);
        self.with::<O, _>("", move |store, world| {
            asked.check_size()?;
            let run = |store: &mut Store| {
                if O::ROUTE.etag {
                    is_as_seen(&asked, seen.as_deref().unwrap_or_default(), store, world)?;
                }
                asked.run(store, world)
            };
            // That it was done is all that is remembered: no secret could slip in.
            let remember = |_: &O::Output| (201, serde_json::json!({}));
            Ok(
                match replay::once(store, world, &nonce, request, run, remember)? {
                    Once::Done(done) => Some(done),
                    Once::Before(_) => None,
                },
            )
        })
        .await
    }

    /// Does what takes the rights of an operation.
    ///
    /// # Errors
    /// Those of `f`, and 403 for a role that may not.
    pub async fn with<O: Operation, T: Send + 'static>(
        &self,
        subject: &str,
        f: impl FnOnce(&mut Store, &World) -> keystile_model::error::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        self.with_at::<O, _>(subject, Pace::Usual, f).await
    }

    /// The same at another pace, if it is none that is begun again.
    ///
    /// # Errors
    /// Those of [`Visit::with`].
    pub async fn with_at<O: Operation, T: Send + 'static>(
        &self,
        subject: &str,
        pace: Pace,
        f: impl FnOnce(&mut Store, &World) -> keystile_model::error::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let mut f = Some(f);
        let begin = move || f.take().ok_or_else(begun_twice);
        self.with_pace::<O, _, _>(subject, pace, false, begin).await
    }

    /// What acts `on_the_store_alone` may be looked at first, and begun again.
    async fn with_pace<O: Operation, T: Send + 'static, F>(
        &self,
        subject: &str,
        pace: Pace,
        on_the_store_alone: bool,
        mut begin: impl FnMut() -> keystile_model::error::Result<F>,
    ) -> Result<T, Problem>
    where
        F: FnOnce(&mut Store, &World) -> keystile_model::error::Result<T> + Send + 'static,
    {
        let route = O::ROUTE;
        let app = self.console.app();
        auth::admit(app, &self.asker, &route).await?;
        let world = self.asker.world();
        let mut run = || {
            let (f, world) = (begin()?, world.clone());
            Ok(move |store: &mut Store| f(store, &world))
        };
        let done = match route.writes {
            true if on_the_store_alone => app.desk().write_unless_done(&world, pace, run).await,
            true => app.desk().write_for(&world, pace, run).await,
            false => app.desk().ask(&world, run()?).await,
        };
        match done {
            Ok(done) => Ok(done),
            Err(e) => {
                let failed = matches!(e.kind(), Kind::Store(_));
                if (route.writes && !failed) || e.kind() == Kind::Forbidden {
                    auth::write_down(app, self.asker.world(), route.name, subject, &e.to_string())
                        .await;
                }
                Err(e.into())
            }
        }
    }

    /// An answer, with what the log says of it.
    pub fn tagged(&self, mut response: Response) -> Response {
        response.extensions_mut().insert(TokenId(self.token()));
        response
    }
}

fn begun_twice() -> keystile_model::error::Error {
    defect("the operation was begun twice")
}

/// That what an operation is about is as the page showed it, which carries its tag.
fn is_as_seen<O: Operation>(
    asked: &O,
    seen: &str,
    store: &mut Store,
    world: &World,
) -> keystile_model::error::Result<()> {
    let now = asked.current(store, world)?;
    match now.is_some_and(|now| operation::tag(&now) == seen) {
        true => Ok(()),
        false => Err(held::changed()),
    }
}

/// Where a request comes from.
pub struct Source {
    /// Address of the browser, or of what stands in front of us.
    pub address: IpAddr,
    /// Id of the request.
    pub request: String,
    /// The browser speaks TLS.
    pub secure: bool,
    /// `keystile.example.com:8443`: how the browser calls us.
    pub authority: String,
    /// Its connection.
    pub presence: Presence,
}

impl Source {
    /// Reads it off a request.
    ///
    /// # Errors
    /// If nobody knows where it comes from.
    pub fn of(head: &Parts) -> Result<Self, Problem> {
        let peer = head
            .extensions
            .get::<Peer>()
            .ok_or_else(|| defect("nobody knows where the request comes from"))?;
        let authority = match head.uri.authority() {
            Some(authority) => authority.as_str(),
            None => text(&head.headers, header::HOST).unwrap_or_default(),
        };
        Ok(Self {
            address: peer.address.ip(),
            request: head
                .extensions
                .get::<RequestId>()
                .map_or(String::new(), |id| id.0.clone()),
            secure: secure(peer, &head.headers),
            authority: authority.to_owned(),
            presence: peer.presence.clone(),
        })
    }

    /// `https://keystile.example.com`.
    pub fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// That a form was sent by one of our own pages. Browsers say so of every form, and no
    /// script of another site can make them say something else.
    ///
    /// # Errors
    /// 403.
    pub fn is_own(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let origin = text(headers, header::ORIGIN).unwrap_or_default();
        let host = origin.split_once("://").map(|(_, host)| host);
        if !self.authority.is_empty() && host == Some(self.authority.as_str()) {
            return Ok(());
        }
        Err(refuse(
            Code::FormForeign,
            "the form was not sent by a page of this server",
            "open the console again and send it from there; a proxy in front has to pass `Host` on",
        )
        .into())
    }

    /// The cookie's name. With `__Host-` no other host of the domain, and nothing in clear,
    /// can plant one.
    fn cookie(&self) -> &'static str {
        match self.secure {
            true => "__Host-keystile",
            false => "keystile",
        }
    }

    /// Makes a browser remember a session; an empty one makes it forget.
    pub fn set_cookie(&self, session: Option<&SessionId>, response: &mut Response) {
        let (value, age) = match session {
            Some(id) => (id.expose_secret(), ""),
            None => ("", "; Max-Age=0"),
        };
        let cookie = self.made(self.cookie(), value, "Strict", age);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }

    /// The name of the cookie that is kept on the way over an identity provider.
    pub fn flow_name(&self) -> &'static str {
        match self.secure {
            true => "__Host-keystile-flow",
            false => "keystile-flow",
        }
    }

    /// That cookie, for so many seconds. It comes back from another site, and is `Lax` for it.
    pub fn flow_cookie(&self, value: Option<&str>, seconds: u64) -> HeaderValue {
        let age = format!("; Max-Age={seconds}");
        self.made(self.flow_name(), value.unwrap_or_default(), "Lax", &age)
    }

    fn made(&self, name: &str, value: &str, site: &str, age: &str) -> HeaderValue {
        let secure = if self.secure { "; Secure" } else { "" };
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite={site}{secure}{age}");
        // Names and values are ours, and fit for a header.
        let cookie = HeaderValue::from_str(&cookie);
        let mut cookie = cookie.unwrap_or(HeaderValue::from_static(""));
        cookie.set_sensitive(true);
        cookie
    }

    /// The session that a browser shows.
    pub fn session(&self, headers: &HeaderMap) -> Option<SessionId> {
        self.shown(headers, self.cookie()).map(SessionId::new)
    }

    /// What a browser shows of a cookie.
    pub fn shown<'h>(&self, headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
        let pairs = headers.get_all(header::COOKIE).iter();
        pairs
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }
}

/// What stands in front is believed: claiming TLS only makes cookies stricter.
fn secure(peer: &Peer, headers: &HeaderMap) -> bool {
    let forwarded = headers
        .get("x-forwarded-proto")
        .and_then(|v| v.to_str().ok());
    peer.tls || forwarded == Some("https")
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

impl FromRequestParts<Console> for Visit {
    type Rejection = Response;

    async fn from_request_parts(head: &mut Parts, console: &Console) -> Result<Self, Response> {
        let source = Source::of(head).map_err(IntoResponse::into_response)?;
        let target = head
            .uri
            .path_and_query()
            .map_or("/console", |p| p.as_str())
            .to_owned();
        let back = (head.method == axum::http::Method::GET).then_some(target.as_str());
        let away = || page::see_other(&super::door::sign_in_at(back));
        let session = source.session(&head.headers).ok_or_else(away)?;
        let who = console.sessions().who(&session, seconds());
        let (app, address, request) = (console.app(), source.address, &source.request);
        let resumed = match who.ok_or_else(away)? {
            Who::Token(id) => auth::resume(app, id, address, request).await,
            Who::Person(person) => auth::resume_person(app, &person, address, request),
        };
        let asker = match resumed {
            Ok(asker) => asker,
            Err(problem) if problem.status == 401 => {
                console.sessions().end(&session);
                return Err(away());
            }
            Err(problem) => return Err(page::failure(&problem)),
        };
        source.presence.recognise();
        let good = &app.limits().good;
        good.remember(session.expose_secret(), system::nanoseconds());
        let query = Form::read(head.uri.query().unwrap_or_default().as_bytes())
            .map_err(|e| page::failure(&e.into()))?;
        Ok(Self {
            console: console.clone(),
            asker,
            form_token: session.form_token(),
            session,
            query,
            origin: source.origin(),
            now: system::now().seconds(),
        })
    }
}

impl FromRequest<Console> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Response> {
        let (mut head, body) = request.into_parts();
        let source = Source::of(&head).map_err(IntoResponse::into_response)?;
        let own = source.is_own(&head.headers);
        let visit = Visit::from_request_parts(&mut head, console).await?;
        if let Err(problem) = own {
            return Err(visit.refused(&problem).await);
        }
        let body = whole(body, FORM).await.map_err(|p| page::failure(&p))?;
        let form = Form::read(&body).map_err(|e| page::failure(&e.into()))?;
        if !visit.session.made(form.text("csrf")) {
            let problem: Error = refuse(
                Code::FormForeign,
                "the form is not one of this session",
                "load the page again and send it once more",
            );
            return Err(visit.refused(&problem.of(Kind::Forbidden).into()).await);
        }
        Ok(Self { visit, form })
    }
}

impl Visit {
    /// A form that none of our pages made for this session.
    async fn refused(&self, problem: &Problem) -> Response {
        let world = self.asker.world();
        auth::write_down(
            self.console.app(),
            world,
            "console.form",
            "",
            &problem.detail,
        )
        .await;
        self.tagged(page::failure(problem))
    }
}

/// Monotonic seconds.
pub fn seconds() -> u64 {
    system::nanoseconds() / 1_000_000_000
}

/// What is at no path.
pub async fn nowhere(visit: Visit) -> Response {
    let problem: Error = refuse(
        Code::PathNotFound,
        "there is no such page",
        "see the menu for what there is",
    );
    let problem = Problem::from(problem.of(Kind::NotFound));
    let status = StatusCode::NOT_FOUND;
    (status, page::told(&visit, &problem)).into_response()
}

/// A target with one field of its query set to another value, or left out.
pub fn with_query(path: &str, fields: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = path.to_owned();
    let mut mark = '?';
    for (name, values) in fields {
        for value in values.iter().filter(|v| !v.is_empty()) {
            out.push(mark);
            out.push_str(&operation::encoded(name));
            out.push('=');
            out.push_str(&operation::encoded(value));
            mark = '&';
        }
    }
    out
}
