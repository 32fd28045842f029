//! The frame around every page: head, menu, the person signed in.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};

use super::brand::{self, Brand};
use super::context::PageContext;
pub use super::document::{bare, failure, mark, messages, onward, see_other};
pub use super::form::FormState;
use super::form::{Form, SEEN};
use super::widgets;
use keystile_api::{self as operation, AUDITORS, STAFF};
use keystile_model::caller::Role;
use keystile_model::error::{Code, Error, Kind, refuse};
use keystile_server::problem::Problem;

/// The menu section of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What to look at first.
    Overview,
    /// A holder of keys.
    Clients,
    /// Keys.
    Keys,
    /// What should worry whoever is responsible.
    Posture,
    /// What routes ask for.
    Policy,
    /// Why a request is let in or not.
    Explain,
    /// Who did what.
    Audit,
    /// The known Envoys.
    Fleet,
    /// Who may talk to the server.
    Tokens,
    /// Who is told.
    Webhooks,
    /// How long usage is kept.
    Settings,
    /// How to call the guarded API.
    Guide,
    /// In no line of the menu.
    Elsewhere,
}

/// Section, word, target, who sees it.
type MenuLine = (Section, &'static str, &'static str, &'static [Role]);

/// The menu.
const MENU: [MenuLine; 12] = [
    (Section::Overview, "Overview", "/console", STAFF),
    (Section::Clients, "Clients", "/console/clients", STAFF),
    (Section::Keys, "Keys", "/console/keys", STAFF),
    (Section::Posture, "Posture", "/console/posture", STAFF),
    (Section::Policy, "Policy", "/console/policy", STAFF),
    (Section::Explain, "Explain", "/console/explain", STAFF),
    (Section::Audit, "Audit", "/console/audit", AUDITORS),
    (Section::Fleet, "Fleet", "/console/fleet", STAFF),
    (Section::Tokens, "Tokens", "/console/tokens", STAFF),
    (Section::Webhooks, "Webhooks", "/console/webhooks", STAFF),
    (Section::Settings, "Settings", "/console/settings", STAFF),
    (Section::Guide, "Guide", "/console/guide", STAFF),
];

const PORTAL: [MenuLine; 2] = [
    (Section::Keys, "Your keys", "/console", &[Role::Client]),
    (
        Section::Guide,
        "Documentation",
        "/console/guide",
        &[Role::Client],
    ),
];

/// A page before its frame.
pub struct Page {
    /// The title, and the one headline.
    pub title: String,
    /// Where it belongs.
    pub section: Section,
    /// The link above the headline, as target and text.
    pub up: Option<(String, String)>,
    /// Beside the headline.
    pub actions: Markup,
    /// Below it.
    pub body: Markup,
    /// Of the answer.
    pub status: StatusCode,
}

impl Page {
    /// A page that was found.
    pub fn new(section: Section, title: impl Into<String>, body: Markup) -> Self {
        Self {
            title: title.into(),
            section,
            up: None,
            actions: html! {},
            body,
            status: StatusCode::OK,
        }
    }

    /// With a way back.
    #[must_use]
    pub fn up(mut self, target: impl Into<String>, word: impl Into<String>) -> Self {
        self.up = Some((target.into(), word.into()));
        self
    }

    /// With something beside its headline.
    #[must_use]
    pub fn actions(mut self, actions: Markup) -> Self {
        self.actions = actions;
        self
    }

    /// The page as the answer to a refused form.
    #[must_use]
    pub fn refused(mut self, problem: Option<&Problem>) -> Self {
        if let Some(status) = problem.and_then(|p| StatusCode::from_u16(p.status).ok()) {
            self.status = status;
        }
        self
    }
}

impl PageContext {
    /// A page, or the error in its place.
    pub fn shown(&self, page: Result<Page, Problem>) -> Response {
        match page {
            Ok(page) => self.tagged((page.status, framed(self, &page)).into_response()),
            Err(problem) => told(self, &problem),
        }
    }

    /// Goes to a page after something was done; `done` is a word of [`widgets::done`].
    pub fn go(&self, target: &str, done: &str) -> Response {
        let mark = if target.contains('?') { '&' } else { '?' };
        self.tagged(see_other(&format!("{target}{mark}done={done}")))
    }

    /// What every form carries.
    pub fn seal(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.form_token); }
    }

    /// The hidden field of a button that acts only if nothing has changed since the page was shown.
    pub fn seen<T: serde::Serialize>(&self, shown: &T) -> Markup {
        let tag = operation::tag(&serde_json::to_value(shown).unwrap_or_default());
        html! { input type="hidden" name=(SEEN) value=(tag); }
    }

    /// The hidden field of a form that creates something, so that it does so only once.
    pub fn nonce(&self, form: &Form) -> Markup {
        let nonce = match form.given("nonce") {
            Some(nonce) => nonce.to_owned(),
            None => self.fresh(),
        };
        html! { input type="hidden" name="nonce" value=(nonce); }
    }
}

/// The error page for a person who is signed in.
pub fn told(cx: &PageContext, problem: &Problem) -> Response {
    let mut page = Page::new(
        Section::Overview,
        problem.title,
        html! {
            (widgets::alert("Nothing was changed.", &messages(problem)))
            p { a href="/console" { "Back to the first page" } }
        },
    );
    page = page.refused(Some(problem));
    cx.shown(Ok(page))
}

/// The lines of the menu that a person sees.
fn lines(cx: &PageContext) -> impl Iterator<Item = (Section, &'static str, &'static str)> {
    let role = cx.role();
    let all: &'static [MenuLine] = match role {
        Role::Client => &PORTAL,
        _ => &MENU,
    };
    let seen = all.iter().filter(move |line| line.3.contains(&role));
    seen.map(|(section, word, target, _)| (*section, *word, *target))
}

/// The pages of the menu that a person sees: words and targets.
pub fn menu(cx: &PageContext) -> impl Iterator<Item = (&'static str, &'static str)> {
    lines(cx).map(|(_, word, target)| (word, target))
}

fn framed(cx: &PageContext, page: &Page) -> Html<String> {
    // The operator's own people see whose program this is.
    let ours = Brand::default();
    let brand = match cx.role() {
        Role::Client => cx.console().brand(),
        _ => &ours,
    };
    let body = html! {
        a.skip href="#main" { "Skip to the content" }
        header.side {
            a.brand href="/console" { (brand.mark()) }
            a.go href="/console/go" data-go { span { "Go to…" } kbd { "Ctrl K" } }
            nav aria-label="Main" {
                ul {
                    @for (section, word, target) in lines(cx) {
                        li {
                            a href=(target) aria-current=[(section == page.section).then_some("page")] { (word) }
                        }
                    }
                }
            }
            div.who {
                div {
                    span.name { (cx.name()) }
                    @if let Some(client) = cx.client() {
                        span.soft { "client " (client) }
                    } @else {
                        span.soft { (cx.role().as_str()) }
                    }
                }
                form method="post" action="/console/sign-out" {
                    (cx.seal())
                    button.quiet type="submit" { "Sign out" }
                }
            }
        }
        main #main tabindex="-1" {
            (widgets::done(cx.query.text("done"), cx.proof()))
            div.head {
                div {
                    @if let Some((target, word)) = &page.up {
                        a.up href=(target) { "← " (word) }
                    }
                    h1 { (page.title) }
                }
                div.actions { (page.actions) }
            }
            (page.body)
        }
    };
    brand::document(brand, &page.title, cx.version(), body)
}

/// What is at no path.
pub async fn nowhere(cx: PageContext) -> Response {
    let problem: Error = refuse(Code::PathNotFound, "there is no such page", "use the menu");
    let problem = Problem::from(problem.with_kind(Kind::NotFound));
    let status = StatusCode::NOT_FOUND;
    (status, told(&cx, &problem)).into_response()
}
