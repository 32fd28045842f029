//! The frame around every page: head, menu, who is signed in.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::form::{Faults, Form};
use super::held::SEEN;
use super::part;
use super::visit::Visit;
use keystile_api::{self as operation, AUDITORS, STAFF};
use keystile_model::caller::Role;
use keystile_server::problem::Problem;

/// Where in the menu a page belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What to look at first.
    Overview,
    /// Who holds keys.
    Clients,
    /// Keys.
    Keys,
    /// What routes ask for.
    Policy,
    /// Why a request is let in or not.
    Explain,
    /// Who did what.
    Audit,
    /// Envoys.
    Fleet,
    /// Who may talk to the server.
    Tokens,
    /// Who is told.
    Webhooks,
    /// How long usage is kept.
    Settings,
    /// How to call the guarded API.
    Guide,
}

/// The menu: section, word, target, who sees it.
const MENU: [(Section, &str, &str, &[Role]); 11] = [
    (Section::Overview, "Overview", "/console", STAFF),
    (Section::Clients, "Clients", "/console/clients", STAFF),
    (Section::Keys, "Keys", "/console/keys", STAFF),
    (Section::Policy, "Policy", "/console/policy", STAFF),
    (Section::Explain, "Explain", "/console/explain", STAFF),
    (Section::Audit, "Audit", "/console/audit", AUDITORS),
    (Section::Fleet, "Fleet", "/console/fleet", STAFF),
    (Section::Tokens, "Tokens", "/console/tokens", STAFF),
    (Section::Webhooks, "Webhooks", "/console/webhooks", STAFF),
    (Section::Settings, "Settings", "/console/settings", STAFF),
    (Section::Guide, "Guide", "/console/guide", STAFF),
];

const PORTAL: [(Section, &str, &str, &[Role]); 2] = [
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
    /// What stands above the headline: where one came from, as target and word.
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

    /// The same as the answer to a form that was refused.
    #[must_use]
    pub fn refused(mut self, problem: Option<&Problem>) -> Self {
        if let Some(status) = problem.and_then(|p| StatusCode::from_u16(p.status).ok()) {
            self.status = status;
        }
        self
    }
}

/// What a form holds and what is wrong with it.
pub struct Draft<'f> {
    /// What was typed, or what stands there at first.
    pub form: &'f Form,
    /// What is wrong.
    pub faults: Faults,
}

impl<'f> Draft<'f> {
    /// A form that was not sent, or was refused.
    pub fn new(form: &'f Form, problem: Option<&Problem>) -> Self {
        Self {
            form,
            faults: problem.map(|p| Faults::of(p, form)).unwrap_or_default(),
        }
    }

    /// What is wrong with all of it, or that something is wrong below.
    pub fn summary(&self) -> Markup {
        let below = self.faults.rest.is_empty() && !self.faults.is_empty();
        html! {
            @if below {
                (part::alert("Something below is not as it should be.", &[]))
            } @else if !self.faults.is_empty() {
                (part::alert("That was not done.", &self.faults.rest))
            }
        }
    }
}

impl Visit {
    /// A page, or what is wrong in its place.
    pub fn shown(&self, page: Result<Page, Problem>) -> Response {
        match page {
            Ok(page) => self.tagged((page.status, framed(self, &page)).into_response()),
            Err(problem) => told(self, &problem),
        }
    }

    /// Goes to a page after something was done; `done` is a word of [`part::done`].
    pub fn go(&self, target: &str, done: &str) -> Response {
        let mark = if target.contains('?') { '&' } else { '?' };
        self.tagged(see_other(&format!("{target}{mark}done={done}")))
    }

    /// What every form carries.
    pub fn seal(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.form_token); }
    }

    /// What a button carries that does something about a thing only as it was shown.
    pub fn seen<T: serde::Serialize>(&self, shown: &T) -> Markup {
        let tag = operation::tag(&serde_json::to_value(shown).unwrap_or_default());
        html! { input type="hidden" name=(SEEN) value=(tag); }
    }

    /// What a form carries that makes something, so that it makes it once.
    pub fn nonce(&self, form: &Form) -> Markup {
        let nonce = match form.given("nonce") {
            Some(nonce) => nonce.to_owned(),
            None => self.fresh(),
        };
        html! { input type="hidden" name="nonce" value=(nonce); }
    }
}

/// To another page, with `GET`.
pub fn see_other(target: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let target = HeaderValue::from_str(target).unwrap_or(HeaderValue::from_static("/console"));
    response.headers_mut().insert(header::LOCATION, target);
    response
}

/// What is wrong, to who is signed in.
pub fn told(visit: &Visit, problem: &Problem) -> Response {
    let mut page = Page::new(
        Section::Overview,
        problem.title,
        html! {
            (part::alert("That was not done.", &messages(problem)))
            p { a href="/console" { "Back to the first page" } }
        },
    );
    page = page.refused(Some(problem));
    visit.shown(Ok(page))
}

/// What is wrong, to whomever.
pub fn failure(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = html! {
        main.card.narrow {
            h1 { (problem.title) }
            (part::alert("That was not done.", &messages(problem)))
            p { a href="/console" { "To the console" } }
        }
    };
    (status, bare(problem.title, "", body)).into_response()
}

/// What is wrong, in the words of the console.
pub fn messages(problem: &Problem) -> Vec<String> {
    let all = problem.words(keystile_model::error::Surface::Console);
    all.iter().map(|m| super::form::sentence(m)).collect()
}

fn framed(visit: &Visit, page: &Page) -> Html<String> {
    let client = visit.role() == Role::Client;
    let menu: &[(Section, &str, &str, &[Role])] = if client { &PORTAL } else { &MENU };
    let body = html! {
        a.skip href="#main" { "Skip to the content" }
        header.side {
            a.brand href="/console" { (mark()) "Keystile" }
            nav aria-label="Main" {
                ul {
                    @for (section, word, target, roles) in menu {
                        @if roles.contains(&visit.role()) {
                            li {
                                a href=(target) aria-current=[(*section == page.section).then_some("page")] {
                                    (word)
                                }
                            }
                        }
                    }
                }
            }
            div.who {
                div {
                    span.name { (visit.name()) }
                    @if let Some(client) = visit.client() {
                        span.soft { "client " (client) }
                    } @else {
                        span.soft { (visit.role().as_str()) }
                    }
                }
                form method="post" action="/console/sign-out" {
                    (visit.seal())
                    button.quiet type="submit" { "Sign out" }
                }
            }
        }
        main #main tabindex="-1" {
            (part::done(visit.query.text("done")))
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
    bare(&page.title, visit.version(), body)
}

/// A document.
pub fn bare(title: &str, version: &str, body: Markup) -> Html<String> {
    document(title, version, html! {}, body)
}

/// A document that leads on to another one by itself.
pub fn onward(title: &str, version: &str, body: Markup, target: &str) -> Html<String> {
    let lead = html! { meta http-equiv="refresh" content={ "0; url=" (target) }; };
    document(title, version, lead, body)
}

fn document(title: &str, version: &str, head: Markup, body: Markup) -> Html<String> {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                (head)
                title { (title) " · Keystile" }
                link rel="icon" type="image/svg+xml" href="/console/icon.svg";
                link rel="stylesheet" href={ "/console/style.css?v=" (version) };
                script src={ "/console/console.js?v=" (version) } defer {}
            }
            body { (body) }
        }
    };
    Html(document.into_string())
}

/// A turnstile, seen from above.
pub fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" width="22" height="22" aria-hidden="true" {
            circle cx="16" cy="16" r="4.5" fill="currentColor" {}
            g stroke="currentColor" stroke-width="3.4" stroke-linecap="round" {
                line x1="16" y1="16" x2="16" y2="3.5" {}
                line x1="16" y1="16" x2="26.8" y2="22.2" {}
                line x1="16" y1="16" x2="5.2" y2="22.2" {}
            }
        }
    }
}
