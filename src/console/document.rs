//! A document as anybody may be sent it, signed in or not.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::form::sentence;
use super::widgets;
use keystile_server::problem::Problem;

/// The name in the title of every page, but for those of an operator.
const OURS: &str = "Keystile";

/// To another page, with `GET`.
pub fn see_other(target: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let target = HeaderValue::from_str(target).unwrap_or(HeaderValue::from_static("/console"));
    response.headers_mut().insert(header::LOCATION, target);
    response
}

/// The error page for anybody.
pub fn failure(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = html! {
        main.card.narrow {
            h1 { (problem.title) }
            (widgets::alert("Nothing was changed.", &messages(problem)))
            p { a href="/console" { "To the console" } }
        }
    };
    (status, bare(problem.title, "", body)).into_response()
}

/// What is wrong, in the words of the console.
pub fn messages(problem: &Problem) -> Vec<String> {
    let all = problem.words(keystile_model::error::Surface::Console);
    all.iter().map(|m| sentence(m)).collect()
}

/// A document.
pub fn bare(title: &str, version: &str, body: Markup) -> Html<String> {
    let [lead, style] = [(); 2].map(|()| html! {});
    document(&format!("{title} · {OURS}"), version, (lead, style), body)
}

/// A document that redirects to another one.
pub fn onward(title: &str, version: &str, body: Markup, target: &str) -> Html<String> {
    let lead = html! { meta http-equiv="refresh" content={ "0; url=" (target) }; };
    document(
        &format!("{title} · {OURS}"),
        version,
        (lead, html! {}),
        body,
    )
}

/// A document of the operator with this name; `style` refers to their colours, if they chose some.
pub fn named(title: &str, name: &str, version: &str, style: Markup, body: Markup) -> Html<String> {
    let title = format!("{title} · {name}");
    document(&title, version, (html! {}, style), body)
}

/// `style` comes behind our own, of which it changes a part.
fn document(
    title: &str,
    version: &str,
    (lead, style): (Markup, Markup),
    body: Markup,
) -> Html<String> {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                (lead)
                title { (title) }
                link rel="icon" type="image/svg+xml" href="/console/icon.svg";
                link rel="stylesheet" href={ "/console/style.css?v=" (version) };
                (style)
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
