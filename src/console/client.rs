//! Clients: the list, a client with its keys, and creating and changing them.

mod list;

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};

use super::context::{PageContext, SubmittedForm};
use super::form::{Form, pairs_text};
use super::page::{FormState, Page, Section};
use super::snapshot::{self, Refuse};
use super::widgets::{self, field, time};
use super::{key, usage};
use keystile_api::client::{ClientDetail, ClientView, Create, Delete, Show, Update};
use keystile_api::guide;
use keystile_api::{Operation as _, audit, encoded};
use keystile_model::error::Result;
use keystile_model::key::LABELS;
use keystile_model::wire::labels;
use keystile_model::world::World;
use keystile_server::problem::Problem;
use keystile_store::Store;
pub use list::{list, plans};

/// The form for a new one.
pub async fn new(cx: PageContext) -> Response {
    let page = making(&cx, &Form::default(), None).await;
    cx.shown(page)
}

async fn making(cx: &PageContext, form: &Form, problem: Option<&Problem>) -> Result<Page, Problem> {
    let plans = plans(cx).await?;
    let draft = FormState::new(form, problem);
    let body = html! {
        form.card method="post" action="/console/clients" {
            (cx.seal())
            (draft.summary())
            (field("name", "Name").needed().hint("Unique. Upstreams see it, and it appears in logs.").line(&draft))
            (field("plan", "Plan").hint("For keys that have none of their own.").choice(&draft, &widgets::options("none", &plans)))
            (field("description", "Description").line(&draft))
            (field("labels", "Labels").placeholder("team=web owner=kim").hint(LABELS).line(&draft))
            button type="submit" { "Create" }
        }
    };
    Ok(Page::new(Section::Clients, "New client", body)
        .up("/console/clients", "Clients")
        .refused(problem))
}

/// Makes one.
pub async fn create(SubmittedForm { cx, form }: SubmittedForm) -> Response {
    match created(&cx, &form).await {
        Ok(name) => cx.go(&format!("/console/clients/{}", encoded(&name)), "created"),
        Err(problem) => {
            let page = making(&cx, &form, Some(&problem)).await;
            cx.shown(page)
        }
    }
}

async fn created(cx: &PageContext, form: &Form) -> Result<String, Problem> {
    let mut asked: Create = form.clone().without("labels").operation(&[])?;
    asked.labels = labels(&form.pairs("labels"))?.into_iter().collect();
    Ok(cx.run(asked).await?.client)
}

/// One client.
pub async fn show(cx: PageContext, Path(name): Path<String>) -> Response {
    let page = page(&cx, &name, None, None).await;
    cx.shown(page)
}

/// The fields of the form that changes a client.
const FIELDS: [&str; 3] = ["plan", "description", "labels"];
/// What distinguishes it from a later one of the same name, so that it is not deleted by mistake.
const SAME: [&str; 1] = ["created"];

/// A client as the fields of its forms.
fn current(client: &ClientDetail) -> Form {
    let c = &client.client;
    Form::default()
        .with("plan", c.plan.clone().unwrap_or_default())
        .with("description", c.description.clone())
        .with("labels", pairs_text(&c.labels))
        .with("created", keystile_model::when::rfc3339(c.created.0))
}

async fn page(
    cx: &PageContext,
    name: &str,
    sent: Option<&Form>,
    problem: Option<&Problem>,
) -> Result<Page, Problem> {
    let client = cx.run(Show::without_keys(name.to_owned())).await?;
    let keys = key::found(cx, Some(name.to_owned())).await?;
    let used = usage::seen(cx, usage::UsageOf::Client(name.to_owned())).await?;
    let records = lately(cx, name).await?;
    let guide = cx.run(guide::Show {}).await?;
    let plan = guide
        .plans
        .iter()
        .find(|p| Some(&p.plan) == client.client.plan.as_ref());
    let path = format!("/console/clients/{}", encoded(name));
    let now = current(&client);
    let held = match sent {
        Some(sent) => {
            let merged = snapshot::merged(sent, now, &FIELDS);
            let typed = ["confirm", "do"].iter();
            typed.fold(merged, |form, name| form.with(name, sent.text(name)))
        }
        None => snapshot::showing(now, &FIELDS),
    };
    let held = snapshot::showing(held, &SAME);
    let body = html! {
        (card(cx, &client.client, plan))
        (used.shown(cx, &path))
        (used.odd(cx))
        section aria-labelledby="keys" {
            h2 #keys { "Keys" }
            (key::filters(&cx.query, &path))
            (key::listed(&keys, cx, &path, false))
        }
        @if let Some(records) = &records {
            section aria-labelledby="log" {
                h2 #log { "Recent changes" }
                (super::audit::rows(records, "No records yet."))
                p { a href={ "/console/audit?client=" (encoded(name)) } { "Show all" } }
            }
        }
        @if cx.may::<Update>() {
            (changes(cx, name, &held, problem, &guide.plans))
        }
    };
    let page = Page::new(Section::Clients, name, body)
        .up("/console/clients", "Clients")
        .refused(problem);
    Ok(match cx.may::<keystile_api::key::Issue>() {
        true => page.actions(html! { a.button href={ (path) "/issue" } { "Issue a key" } }),
        false => page,
    })
}

/// The last records about it, for those who may read them.
async fn lately(cx: &PageContext, name: &str) -> Result<Option<Vec<audit::RecordView>>, Problem> {
    match cx.may::<audit::List>() {
        true => {
            let asked = audit::List {
                client: Some(name.to_owned()),
                limit: Some(10),
                ..audit::List::default()
            };
            Ok(Some(cx.run(asked).await?.records))
        }
        false => Ok(None),
    }
}

fn card(cx: &PageContext, client: &ClientView, plan: Option<&guide::Allowance>) -> Markup {
    let labels: Vec<String> = client
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    html! {
        section.card aria-label="Details" {
            (widgets::facts(vec![
                ("Plan", html! { @if let Some(plan) = &client.plan { code { (plan) } } @else { span.soft { "none" } } }),
                ("Limits", widgets::tags(plan.map_or(&[], |p| p.limits.as_slice()))),
                ("Quota", html! { @if let Some(quota) = plan.and_then(|p| p.quota.as_ref()) { (quota) } @else { span.soft { "none" } } }),
                ("Description", html! { @if client.description.is_empty() { span.soft { "none" } } @else { (client.description) } }),
                ("Labels", widgets::tags(&labels)),
                ("Created", time(client.created.0, cx.now)),
            ]))
        }
    }
}

fn changes(
    cx: &PageContext,
    name: &str,
    form: &Form,
    problem: Option<&Problem>,
    plans: &[guide::Allowance],
) -> Markup {
    let path = format!("/console/clients/{}", encoded(name));
    let mut plans: Vec<String> = plans.iter().map(|p| p.plan.clone()).collect();
    // A plan that the policy no longer has stays selected until another is chosen.
    let own = form.text(&snapshot::was("plan")).to_owned();
    if !own.is_empty() && !plans.contains(&own) {
        plans.push(own);
    }
    let of = |verb: &str| problem.filter(|_| form.text("do") == verb);
    let (change, delete) = (
        FormState::new(form, of("update")),
        FormState::new(form, of("delete")),
    );
    html! {
        div.columns {
            section.card aria-labelledby="change" {
                h2 #change { "Change" }
                (change.summary())
                form method="post" action=(path) {
                    (cx.seal()) (snapshot::hidden(form, &FIELDS))
                    (field("plan", "Plan").choice(&change, &widgets::options("none", &plans)))
                    (field("description", "Description").line(&change))
                    (field("labels", "Labels").placeholder("team=web owner=kim").hint(LABELS).line(&change))
                    button type="submit" { "Save" }
                }
            }
            section.card aria-labelledby="delete" {
                h2 #delete { "Delete" }
                p { "Deletes the client and permanently revokes all its keys and tokens." }
                (delete.summary())
                form method="post" action={ (path) "/delete" } data-confirm=(name) {
                    (cx.seal()) (snapshot::hidden(form, &SAME))
                    (field("confirm", &format!("Type {name} to confirm")).needed().line(&delete))
                    button.danger type="submit" { "Delete permanently" }
                }
            }
        }
    }
}

/// Changes the edited fields, if nothing that the form showed has changed.
pub async fn update(
    Path(name): Path<String>,
    SubmittedForm { cx, form }: SubmittedForm,
) -> Response {
    let form = form.with("do", "update");
    let word = match FIELDS.iter().any(|name| snapshot::is_typed(&form, name)) {
        true => "updated",
        false => "as-it-was",
    };
    match updated(&cx, &name, &form).await {
        Ok(()) => cx.go(&format!("/console/clients/{}", encoded(&name)), word),
        Err(problem) => again(&cx, &name, &form, problem).await,
    }
}

fn seen(name: &str) -> Show {
    Show::without_keys(name)
}

async fn updated(cx: &PageContext, name: &str, form: &Form) -> Result<(), Problem> {
    let typed = |field: &str| snapshot::is_typed(form, field);
    let (labels, remove_labels) = match typed("labels") {
        true => key::typed_labels(form)?,
        false => Default::default(),
    };
    let update = Update {
        name: name.to_owned(),
        plan: typed("plan").then(|| form.given("plan").map(str::to_owned)),
        description: typed("description").then(|| form.text("description").to_owned()),
        remove_labels,
        labels,
    };
    let (form, show) = (form.clone(), seen(name));
    cx.with::<Update, _>(name, move |store, world| {
        store.together(|store| {
            let now = current(&show.run(store, world)?);
            snapshot::check(&form, &now, &FIELDS, Refuse::Any)?;
            update.run(store, world).map(drop)
        })
    })
    .await
}

async fn again(cx: &PageContext, name: &str, form: &Form, problem: Problem) -> Response {
    let page = page(cx, name, Some(form), Some(&problem)).await;
    cx.shown(page)
}

/// Deletes a client, if its name was typed.
pub async fn delete(
    Path(name): Path<String>,
    SubmittedForm { cx, form }: SubmittedForm,
) -> Response {
    let form = form.with("do", "delete");
    if form.text("confirm") != name {
        let e = super::form::unconfirmed(&name, "type the name of the client");
        return again(&cx, &name, &form, e.into()).await;
    }
    let asked = Delete {
        name: name.clone(),
        sure: true,
    };
    let (sent, of) = (form.clone(), name.clone());
    let check = move |store: &mut Store, world: &World| {
        let now = current(&seen(&of).run(store, world)?);
        snapshot::check(&sent, &now, &SAME, Refuse::Any).map(drop)
    };
    let done = cx.in_parts(&name, &asked, check).await;
    match done {
        Ok(_) => cx.go("/console/clients", "deleted"),
        Err(problem) => again(&cx, &name, &form, problem).await,
    }
}
