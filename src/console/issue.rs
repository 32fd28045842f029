//! New keys: issued, rotated, fetched; each shown once.

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};

use super::context::{PageContext, SubmittedForm};
use super::form::Form;
use super::guide::curl;
use super::key::refused;
use super::page::{FormState, Page, Section};
use super::sign_in::is_client;
use super::widgets::{self, field};
use keystile_api::client::Show;
use keystile_api::encoded;
use keystile_api::guide::{self, Guide};
use keystile_api::key::{Fetch, Issue, IssuedKey, Rotate};
use keystile_model::key::{PROPERTIES, Property};
use keystile_model::when;
use keystile_model::wire::labels;
use keystile_server::problem::Problem;

/// Properties that stand in the form itself; the others unfold.
const FIRST: [&str; 4] = ["name", "scopes", "expires", "plan"];

/// The properties that unfold.
fn others() -> impl Iterator<Item = &'static Property> {
    PROPERTIES.iter().filter(|p| !FIRST.contains(&p.name))
}

/// The form to issue a key to a client.
pub async fn form(cx: PageContext, Path(name): Path<String>) -> Response {
    let page = asking(&cx, &name, &cx.query, None).await;
    cx.shown(page)
}

fn scopes_of(cx: &PageContext, guide: &Guide) -> Vec<String> {
    if let Some(ceilings) = cx.ceilings() {
        return ceilings.scopes.clone();
    }
    let mut all: Vec<String> = guide
        .routes
        .iter()
        .flat_map(|r| r.scopes.iter().chain(&r.any_scope).cloned())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

async fn asking(
    cx: &PageContext,
    name: &str,
    form: &Form,
    problem: Option<&Problem>,
) -> Result<Page, Problem> {
    let client = cx.run(Show::without_keys(name.to_owned())).await?;
    let guide = cx.run(guide::Show {}).await?;
    let scopes = scopes_of(cx, &guide);
    let choices = plans(cx, client.client.plan.as_ref(), &guide);
    let kinds = kinds();
    let environments: Vec<(String, String)> = guide
        .environments
        .iter()
        .map(|e| (e.clone(), e.clone()))
        .collect();
    let longest = cx.ceilings().and_then(|c| c.max_expiry);
    let ends = match longest {
        Some(most) => format!("Required; {} at most.", when::duration(most)),
        None => "Empty: never. An expiry ensures that no key is forgotten.".to_owned(),
    };
    let draft = FormState::new(form, problem);
    let path = format!("/console/clients/{}", encoded(name));
    let body = html! {
        form.card method="post" action={ (path) "/issue" } {
            (cx.seal()) (cx.nonce(form))
            (draft.summary())
            (field("name", "Name").placeholder("billing worker").hint("To tell keys apart.").line(&draft))
            (field("scopes", "Scopes").hint("What the key may do. Grant no more than it needs.").checks(&draft, &scopes))
            div.grid {
                (field("expires", "Expires").placeholder("90d, 2027-01-31").hint(&ends).line(&draft))
                (field("plan", "Plan").choice(&draft, &choices))
                (field("type", "Type").choice(&draft, &kinds))
                (field("environment", "Environment").choice(&draft, &environments))
            }
            (rarely_needed(cx, form, &draft))
            button type="submit" { "Issue key" }
        }
    };
    let page = Page::new(Section::Keys, format!("Issue a key to {name}"), body).refused(problem);
    Ok(match is_client(cx) {
        true => page.up("/console", "Your keys"),
        false => page.up(path, name),
    })
}

/// The plans that the visitor may give, and that of the client, which is given by leaving it out.
fn plans(cx: &PageContext, plan: Option<&String>, guide: &Guide) -> Vec<(String, String)> {
    let given = cx.ceilings().map(|c| c.plans.clone());
    let plans = given.unwrap_or_else(|| guide.plans.iter().map(|p| p.plan.clone()).collect());
    let own = match plan {
        Some(plan) => format!("its client's ({plan})"),
        None => "none".to_owned(),
    };
    // A token that may grant only some plans must not grant another by leaving the field out.
    let bound = cx.ceilings().is_some_and(|c| !c.plans.is_empty());
    let other = plan.is_none_or(|p| !plans.contains(p));
    match bound && other {
        true => plans.iter().map(|p| (p.clone(), p.clone())).collect(),
        false => widgets::options(&own, &plans),
    }
}

fn kinds() -> Vec<(String, String)> {
    let kinds = [
        ("secret", "secret: kept on a server"),
        ("publishable", "publishable: seen in a web page"),
    ];
    kinds
        .iter()
        .map(|(v, w)| ((*v).to_owned(), (*w).to_owned()))
        .collect()
}

fn rarely_needed(cx: &PageContext, form: &Form, draft: &FormState<'_>) -> Markup {
    html! {
        details open[more(form)] {
            summary { "More: limits, networks, origins, certificates, labels, rotation" }
            div.grid {
                // A client gives no key limits of its own.
                @for p in others().filter(|p| p.name != "limits" || !is_client(cx)) {
                    (field(p.name, p.label).placeholder(p.placeholder).hint(p.hint).line(draft))
                }
            }
        }
    }
}

fn more(form: &Form) -> bool {
    others().any(|p| form.given(p.name).is_some())
}

/// Issues it.
pub async fn issue(
    Path(name): Path<String>,
    SubmittedForm { cx, form }: SubmittedForm,
) -> Response {
    let page = match issued(&cx, &name, &form).await {
        Ok(Some(issued)) => made(&cx, "The key", &issued, html! {}).await,
        Ok(None) => Ok(before(&cx)),
        Err(problem) => asking(&cx, &name, &form, Some(&problem)).await,
    };
    cx.shown(page)
}

async fn issued(cx: &PageContext, name: &str, form: &Form) -> Result<Option<IssuedKey>, Problem> {
    let fields = form.clone().without("labels").with("client", name);
    let lists: Vec<&str> = PROPERTIES
        .iter()
        .filter(|p| p.many)
        .map(|p| p.name)
        .collect();
    let mut asked: Issue = fields.operation(&lists)?;
    asked.labels = labels(&form.pairs("labels"))?.into_iter().collect();
    let made = cx.once(asked, form).await?;
    Ok(made.and_then(|m| m.keys().first().cloned()))
}

/// Replaces a key.
pub async fn rotate(Path(id): Path<String>, SubmittedForm { cx, form }: SubmittedForm) -> Response {
    let form = form.with("do", "rotate");
    let asked = form
        .clone()
        .with("id", id.as_str())
        .operation::<Rotate>(&[]);
    let done = match asked {
        Ok(asked) => cx.once(asked, &form).await,
        Err(e) => Err(e.into()),
    };
    match done {
        Ok(Some(rotated)) => {
            let old = html! {
                "Key " a href={ "/console/keys/" (id) } { code { (id) } } " goes on working "
                @if let Some(until) = &rotated.old.works_until { "until " (widgets::time(until.0, cx.now)) }
                "."
            };
            let page = made(&cx, "The new key", &rotated.new, old).await;
            cx.shown(page)
        }
        Ok(None) => cx.shown(Ok(before(&cx))),
        Err(problem) => refused(&cx, &id, form, problem).await,
    }
}

/// Fetches the successor of one that was due for rotation.
pub async fn fetch(Path(id): Path<String>, SubmittedForm { cx, form }: SubmittedForm) -> Response {
    let form = form.with("do", "rotate");
    let asked = form.clone().without("grace").with("id", id.as_str());
    let done = match asked.operation::<Fetch>(&[]) {
        Ok(asked) => cx.once(asked, &form).await,
        Err(e) => Err(e.into()),
    };
    match done {
        Ok(Some(fetched)) => {
            let page = made(&cx, "The new key", &fetched, html! {}).await;
            cx.shown(page)
        }
        Ok(None) => cx.shown(Ok(before(&cx))),
        Err(problem) => refused(&cx, &id, form, problem).await,
    }
}

async fn made(
    cx: &PageContext,
    title: &str,
    issued: &IssuedKey,
    aside: Markup,
) -> Result<Page, Problem> {
    let guide = cx.run(guide::Show {}).await?;
    let text = issued.key.as_ref().map_or("", |k| k.expose_secret());
    let id = issued.view.id.0.to_string();
    let target = format!("/console/keys/{id}");
    let body = html! {
        section.card {
            (widgets::secret(text, title))
            @for warning in &issued.warnings { (widgets::hint(html! { p { (super::form::sentence(warning)) } })) }
            @if !aside.clone().into_string().is_empty() { p { (aside) } }
            (widgets::copyable("curl", "A request with it", &curl(&guide, text)))
            p { a.button href=(target) { "I have saved it: continue" } }
        }
    };
    let title = match issued.view.name.is_empty() {
        true => format!("Key {id} for {}", issued.view.client),
        false => format!("{} for {}", issued.view.name, issued.view.client),
    };
    Ok(Page::new(Section::Keys, title, body))
}

/// The same form was submitted again: a page was reloaded.
fn before(cx: &PageContext) -> Page {
    let target = if is_client(cx) {
        "/console"
    } else {
        "/console/keys"
    };
    let body = html! {
        (widgets::already_done("If it is lost, revoke the key and issue another one."))
        p { a.button.quiet href=(target) { "To the keys" } }
    };
    Page::new(Section::Keys, "Shown once", body)
}
