//! How to call the guarded API: made from the policy, for those who hold keys.

use axum::response::Response;
use maud::{Markup, html};

use super::context::PageContext;
use super::form::sentence;
use super::page::{Page, Section};
use super::widgets;
use keystile_api::guide::{Asks, Guide, Show};
use keystile_server::problem::Problem;

/// The page.
pub async fn show(cx: PageContext) -> Response {
    let page = page(&cx).await;
    cx.shown(page)
}

async fn page(cx: &PageContext) -> Result<Page, Problem> {
    let guide = cx.run(Show {}).await?;
    let key = format!(
        "{}{}_YOUR_KEY",
        guide.prefix,
        guide.environments.first().map_or("live", String::as_str)
    );
    let body = html! {
        (send(&guide, &key))
        (routes(&guide))
        (limits(&guide))
        (errors(&guide))
    };
    Ok(Page::new(
        Section::Guide,
        format!("Calling {}", guide.realm),
        body,
    ))
}

fn send(guide: &Guide, key: &str) -> Markup {
    html! {
        section aria-labelledby="send" {
            h2 #send { "Send your key" }
            p { "With every request" @if guide.require_tls { ", over TLS only" } ", in one of these places:" }
            ul.places {
                @for place in &guide.credentials {
                    li {
                        @match place.place.as_str() {
                            "header" => { "the header " code { (place.name) ": " @if let Some(scheme) = &place.scheme { (scheme) " " } (key) } }
                            "query" => { "the query parameter " code { (place.name) "=" (key) } }
                            _ => { "the cookie " code { (place.name) "=" (key) } }
                        }
                    }
                }
            }
            p.soft { "Keys begin with " code { (guide.prefix) } ". Treat a key like a password: keep it out of repositories and web pages." }
            (examples(guide, key))
        }
    }
}

/// A request in each language, one at a time: the tabs are radio buttons, which need no script.
fn examples(guide: &Guide, key: &str) -> Markup {
    let all = [
        ("curl", "curl", curl(guide, key)),
        ("python", "Python", python(guide, key)),
        ("javascript", "JavaScript", javascript(guide, key)),
    ];
    html! {
        div.tabs role="group" aria-label="Language" {
            @for (i, (id, word, _)) in all.iter().enumerate() {
                input.tab type="radio" name="language" id={ "tab-" (id) } checked[i == 0];
                label for={ "tab-" (id) } { (word) }
            }
            @for (id, word, text) in &all {
                div class={ "of-" (id) } { (widgets::copyable(id, word, text)) }
            }
        }
    }
}

fn routes(guide: &Guide) -> Markup {
    let routes = guide.routes.iter().map(|r| {
        vec![
            html! { code { (r.path) } },
            methods(r),
            needs(r),
            html! { @if let Some(limit) = &r.limit { (in_words(limit)) } @else { span.soft { "that of the plan" } } },
            html! { (r.cost) },
        ]
    });
    html! {
        section aria-labelledby="routes" {
            h2 #routes { "Routes" }
            (widgets::table("Routes", &["Path", "Methods", "Your key needs", "Limit", "Cost"], routes.collect(), "There are no routes."))
            @if guide.unmatched_denied { p.soft { "Everything else is refused." } }
        }
    }
}

fn limits(guide: &Guide) -> Markup {
    html! {
        section aria-labelledby="limits" {
            h2 #limits { "Limits" }
            @for plan in &guide.plans {
                p {
                    "Plan " code { (plan.plan) } ": "
                    @if plan.limits.is_empty() { "no limits" }
                    @for (i, limit) in plan.limits.iter().enumerate() { @if i > 0 { ", and " } (in_words(limit)) }
                    @if let Some(quota) = &plan.quota { "; " (quota) " in all" }
                    "."
                }
            }
            @if guide.plans.is_empty() { p { "No plan limits your keys." } }
            p { "Every 429 carries " code { "Retry-After" } ", the number of seconds to wait. " code { "RateLimit" } " and " code { "RateLimit-Policy" } " say how much is left." }
        }
    }
}

fn errors(guide: &Guide) -> Markup {
    let errors = guide.errors.iter().map(|e| {
        vec![
            html! { code { (e.code) } },
            html! { (e.status) },
            html! { (sentence(&e.detail)) },
        ]
    });
    html! {
        section aria-labelledby="errors" {
            h2 #errors { "Errors" }
            p { "A refused request is answered with " code { "application/problem+json" } " (RFC 9457). Programs should check its " code { "code" } "." }
            (widgets::table("Errors", &["Code", "Status", "Meaning"], errors.collect(), "There are none."))
        }
    }
}

/// Methods of a route.
pub fn methods(route: &Asks) -> Markup {
    html! { @if route.methods.is_empty() { span.soft { "any" } } @else { (widgets::tags(&route.methods)) } }
}

/// What a route requires.
pub fn needs(route: &Asks) -> Markup {
    html! {
        @if route.auth == "none" { "no key" }
        @else {
            @if route.auth == "optional" { "a key, if one is sent" }
            @else if route.scopes.is_empty() && route.any_scope.is_empty() { "any key" }
            @if !route.scopes.is_empty() { (widgets::tags(&route.scopes)) }
            @if !route.any_scope.is_empty() { "one of " (widgets::tags(&route.any_scope)) }
        }
    }
}

/// Limits as code.
pub fn limits_words(limits: &[String]) -> Markup {
    html! {
        @if limits.is_empty() { span.soft { "none" } }
        @for limit in limits { code.tag title=(in_words(limit)) { (limit) } " " }
    }
}

/// `100/1m:20@client` in words.
pub fn in_words(limit: &str) -> String {
    let (rest, of) = match limit.strip_suffix("@client") {
        Some(rest) => (rest, " over all keys of a client"),
        None => (limit, ""),
    };
    let (rate, burst) = rest
        .split_once(':')
        .map_or((rest, None), |(r, b)| (r, Some(b)));
    let Some((requests, per)) = rate.split_once('/') else {
        return limit.to_owned();
    };
    let per = match per {
        "1s" => "second",
        "1m" => "minute",
        "1h" => "hour",
        "1d" => "day",
        other => other,
    };
    let burst = burst.map_or(String::new(), |b| format!(", {b} at once"));
    format!("{requests} requests a {per}{burst}{of}")
}

/// An example route: the first that requires a key.
fn example(guide: &Guide) -> (String, String) {
    let route = guide
        .routes
        .iter()
        .filter(|r| r.auth == "required")
        .min_by_key(|r| !(r.methods.is_empty() || r.methods.iter().any(|m| m == "GET")));
    let (path, host, method) = match route {
        Some(r) => {
            let method = match r.methods.first() {
                Some(first) if !r.methods.iter().any(|m| m == "GET") => first.as_str(),
                _ => "GET",
            };
            let host = r.hosts.iter().find(|h| !h.contains('*'));
            (r.path.as_str(), host.map(String::as_str), method)
        }
        None => ("/", None, "GET"),
    };
    let path: Vec<String> = path.split('/').map(filled).collect();
    let host = host.unwrap_or(match guide.realm.contains('.') {
        true => guide.realm.as_str(),
        false => "api.example.com",
    });
    (
        method.to_owned(),
        format!("https://{host}{}", path.join("/")),
    )
}

/// An example of a path segment for a template segment.
fn filled(segment: &str) -> String {
    if segment.starts_with("{*") || segment.ends_with("+}") {
        return "example".to_owned();
    }
    let mut out = String::new();
    let mut rest = segment;
    while let Some((text, behind)) = rest.split_once('{') {
        out.push_str(text);
        out.push('7');
        rest = behind.split_once('}').map_or("", |(_, behind)| behind);
    }
    out + rest
}

/// Where the key goes: a header, or the URL itself.
fn placed(guide: &Guide, key: &str, url: &str) -> (Option<(String, String)>, String) {
    let Some(place) = guide.credentials.first() else {
        return (None, url.to_owned());
    };
    match place.place.as_str() {
        "header" => {
            let value = match &place.scheme {
                Some(scheme) => format!("{scheme} {key}"),
                None => key.to_owned(),
            };
            (Some((place.name.clone(), value)), url.to_owned())
        }
        "query" => (None, format!("{url}?{}={key}", place.name)),
        _ => (
            Some(("cookie".to_owned(), format!("{}={key}", place.name))),
            url.to_owned(),
        ),
    }
}

/// A request with a key, ready for a shell.
pub fn curl(guide: &Guide, key: &str) -> String {
    let (method, url) = example(guide);
    let (header, url) = placed(guide, key, &url);
    let header = header.map_or(String::new(), |(n, v)| format!(" -H '{n}: {v}'"));
    let method = match method.as_str() {
        "GET" => String::new(),
        other => format!(" -X {other}"),
    };
    format!("curl{method}{header} {url}")
}

fn python(guide: &Guide, key: &str) -> String {
    let (method, url) = example(guide);
    let (header, url) = placed(guide, key, &url);
    let headers = header.map_or(String::new(), |(n, v)| {
        format!(", headers={{\"{n}\": \"{v}\"}}")
    });
    format!(
        "import urllib.request\n\nrequest = urllib.request.Request(\n    \"{url}\", method=\"{method}\"{headers}\n)\nwith urllib.request.urlopen(request) as answer:\n    print(answer.read())\n"
    )
}

fn javascript(guide: &Guide, key: &str) -> String {
    let (method, url) = example(guide);
    let (header, url) = placed(guide, key, &url);
    let headers = header.map_or(String::new(), |(n, v)| {
        format!("\n  headers: {{ \"{n}\": \"{v}\" }},")
    });
    format!(
        "const answer = await fetch(\"{url}\", {{\n  method: \"{method}\",{headers}\n}});\nif (!answer.ok) {{\n  const problem = await answer.json();\n  throw new Error(problem.code);\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_in_words() {
        assert_eq!(in_words("100/1m:20"), "100 requests a minute, 20 at once");
        assert_eq!(
            in_words("5/1s@client"),
            "5 requests a second over all keys of a client"
        );
        assert_eq!(in_words("5/90s"), "5 requests a 90s");
    }
}
