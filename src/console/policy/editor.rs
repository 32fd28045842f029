//! The editor: the text with its line numbers, mistakes at their lines, and what a valid text would
//! change. It works without the script, which adds that numbers follow what is typed.

use maud::{Markup, html};
use sha2::{Digest as _, Sha256};

use super::super::context::PageContext;
use super::super::form::{Form, sentence};
use super::super::page::{Page, Section};
use super::super::widgets::{self, chip, number, prose};
use keystile_api::Operation as _;
use keystile_api::policy::{Apply, Checked, Compared, PolicyChangeView};
use keystile_core::hex;
use keystile_model::error::Surface;
use keystile_server::problem::Problem;

/// Lines below the last one, to go on writing.
const ROOM: usize = 3;
/// Lines of an editor for a short policy.
const LEAST: usize = 24;

/// A valid policy, and what it would change.
pub(super) struct Tried {
    pub(super) checked: Checked,
    pub(super) compared: Compared,
}

impl Tried {
    fn changes(&self) -> impl Iterator<Item = &PolicyChangeView> {
        self.compared.everywhere.iter().chain(&self.compared.routes)
    }

    /// How many changes let in requests that are refused today.
    pub(super) fn opens(&self) -> usize {
        self.changes().filter(|c| c.effect == "opens").count()
    }
}

/// The answer to the question below: it is for this text, compared with this policy, and no other.
pub(super) fn intended(text: &str, tried: &Tried) -> String {
    let digest = Sha256::new()
        .chain_update(tried.compared.revision.to_string())
        .chain_update("\n")
        .chain_update(text);
    hex::text(digest.finalize())
}

/// Asks before something is opened.
fn opening(form: &Form, tried: &Tried) -> Markup {
    let intended = intended(&form.lines("text"), tried);
    html! {
        div.note.warn {
            label.check {
                input type="checkbox" name="opens" value=(intended) required checked[form.text("opens") == intended];
                span { "This lets in requests that are refused at the moment, as marked above. That is intended." }
            }
        }
    }
}

/// A mistake in the text.
struct Mistake {
    line: Option<u64>,
    words: String,
}

fn mistakes(problem: Option<&Problem>) -> Vec<Mistake> {
    let parts = problem.map(|p| p.errors.as_slice()).unwrap_or_default();
    let mut all: Vec<Mistake> = parts
        .iter()
        .map(|part| {
            let mut fault = part.fault();
            if fault.line.is_some() {
                // The line stands in front of it here.
                fault.place.clear();
            }
            Mistake {
                line: fault.line,
                words: sentence(&fault.words(Surface::Console)),
            }
        })
        .collect();
    if let Some(problem) = problem.filter(|_| all.is_empty()) {
        all.push(Mistake {
            line: None,
            words: sentence(&problem.detail),
        });
    }
    all
}

/// The page: the text, what is wrong with it, or what it would change.
pub(super) fn editor(
    cx: &PageContext,
    form: &Form,
    problem: Option<&Problem>,
    tried: Option<&Tried>,
) -> Page {
    let mistakes = mistakes(problem);
    let body = html! {
        form.editor method="post" action="/console/policy/edit" data-editor {
            (cx.seal())
            input type="hidden" name="revision" value=(form.text("revision"));
            @if !mistakes.is_empty() { (listed(&mistakes)) }
            @if let Some(tried) = tried { (meaning(tried)) }
            (text(&form.lines("text"), &mistakes))
            @if let Some(tried) = tried.filter(|t| cx.may::<Apply>() && t.opens() > 0) { (opening(form, tried)) }
            div.row.ending {
                @let ready = tried.is_some() && cx.may::<Apply>();
                button.quiet[ready] type="submit" name="do" value="check" { "Check and compare" }
                @if ready { button type="submit" name="do" value="apply" { "Apply" } }
                span.soft.keys-help { kbd { "Ctrl" } "+" kbd { "Enter" } " checks" @if !mistakes.is_empty() { ", " kbd { "F8" } " goes to the next mistake" } }
            }
            @if !cx.may::<Apply>() {
                p.soft { "Applying it requires a token of the role " (roles()) "." }
            }
        }
    };
    Page::new(Section::Policy, "Edit the policy", body)
        .up("/console/policy", "Policy")
        .refused(problem)
}

fn listed(mistakes: &[Mistake]) -> Markup {
    html! {
        div.note.bad #mistakes role="alert" {
            p { strong {
                @if mistakes.iter().all(|m| m.line.is_none()) { "Nothing was applied." }
                @else if mistakes.len() == 1 { "The policy has a mistake." }
                @else { "The policy has " (mistakes.len()) " mistakes." }
            } }
            ul.plainly {
                @for mistake in mistakes {
                    li {
                        @if let Some(line) = mistake.line { a href={ "#line-" (line) } data-line=(line) { "Line " (line) } ": " }
                        (prose(&mistake.words))
                    }
                }
            }
        }
    }
}

/// The text beside its numbers. Both are as long as the text and scroll together.
fn text(text: &str, mistakes: &[Mistake]) -> Markup {
    let lines = text.split('\n').count();
    let rows = (lines + ROOM).max(LEAST);
    let at = |n: usize| {
        mistakes
            .iter()
            .find(|m| m.line.is_some_and(|l| usize::try_from(l) == Ok(n)))
    };
    html! {
        div.field {
            label for="f-text" { "policy.yaml" span.soft { " needed" } }
            div.code {
                div.numbers aria-hidden="true" {
                    @for n in 1..=lines {
                        @match at(n) {
                            Some(mistake) => div.bad id={ "line-" (n) } { (n) span.at { (prose(&mistake.words)) } },
                            None => div { (n) },
                        }
                    }
                }
                textarea #f-text name="text" rows=(rows) required
                    autocomplete="off" autocapitalize="off" spellcheck="false"
                    aria-invalid=[(!mistakes.is_empty()).then_some("true")]
                    aria-describedby=(if mistakes.is_empty() { "f-text-hint" } else { "mistakes f-text-hint" }) {
                    // A browser leaves out a line break right behind the tag.
                    "\n" (text)
                }
            }
            p.soft id="f-text-hint" { "Nothing takes effect until you apply it." }
        }
    }
}

fn roles() -> String {
    let names: Vec<&str> = Apply::ENDPOINT.roles.iter().map(|r| r.as_str()).collect();
    names.join(" or ")
}

/// `3 keys gain, 2 keys lose`.
fn keys(change: &PolicyChangeView) -> Markup {
    let (Some(gain), Some(lose)) = (change.keys_gained, change.keys_lost) else {
        return html! { span.soft { "–" } };
    };
    let count = |n: u64| format!("{} {}", number(n), if n == 1 { "key" } else { "keys" });
    html! {
        @if gain > 0 { span.chip.is-opens { (count(gain)) " let in" } " " }
        @if lose > 0 { span.chip.is-closes { (count(lose)) " shut out" } }
        @if gain == 0 && lose == 0 { span.soft { "none" } }
    }
}

/// What a valid text would change.
pub(super) fn meaning(tried: &Tried) -> Markup {
    let row = |c: &PolicyChangeView| {
        vec![
            html! { code { (c.at) } },
            chip(&c.effect),
            html! {
                @if c.methods.is_empty() { span.soft { "any" } } @else { (widgets::tags(&c.methods)) }
                @if !c.hosts.is_empty() { " at " (widgets::tags(&c.hosts)) }
            },
            html! { (prose(&c.change)) },
            keys(c),
        ]
    };
    let checked = &tried.checked;
    html! {
        section.card aria-labelledby="meaning" {
            h2 #meaning { "Changes for callers" }
            p.soft {
                "No mistakes: " (checked.routes) " routes, " (checked.plans) " plans, " (checked.scopes.len())
                " scopes. Compared with revision " (tried.compared.revision) "."
            }
            (widgets::table("Changes", &["Where", "Effect", "Methods", "Change", "Living keys"], tried.changes().map(row).collect(),
                "No request is answered differently."))
            @if !checked.warnings.is_empty() {
                div.note.warn role="status" {
                    @for warning in &checked.warnings { p { (prose(&sentence(warning))) } }
                }
            }
            @for note in &checked.notes { p.soft { (prose(&sentence(note))) } }
        }
    }
}
