//! The audit log: search, verify, export.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::Value;

use super::context::{PageContext, SubmittedForm};
use super::form::Form;
use super::page::{FormState, Page, Section};
use super::widgets::{self, chip, field, number};
use keystile_api::audit::{Export, List, RecordView, VerifiedView, Verify};
use keystile_api::encoded;
use keystile_server::problem::Problem;

/// The filters.
const FIELDS: [&str; 7] = [
    "client", "subject", "actor", "action", "outcome", "since", "until",
];
const PAGE: u32 = 50;
/// Records of one page of an export, and of one file.
const EXPORTED: u32 = 10_000;
const MOST: usize = 1_000_000;

/// The log, filtered by the query.
pub async fn list(cx: PageContext) -> Response {
    let page = listing(&cx, None).await;
    cx.shown(page)
}

fn asked(query: &Form) -> Form {
    let mut asked = Form::default();
    for name in FIELDS {
        if let Some(value) = query.given(name) {
            asked = asked.with(name, value);
        }
    }
    asked
}

async fn listing(
    cx: &PageContext,
    verified: Option<&Result<VerifiedView, Problem>>,
) -> Result<Page, Problem> {
    let query = asked(&cx.query);
    let mut search = query.clone();
    if let Some(before) = cx.query.given("before") {
        search = search.with("before", before);
    }
    let (found, problem) = match search.operation::<List>(&[]) {
        Ok(mut list) => {
            list.limit = Some(PAGE);
            match cx.run(list).await {
                Ok(found) => (Some(found), None),
                Err(problem) if problem.status == 422 => (None, Some(problem)),
                Err(problem) => return Err(problem),
            }
        }
        Err(e) => (None, Some(Problem::from(e))),
    };
    let draft = FormState::new(&query, problem.as_ref());
    let outcomes = ["done".to_owned(), "refused".to_owned()];
    let path = "/console/audit";
    let next = found
        .as_ref()
        .and_then(|f| f.next)
        .map(|n| query.clone().with("before", n.to_string()).target(path));
    let first = cx.query.given("before").map(|_| query.target(path));
    let empty = match next {
        Some(_) => "No match among the records searched so far; there are more.",
        None => "No matching records.",
    };
    let body = html! {
        @if let Some(verified) = verified { (whole(verified)) }
        (draft.summary())
        form.filters method="get" action=(path) role="search" aria-label="Audit log" {
            (field("client", "Client").line(&draft))
            (field("subject", "Subject").placeholder("id or name").line(&draft))
            (field("actor", "Actor").placeholder("token ci").line(&draft))
            (field("action", "Action").placeholder("key.revoke").line(&draft))
            (field("outcome", "Outcome").choice(&draft, &widgets::options("any", &outcomes)))
            (field("since", "Since").placeholder("7d").line(&draft))
            (field("until", "Until").placeholder("2027-01-31").line(&draft))
            button.quiet type="submit" { "Show" }
        }
        @if let Some(found) = &found { (rows(&found.records, empty)) }
        (widgets::pager(first, next))
    };
    let actions = html! {
        form method="post" action="/console/audit/verify" {
            (cx.seal())
            button.quiet type="submit" { "Verify" }
        }
        a.button.quiet href=(query.target("/console/audit/export")) download { "Export" }
    };
    Ok(Page::new(Section::Audit, "Audit log", body)
        .actions(actions)
        .refused(problem.as_ref()))
}

fn whole(verified: &Result<VerifiedView, Problem>) -> Markup {
    match verified {
        Ok(v) => html! {
            div.note.good role="status" {
                p { strong { "The log is intact." } " " (number(v.records)) " records; none was changed, removed, inserted or moved." }
                p.soft { "Head: " code { (v.head) } }
            }
        },
        Err(problem) => {
            widgets::alert("The log has been altered.", &super::page::messages(problem))
        }
    }
}

/// Records, one row each, with what changed.
pub fn rows(records: &[RecordView], empty: &str) -> Markup {
    let row = |r: &RecordView| {
        let short = r.at.get(..19).unwrap_or(&r.at).replace('T', " ");
        vec![
            html! { code { (r.seq) } },
            html! { time datetime=(r.at) title=(r.at) { (short) } },
            html! { code { (r.action) } },
            html! {
                @if r.subject.is_empty() { span.soft { "–" } } @else { (r.subject) }
                @if !r.client.is_empty() && r.client != r.subject {
                    " " span.soft { "of " a href={ "/console/clients/" (encoded(&r.client)) } { (r.client) } }
                }
            },
            html! { (r.user) @if !r.address.is_empty() { " " span.soft { (r.address) } } },
            html! { (chip(&r.outcome)) @if !r.reason.is_empty() { " " (r.reason) } },
            changed(r),
        ]
    };
    widgets::table(
        "Audit records",
        &[
            "Record", "When", "Action", "Subject", "Actor", "Outcome", "Change",
        ],
        records.iter().map(row).collect(),
        empty,
    )
}

fn changed(r: &RecordView) -> Markup {
    let lines = differences(&r.before, &r.after);
    html! {
        @if lines.is_empty() {
            span.soft { "–" }
        } @else {
            details {
                summary aria-label={ "Change of record " (r.seq) } { (lines.len()) @if lines.len() == 1 { " field" } @else { " fields" } }
                ul.changes {
                    @for (name, before, after) in &lines {
                        li {
                            code { (name) } ": "
                            @if let Some(before) = before { del { (before) } " " }
                            @if let Some(after) = after { ins { (after) } }
                        }
                    }
                }
            }
        }
    }
}

/// Fields that differ: name, old value and new value.
fn differences(before: &Value, after: &Value) -> Vec<(String, Option<String>, Option<String>)> {
    let word = |v: Option<&Value>| {
        v.filter(|v| !v.is_null()).map(|v| match v {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    let names = |v: &Value| -> Vec<String> {
        v.as_object()
            .map(|m| m.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut all = names(before);
    all.extend(names(after));
    all.sort_unstable();
    all.dedup();
    all.into_iter()
        .filter(|name| before.get(name) != after.get(name))
        .map(|name| {
            let (before, after) = (word(before.get(&name)), word(after.get(&name)));
            (name, before, after)
        })
        .collect()
}

/// Verifies it.
pub async fn verify(SubmittedForm { cx, .. }: SubmittedForm) -> Response {
    let verified = cx.run(Verify { expect: None }).await;
    let page = match &verified {
        Err(problem) if problem.status == 403 => listing(&cx, None).await,
        _ => listing(&cx, Some(&verified)).await,
    };
    cx.shown(page)
}

/// All matching records, oldest first, one JSON object per line.
pub async fn export(cx: PageContext) -> Response {
    match exported(&cx).await {
        Ok(lines) => {
            let headers = [
                (header::CONTENT_TYPE, "application/x-ndjson"),
                (
                    header::CONTENT_DISPOSITION,
                    "attachment; filename=\"audit.jsonl\"",
                ),
            ];
            cx.tagged((headers, lines).into_response())
        }
        Err(problem) => cx.shown(Err(problem)),
    }
}

async fn exported(cx: &PageContext) -> Result<String, Problem> {
    let mut asked: Export = asked(&cx.query).operation(&[])?;
    asked.limit = Some(EXPORTED);
    let mut out = String::new();
    let mut records = 0;
    while records < MOST {
        let found = cx.run(asked.clone()).await?;
        for record in &found.records {
            out.push_str(&serde_json::to_string(record).unwrap_or_default());
            out.push('\n');
        }
        records += found.records.len();
        if found.next.is_none() {
            return Ok(out);
        }
        asked.after = found.next;
    }
    Err(keystile_model::error::refuse(
        keystile_model::error::Code::TooMany,
        format_args!("more than {MOST} records match"),
        keystile_model::next![
            "narrow the time range, or use ",
            keystile_model::error::Act::AuditExport
        ],
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_shown_and_nothing_else() {
        let before = json!({"a": 1, "b": "x", "gone": true});
        let after = json!({"a": 1, "b": "y", "new": ["z"]});
        let want = [
            ("b".to_owned(), Some("x".to_owned()), Some("y".to_owned())),
            ("gone".to_owned(), Some("true".to_owned()), None),
            ("new".to_owned(), None, Some("[\"z\"]".to_owned())),
        ];
        assert_eq!(differences(&before, &after), want);
        assert!(differences(&Value::Null, &Value::Null).is_empty());
    }
}
