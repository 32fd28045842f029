//! A request of somebody who is signed in: the session, its token and the origin of the request;
//! and operations performed in its name.

mod change;
mod source;

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::book::Book;
use super::document;
use super::form::{Form, SEEN};
use super::session::{SessionId, Who};
use super::state::Console;
use keystile_api::{self as operation, Operation, fleet};
use keystile_model::caller::Role;
use keystile_model::error::{Code, Error, Kind, Result, refuse};
use keystile_server::auth::{self, Asker};
use keystile_server::body::whole;
use keystile_server::problem::Problem;
use keystile_system as system;
pub use source::RequestSource;

/// The largest form: a policy and its fields, encoded.
const FORM: usize = 4 << 20;

/// A page or an action in the name of the person signed in.
pub struct PageContext {
    console: Console,
    asker: Asker,
    session: SessionId,
    /// What the forms of its pages carry.
    pub form_token: String,
    /// Fields of the query; the first value of each counts.
    pub query: Form,
    /// `https://keystile.example.com`: our address for the browser.
    pub origin: String,
    /// Its time, in seconds.
    pub now: u64,
}

/// An action: a form from one of our pages for this session.
pub struct SubmittedForm {
    /// Whose.
    pub cx: PageContext,
    /// Its content.
    pub form: Form,
}

impl PageContext {
    /// Its role.
    pub fn role(&self) -> Role {
        self.asker.grant.role
    }

    /// The name of its token, or of the person at the identity provider.
    pub fn name(&self) -> &str {
        &self.asker.grant.name
    }

    /// The id of its token, or the person's name in the audit log.
    pub fn token(&self) -> String {
        self.asker.mark()
    }

    /// The client that it is bound to.
    pub fn client(&self) -> Option<&str> {
        self.asker.grant.client.as_deref()
    }

    /// The limits for its keys; only for a client.
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
    pub fn fleet(&self) -> keystile_api::fleet::FleetView {
        (self.console.0.envoys.list)()
    }

    /// Forgets an Envoy that is gone for good.
    ///
    /// # Errors
    /// 403 for a role that may not; or if it is not known, or is connected.
    pub async fn forget(&self, node: &str) -> Result<(), Problem> {
        let route = fleet::Forget::ENDPOINT;
        let app = self.console.app();
        auth::admit(app, &self.asker, &route).await?;
        let forget = &self.console.0.envoys.forget;
        forget(self.asker.world(), node.to_owned())
            .await
            .map_err(Problem::from)
    }

    /// The state of all pages.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Who is signed in.
    pub fn sessions(&self) -> &Book {
        self.console.sessions()
    }

    /// The same, for a thread of its own.
    pub fn shared_sessions(&self) -> Arc<Book> {
        Arc::clone(&self.console.0.sessions)
    }

    /// A word that no form had before.
    pub fn fresh(&self) -> String {
        self.console.app().fresh_id()
    }

    /// Whether its role may perform an operation.
    pub fn may<O: Operation>(&self) -> bool {
        O::ENDPOINT.roles.contains(&self.role())
    }

    /// Asks for an operation.
    ///
    /// # Errors
    /// Those of the operation, and 403 for a role that may not.
    pub async fn run<O: Operation>(&self, asked: O) -> Result<O::Output, Problem> {
        self.paced(asked, None).await
    }

    /// Performs an operation if its subject is still as the page showed it.
    ///
    /// # Errors
    /// Those of [`PageContext::run`], and 412 if it has changed since.
    pub async fn unchanged<O: Operation>(
        &self,
        asked: O,
        form: &Form,
    ) -> Result<O::Output, Problem> {
        self.paced(asked, Some(form.text(SEEN).to_owned())).await
    }
}

impl FromRequestParts<Console> for PageContext {
    type Rejection = Response;

    async fn from_request_parts(head: &mut Parts, console: &Console) -> Result<Self, Response> {
        let source = RequestSource::from_head(head).map_err(IntoResponse::into_response)?;
        let target = head
            .uri
            .path_and_query()
            .map_or("/console", |p| p.as_str())
            .to_owned();
        let back = (head.method == axum::http::Method::GET).then_some(target.as_str());
        let away = || document::see_other(&sign_in_at(back));
        let session = source.session(&head.headers).ok_or_else(away)?;
        let who = console.sessions().who(&session).await;
        let who = who.map_err(|e| document::failure(&e.into()))?;
        let (app, address, request) = (console.app(), source.address, &source.request);
        let resumed = match who.ok_or_else(away)? {
            Who::Token(id) => auth::resume(app, id, address, request).await,
            Who::Person(person) => auth::resume_person(app, &person, address, request),
        };
        let asker = match resumed {
            Ok(asker) => asker,
            Err(problem) if problem.status == 401 => {
                let ended = console.sessions().end(&session).await;
                ended.map_err(|e| document::failure(&e.into()))?;
                return Err(away());
            }
            Err(problem) => return Err(document::failure(&problem)),
        };
        source.presence.recognise();
        let good = &app.limits().good;
        good.remember(session.expose_secret(), system::nanoseconds());
        let query = Form::read(head.uri.query().unwrap_or_default().as_bytes())
            .map_err(|e| document::failure(&e.into()))?;
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

impl FromRequest<Console> for SubmittedForm {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Response> {
        let (mut head, body) = request.into_parts();
        let source = RequestSource::from_head(&head).map_err(IntoResponse::into_response)?;
        let own = source.is_own(&head.headers);
        let cx = PageContext::from_request_parts(&mut head, console).await?;
        if let Err(problem) = own {
            return Err(cx.refused(&problem).await);
        }
        let body = whole(body, FORM).await.map_err(|p| document::failure(&p))?;
        let form = Form::read(&body).map_err(|e| document::failure(&e.into()))?;
        if !cx.session.made(form.text("csrf")) {
            let problem: Error = refuse(
                Code::FormForeign,
                "the form does not belong to this session",
                "reload the page and submit the form again",
            );
            return Err(cx.refused(&problem.with_kind(Kind::Forbidden).into()).await);
        }
        Ok(Self { cx, form })
    }
}

impl PageContext {
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
        self.tagged(document::failure(problem))
    }
}

/// Monotonic seconds.
pub fn seconds() -> u64 {
    system::nanoseconds() / 1_000_000_000
}

/// The sign-in URL that leads on to a page.
pub fn sign_in_at(back: Option<&str>) -> String {
    match back.filter(|b| *b != "/console") {
        Some(back) => format!("/console/sign-in?next={}", operation::encoded(back)),
        None => "/console/sign-in".to_owned(),
    }
}
