//! Tokens and invitations: creating, showing once, revoking.

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};

use super::confirm::{Confirmation, unless_sure};
use super::context::{PageContext, SubmittedForm};
use super::form::Form;
use super::page::{FormState, Page, Section};
use super::widgets::{self, chip, field, maybe_time, time};
use keystile_api::encoded;
use keystile_api::session;
use keystile_api::token::{Create, CreatedToken, List, Revoke, Show, TokenView};
use keystile_model::caller::Role;
use keystile_model::when;
use keystile_server::problem::Problem;

/// Fields that hold several words.
const LISTS: [&str; 3] = ["scopes", "plans", "cidrs"];

const PAGE: u32 = 50;

/// All that the caller may know of.
pub async fn list(cx: PageContext) -> Response {
    let page = page(&cx, &cx.query, None).await;
    cx.shown(page)
}

async fn page(cx: &PageContext, form: &Form, problem: Option<&Problem>) -> Result<Page, Problem> {
    let query = cx.query.clone().without("done");
    let mut asked = Form::default();
    if let Some(cursor) = query.given("cursor") {
        asked = asked.with("cursor", cursor);
    }
    let mut asked: List = asked.operation(&[])?;
    let gone = query.has("show", "all");
    asked.living = !gone;
    asked.limit = Some(PAGE);
    let found = cx.run(asked).await?;
    let first = query
        .given("cursor")
        .map(|_| query.clone().without("cursor").target("/console/tokens"));
    let next = found.next.map(|n| {
        let next = query.clone().with("cursor", n.0.to_string());
        next.target("/console/tokens")
    });
    let row = |t: &TokenView| {
        let id = t.id.0.to_string();
        let seconds = t.last_used.as_ref().map(|s| s.0);
        vec![
            html! { (t.name) " " code.soft { (id) } },
            html! { (t.role.as_str()) @if let Some(client) = &t.client { " of " (client) } },
            chip(&t.status),
            maybe_time(seconds, cx.now, "never"),
            time(t.expires.0, cx.now),
            html! { (t.created_by) },
            html! {
                @if cx.may::<Revoke>() && t.revoked.is_none() {
                    @if id == cx.token() {
                        span.soft { "yours" }
                    } @else {
                        form method="post" action={ "/console/tokens/" (id) "/revoke" } {
                            (cx.seal())
                            button.quiet.small.danger type="submit" aria-label={ "Revoke " (t.name) } { "Revoke" }
                        }
                    }
                }
            },
        ]
    };
    let body = html! {
        (widgets::table(
            "Tokens",
            &["Token", "Role", "Status", "Last used", "Expires", "Created by", ""],
            found.tokens.iter().map(row).collect(),
            "There are no tokens.",
        ))
        (widgets::pager(first, next))
        p {
            @if gone { a href="/console/tokens" { "Hide revoked tokens" } }
            @else { a href="/console/tokens?show=all" { "Show revoked tokens, too" } }
        }
        @if cx.may::<Create>() { (making(cx, form, problem)) }
    };
    let page = Page::new(Section::Tokens, "Tokens", body).refused(problem);
    Ok(match cx.may::<session::List>() {
        true => {
            page.actions(html! { a.button.quiet href="/console/sessions" { "Who is signed in" } })
        }
        false => page,
    })
}

fn making(cx: &PageContext, form: &Form, problem: Option<&Problem>) -> Markup {
    let draft = FormState::new(form, problem);
    let roles: Vec<(String, String)> = Role::ALL
        .into_iter()
        .filter(|r| cx.role() == Role::Owner || *r == Role::Client)
        .map(|r| (r.as_str().to_owned(), r.as_str().to_owned()))
        .collect();
    html! {
        section.card aria-labelledby="new" {
            h2 #new { "New token" }
            (draft.summary())
            form method="post" action="/console/tokens" {
                (cx.seal()) (cx.nonce(form))
                div.grid {
                    (field("name", "Name").needed().placeholder("ci").line(&draft))
                    (field("role", "Role").choice(&draft, &roles))
                    (field("expires", "Expires").placeholder("90d").hint("An invitation: 7d for a client, 1h for other roles.").line(&draft))
                    (field("cidrs", "Allowed networks").placeholder("10.0.0.0/8").line(&draft))
                }
                fieldset {
                    legend { "For the role client" }
                    div.grid {
                        (field("client", "Client").hint("The client whose keys it manages.").line(&draft))
                        (field("scopes", "Scopes").hint("Scopes that its keys may hold.").line(&draft))
                        (field("plans", "Plans").hint("Plans that its keys may have.").line(&draft))
                        (field("max_expiry", "Longest lifetime of keys").placeholder("90d").line(&draft))
                        (field("max_keys", "Keys at once").placeholder("5").line(&draft))
                    }
                    label.check {
                        input type="checkbox" name="invite" value="true" checked[form.has("invite", "true")];
                        span { "Create an invitation: a link that works once, instead of the token itself" }
                    }
                }
                button type="submit" { "Create" }
            }
        }
    }
}

/// Makes one.
pub async fn create(SubmittedForm { cx, form }: SubmittedForm) -> Response {
    let done = match form.operation::<Create>(&LISTS) {
        Ok(asked) => cx.once(asked, &form).await,
        Err(e) => Err(e.into()),
    };
    let page = match done {
        Ok(Some(made)) => Ok(made_page(&cx, &form, &made)),
        Ok(None) => Ok(Page::new(
            Section::Tokens,
            "Shown once",
            widgets::already_done("If it is lost, revoke the token and create another one."),
        )
        .up("/console/tokens", "Tokens")),
        Err(problem) => page(&cx, &form, Some(&problem)).await,
    };
    cx.shown(page)
}

fn made_page(cx: &PageContext, form: &Form, made: &CreatedToken) -> Page {
    let text = made.token.as_ref().map_or("", |t| t.expose_secret());
    let invited = form.has("invite", "true");
    let link = format!("{}/console/invitation#{text}", cx.origin);
    let body = html! {
        section.card {
            @if invited {
                (widgets::secret(&link, "The invitation"))
                p { "Pass it on through a channel that you trust. Whoever opens it gets the token; it works once, until " (time(made.view.expires.0, cx.now)) ". Browsers do not send the part after the " code { "#" } " to any server." }
            } @else {
                (widgets::secret(text, "The token"))
                p { "Its holder signs in with it here, or passes it to " code { "keystilectl --server" } " as " code { "KEYSTILE_TOKEN" } "." }
            }
            p { a.button href="/console/tokens" { "I have saved it: continue" } }
        }
    };
    let what = if invited { "Invitation" } else { "Token" };
    Page::new(Section::Tokens, format!("{what} {}", made.view.name), body)
}

/// Revokes a token permanently, once that is confirmed; its sessions end with it.
pub async fn revoke(Path(id): Path<String>, SubmittedForm { cx, form }: SubmittedForm) -> Response {
    if let Some(question) = unless_sure(&cx, &form, asking(&cx, &id, &form)).await {
        return question;
    }
    let asked = Form::default().with("id", id).operation::<Revoke>(&[]);
    let done = match asked {
        Ok(asked) => cx.run(asked).await,
        Err(e) => Err(e.into()),
    };
    match done {
        Ok(_) => cx.go("/console/tokens", "token-revoked"),
        Err(problem) => cx.shown(Err(problem)),
    }
}

async fn asking(cx: &PageContext, id: &str, form: &Form) -> Result<Page, Problem> {
    // What may not be done is refused before it is asked about.
    cx.with::<Revoke, _>(id, |_, _| Ok(())).await?;
    let asked = Form::default().with("id", id).operation::<Show>(&[])?;
    let token = cx.run(asked).await?;
    let last = token
        .last_used
        .as_ref()
        .map(|t| when::relative(t.0, cx.now));
    let question = Confirmation {
        title: format!("Revoke the token {}?", token.name),
        effect: html! {
            p {
                @match &last {
                    Some(last) => { "It was last used " strong { (last) } ". " },
                    None => "It has not been used so far. ",
                }
                "Whoever holds it is refused at once, and sessions that began with it end. This cannot be undone."
            }
            p.soft { "Role: " (token.role.as_str()) ". Created by " (token.created_by) "." }
        },
        action: &format!("/console/tokens/{}/revoke", encoded(id)),
        button: "Revoke token",
        back: "/console/tokens",
        typed: None,
        instead: html! {},
    };
    let page = question.page(cx, Section::Tokens, form, None);
    Ok(page.up("/console/tokens", "Tokens"))
}
