//! What pages are made of: times, states, tables, fields.

use maud::{Markup, html};

use super::form::FormState;
pub use super::secret::{already_done, secret};
pub use super::table::{ListColumn, pager, sorted_table, table};
use keystile_model::when;

/// How many words a list shows in a row.
const TAGS: usize = 3;

/// A time, and how far away it is.
pub fn time(seconds: u64, now: u64) -> Markup {
    html! {
        time datetime=(when::rfc3339(seconds)) title=(when::rfc3339(seconds)) {
            (when::short(seconds)) " " span.soft { (when::relative(seconds, now)) }
        }
    }
}

/// How far away a time is, for lists; the time itself is shown on demand.
pub fn ago(seconds: u64, now: u64) -> Markup {
    html! {
        time datetime=(when::rfc3339(seconds)) title=(when::short(seconds)) { (when::relative(seconds, now)) }
    }
}

/// A time that may be missing.
pub fn maybe_time(seconds: Option<u64>, now: u64, none: &str) -> Markup {
    match seconds {
        Some(seconds) => time(seconds, now),
        None => html! { span.soft { (none) } },
    }
}

/// A state, in a word.
pub fn chip(word: &str) -> Markup {
    html! { span class={ "chip is-" (word) } { (word) } }
}

/// Words, each for itself.
pub fn tags(words: &[String]) -> Markup {
    html! {
        @if words.is_empty() { span.soft { "none" } }
        @for word in words { code.tag { (word) } " " }
    }
}

/// The first few of them, and how many more there are.
pub fn few_tags(words: &[String]) -> Markup {
    let (shown, rest) = words.split_at(words.len().min(TAGS));
    html! {
        (tags(shown))
        @if !rest.is_empty() { span.soft title=(rest.join(" ")) { "+" (rest.len()) } }
    }
}

/// A whole number with its thousands apart.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// Something went wrong; the messages say what.
pub fn alert(title: &str, messages: &[String]) -> Markup {
    html! {
        div.note.bad role="alert" {
            p { strong { (title) } }
            @for message in messages { p { (prose(message)) } }
        }
    }
}

/// A message in which words stand between backticks, as text of a page.
pub fn prose(words: &str) -> Markup {
    html! {
        @for (i, part) in words.split('`').enumerate() {
            @if i % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Information.
pub fn hint(body: Markup) -> Markup {
    html! { div.note { (body) } }
}

/// The message for what was just done, by a word in the URL, and where it is in force; nothing for
/// unknown words.
pub fn done(word: &str, proof: Markup) -> Markup {
    let text = match word {
        "created" => "Client created.",
        "updated" => "Changes saved.",
        "as-it-was" => "Nothing was changed.",
        "deleted" => "Client deleted; its keys and tokens are revoked.",
        "disabled" => "Key disabled. It can be enabled again below.",
        "enabled" => "Key enabled again.",
        "keys-disabled" => "The keys are disabled. They can be enabled again.",
        "keys-revoked" => "The keys are revoked permanently.",
        "none-chosen" => "No key was chosen: nothing was changed.",
        "revoked" => "Key revoked permanently.",
        "applied" => "Policy applied. Envoys get it with the next keyset.",
        "unchanged" => "This policy is already in force: nothing was changed.",
        "token-revoked" => "Token revoked. Its sessions have ended.",
        "forgotten" => "Addresses, networks and user agents of all keys are forgotten.",
        "session-ended" => "Session ended.",
        "envoy-forgotten" => "The Envoy was forgotten. If it comes back, it is listed again.",
        "webhook-removed" => "Webhook removed.",
        "webhook-paused" => "Webhook paused. Its messages wait until it is resumed.",
        "webhook-resumed" => "Webhook resumed. Messages that waited are being sent.",
        "webhook-tested" => "A test event is on its way. Reload the page to see the answer.",
        "webhook-resent" => "The message is being sent again. Reload the page to see the answer.",
        "verified" => "Audit log verified.",
        _ => return html! {},
    };
    html! { div.note.good role="status" { p { (text) } (proof) } }
}

/// Facts: labels and values.
pub fn facts(all: Vec<(&str, Markup)>) -> Markup {
    html! {
        dl.facts {
            @for (word, value) in all {
                div { dt { (word) } dd { (value) } }
            }
        }
    }
}

/// A figure shown prominently.
pub fn figure(value: &str, word: &str, target: Option<&str>) -> Markup {
    let inner = html! { span.value { (value) } span.word { (word) } };
    html! {
        @if let Some(target) = target {
            a.figure href=(target) { (inner) }
        } @else {
            div.figure { (inner) }
        }
    }
}

/// Text to be copied.
pub fn copyable(id: &str, word: &str, text: &str) -> Markup {
    html! {
        div.copyable {
            div.row {
                span.label { (word) }
                button.quiet.small type="button" data-copy=(id) aria-label={ "Copy: " (word) } { "Copy" }
            }
            pre tabindex="0" role="region" aria-label=(word) { code id=(id) { (text) } }
        }
    }
}

/// One field of a form.
pub struct FormField<'a> {
    name: &'a str,
    label: &'a str,
    hint: &'a str,
    kind: &'a str,
    needed: bool,
    placeholder: &'a str,
    /// The id of a list of values to choose from.
    list: Option<&'a str>,
}

/// One field of a form.
pub fn field<'a>(name: &'a str, label: &'a str) -> FormField<'a> {
    FormField {
        name,
        label,
        hint: "",
        kind: "text",
        needed: false,
        placeholder: "",
        list: None,
    }
}

impl<'a> FormField<'a> {
    /// Says what it is for.
    #[must_use]
    pub fn hint(self, hint: &'a str) -> Self {
        Self { hint, ..self }
    }

    /// Shows what could stand there.
    #[must_use]
    pub fn placeholder(self, placeholder: &'a str) -> Self {
        Self {
            placeholder,
            ..self
        }
    }

    /// Offers the values of a list while something is typed.
    #[must_use]
    pub fn list(self, id: &'a str) -> Self {
        Self {
            list: Some(id),
            ..self
        }
    }

    /// It cannot be left empty.
    #[must_use]
    pub fn needed(self) -> Self {
        Self {
            needed: true,
            ..self
        }
    }

    /// `password`, `number`, `search`.
    #[must_use]
    pub fn kind(self, kind: &'a str) -> Self {
        Self { kind, ..self }
    }

    fn wrapped(&self, draft: &FormState<'_>, control: Markup) -> Markup {
        let faults = draft.faults.with(self.name);
        html! {
            div.field {
                label for=(self.id()) {
                    (self.label)
                    @if self.needed { span.soft { " needed" } }
                }
                (control)
                @if !faults.is_empty() {
                    div.fault id={ (self.id()) "-fault" } {
                        @for fault in faults { p { (prose(fault)) } }
                    }
                }
                @if !self.hint.is_empty() {
                    p.soft id={ (self.id()) "-hint" } { (self.hint) }
                }
            }
        }
    }

    fn id(&self) -> String {
        format!("f-{}", self.name)
    }

    fn bad(&self, draft: &FormState<'_>) -> Option<&'static str> {
        (!draft.faults.with(self.name).is_empty()).then_some("true")
    }

    fn described(&self, draft: &FormState<'_>) -> Option<String> {
        let mut ids = Vec::new();
        if self.bad(draft).is_some() {
            ids.push(format!("{}-fault", self.id()));
        }
        if !self.hint.is_empty() {
            ids.push(format!("{}-hint", self.id()));
        }
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    /// A single line. The value of a password field is never sent back.
    pub fn line(self, draft: &FormState<'_>) -> Markup {
        let value = if self.kind == "password" {
            ""
        } else {
            draft.form.text(self.name)
        };
        let control = html! {
            input id=(self.id()) name=(self.name) type=(self.kind) value=(value) required[self.needed]
                placeholder=[(!self.placeholder.is_empty()).then_some(self.placeholder)] list=[self.list]
                autocomplete="off" autocapitalize="off" spellcheck="false"
                aria-invalid=[self.bad(draft)] aria-describedby=[self.described(draft)];
        };
        self.wrapped(draft, control)
    }

    /// Several lines.
    pub fn area(self, draft: &FormState<'_>, rows: u32) -> Markup {
        let control = html! {
            textarea id=(self.id()) name=(self.name) rows=(rows) required[self.needed]
                placeholder=[(!self.placeholder.is_empty()).then_some(self.placeholder)]
                autocomplete="off" autocapitalize="off" spellcheck="false"
                aria-invalid=[self.bad(draft)] aria-describedby=[self.described(draft)] {
                (draft.form.lines(self.name))
            }
        };
        self.wrapped(draft, control)
    }

    /// One of several: values and words.
    pub fn choice(self, draft: &FormState<'_>, options: &[(String, String)]) -> Markup {
        let chosen = draft.form.text(self.name);
        let control = html! {
            select id=(self.id()) name=(self.name)
                aria-invalid=[self.bad(draft)] aria-describedby=[self.described(draft)] {
                @for (value, word) in options {
                    option value=(value) selected[value == chosen] { (word) }
                }
            }
        };
        self.wrapped(draft, control)
    }

    /// Some of several.
    pub fn checks(self, draft: &FormState<'_>, options: &[String]) -> Markup {
        let faults = draft.faults.with(self.name);
        html! {
            fieldset.field aria-describedby=[self.described(draft)] {
                legend { (self.label) }
                div.checks {
                    @for value in options {
                        label.check {
                            input type="checkbox" name=(self.name) value=(value) checked[draft.form.has(self.name, value)];
                            span { (value) }
                        }
                    }
                }
                @if !faults.is_empty() {
                    div.fault id={ (self.id()) "-fault" } { @for fault in faults { p { (prose(fault)) } } }
                }
                @if !self.hint.is_empty() { p.soft id={ (self.id()) "-hint" } { (self.hint) } }
            }
        }
    }
}

/// Options of a choice, of which the first means none.
pub fn options<'a>(none: &str, all: impl IntoIterator<Item = &'a String>) -> Vec<(String, String)> {
    let none = std::iter::once((String::new(), none.to_owned()));
    none.chain(all.into_iter().map(|w| (w.clone(), w.clone())))
        .collect()
}

impl FormState<'_> {
    /// What is wrong with the form as a whole, or a note that fields have errors.
    pub fn summary(&self) -> Markup {
        let below = self.faults.rest.is_empty() && !self.faults.is_empty();
        html! {
            @if below {
                (alert("Please correct the fields below.", &[]))
            } @else if !self.faults.is_empty() {
                (alert("Nothing was changed.", &self.faults.rest))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(number(7), "7");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn what_is_typed_cannot_become_markup() {
        let form = super::super::form::Form::default().with("name", "\"><script>x</script>");
        let draft = FormState::new(&form, None);
        let shown = field("name", "Name").line(&draft).into_string();
        assert!(!shown.contains("<script>"), "{shown}");
        assert!(shown.contains("&quot;&gt;&lt;script&gt;"), "{shown}");
    }

    #[test]
    fn a_password_is_not_sent_back() {
        let form = super::super::form::Form::default().with("token", "kst_x");
        let draft = FormState::new(&form, None);
        let shown = field("token", "Token").kind("password").line(&draft);
        assert!(!shown.into_string().contains("kst_x"));
    }
}
