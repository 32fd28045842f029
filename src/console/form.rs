//! Input: fields of forms and queries, making operations from them, and messages beside invalid
//! fields.

use std::collections::BTreeMap;

use maud::{Markup, html};
use sha2::{Digest as _, Sha256};

use keystile_api::{self as operation, Operation};
use keystile_model::error::{Code, Error, Kind, Result, Surface, refuse, refuse_all};
use keystile_model::wire::Secret;
use keystile_server::problem::Problem;

/// The field that carries the tag of what a page showed.
pub const SEEN: &str = "seen";

/// Fields by name.
#[derive(Clone, Default)]
pub struct Form {
    fields: BTreeMap<String, Vec<String>>,
}

/// Hidden fields of forms.
const OURS: [&str; 6] = ["csrf", "nonce", "confirm", "do", "sure", SEEN];

/// Whether a field is one of our hidden ones.
fn is_ours(name: &str) -> bool {
    OURS.contains(&name) || name.starts_with("was_")
}

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).unwrap_or("%");
        let fields = operation::words(text)?;
        Ok(Self { fields })
    }

    /// One field, without the space around it; empty if it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.all(name).first().map_or("", |v| v.trim())
    }

    /// One field, if something stands in it.
    pub fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|v| !v.is_empty())
    }

    /// One field as it was typed, lines ended by `\n`: browsers send `\r\n`.
    pub fn lines(&self, name: &str) -> String {
        let text = self.all(name).first().map_or("", String::as_str);
        text.replace("\r\n", "\n")
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> &[String] {
        self.fields.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a value of a field is chosen.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.all(name).iter().any(|v| v == value)
    }

    /// The words in a field, separated by spaces, commas or line breaks.
    pub fn words(&self, name: &str) -> Vec<String> {
        let all = self.all(name).iter();
        all.flat_map(|v| v.split([' ', ',', '\n', '\r', '\t']))
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The `name=value` pairs in a field, separated like words. A value with a space or a comma in
    /// it is in double quotes, as [`pairs_text`] writes it.
    pub fn pairs(&self, name: &str) -> Vec<String> {
        let mut all = Vec::new();
        let (mut word, mut inside) = (String::new(), false);
        let text = self.all(name).join(" ");
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' if inside => word.extend(chars.next()),
                '"' if inside => inside = false,
                // Elsewhere in a word it is an ordinary character.
                '"' if word.ends_with('=') => inside = true,
                ' ' | ',' | '\n' | '\r' | '\t' if !inside => all.push(std::mem::take(&mut word)),
                c => word.push(c),
            }
        }
        all.push(word);
        all.retain(|w| !w.is_empty());
        all
    }

    /// A field that holds a secret.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.given(name).map(Secret::new)
    }

    /// Sets a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.insert(name.to_owned(), vec![value.into()]);
        self
    }

    /// Sets all values of a field.
    #[must_use]
    pub fn with_all(mut self, name: &str, values: Vec<String>) -> Self {
        self.fields.insert(name.to_owned(), values);
        self
    }

    /// Leaves a field out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.remove(name);
        self
    }

    /// A path with these fields as its query.
    pub fn target(&self, path: &str) -> String {
        with_query(path, &self.fields)
    }

    /// Makes an operation from its fields: empty ones are left out, and those in `lists` hold
    /// several words.
    ///
    /// # Errors
    /// Every field with an invalid value, in the words of the API.
    pub fn operation<O: Operation>(&self, lists: &[&str]) -> Result<O> {
        let mut fields = BTreeMap::new();
        for name in self.fields.keys() {
            if is_ours(name) {
                continue;
            }
            let values = if lists.contains(&name.as_str()) {
                self.words(name)
            } else {
                self.given(name).map(str::to_owned).into_iter().collect()
            };
            if !values.is_empty() {
                fields.insert(name.clone(), values);
            }
        }
        let mut wrong = Vec::new();
        loop {
            let e = match operation::from_words(fields.clone()) {
                Ok(asked) if wrong.is_empty() => return Ok(asked),
                Ok(_) => return Err(refuse_all(wrong)),
                Err(e) => e,
            };
            // The parser stops at the first mistake; without that field it finds the next.
            let field = e.faults().iter().find_map(|f| f.base_field());
            let gone = field.and_then(|field| fields.remove(field));
            wrong.extend(e.into_faults());
            if gone.is_none() {
                return Err(refuse_all(wrong));
            }
        }
    }

    /// Its fields, for a form that sends them once more.
    pub fn hidden(&self) -> Markup {
        html! {
            @for (name, values) in &self.fields {
                @for value in values { input type="hidden" name=(name) value=(value); }
            }
        }
    }

    /// All that it says.
    pub fn digest(&self) -> [u8; 32] {
        let mut h = Sha256::new();
        for (name, values) in self.fields.iter().filter(|(n, _)| *n != "csrf") {
            for part in std::iter::once(name).chain(values) {
                h.update((part.len() as u64).to_be_bytes());
                h.update(part);
            }
        }
        h.finalize().into()
    }
}

/// Pairs as a field shows them; [`Form::pairs`] reads them back.
pub fn pairs_text(pairs: &BTreeMap<String, String>) -> String {
    let word = |(name, value): (&String, &String)| match value
        .contains(|c: char| c.is_whitespace() || ",\"".contains(c))
    {
        true => {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            format!("{name}=\"{value}\"")
        }
        false => format!("{name}={value}"),
    };
    let words: Vec<String> = pairs.iter().map(word).collect();
    words.join(" ")
}

/// What is wrong with a form, by field and as a whole.
#[derive(Default)]
pub struct Faults {
    fields: BTreeMap<String, Vec<String>>,
    /// With the form as a whole.
    pub rest: Vec<String>,
}

impl Faults {
    /// Puts each message beside the field that it is about, if the form has that field.
    pub fn from_problem(problem: &Problem, form: &Form) -> Self {
        let mut faults = Self::default();
        for part in &problem.errors {
            let fault = part.fault();
            match fault.base_field().filter(|f| form.fields.contains_key(*f)) {
                Some(field) => {
                    let field = faults.fields.entry(field.to_owned()).or_default();
                    field.push(sentence(&fault.beside(Surface::Console)));
                }
                None => faults.rest.push(sentence(&fault.words(Surface::Console))),
            }
        }
        faults
    }

    /// What is wrong with a field.
    pub fn with(&self, field: &str) -> &[String] {
        self.fields.get(field).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.rest.is_empty()
    }
}

/// The refusal of a form in which something was to be typed to confirm it.
pub fn unconfirmed(wanted: &str, next: &str) -> Error {
    let fact = format_args!("this is not `{wanted}`");
    refuse(Code::ConfirmationMissing, fact, next)
        .field("confirm")
        .with_kind(Kind::Invalid)
}

/// A message for a page, which begins like a sentence.
pub fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// A target with one field of its query set to another value, or left out.
fn with_query(path: &str, fields: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = path.to_owned();
    let mut mark = '?';
    for (name, values) in fields {
        for value in values.iter().filter(|v| !v.is_empty()) {
            out.push(mark);
            out.push_str(&operation::encoded(name));
            out.push('=');
            out.push_str(&operation::encoded(value));
            mark = '&';
        }
    }
    out
}

/// What a form holds and what is wrong with it.
pub struct FormState<'f> {
    /// What was typed, or the initial values.
    pub form: &'f Form,
    /// What is wrong.
    pub faults: Faults,
}

impl<'f> FormState<'f> {
    /// A form that was not submitted yet, or was refused.
    pub fn new(form: &'f Form, problem: Option<&Problem>) -> Self {
        Self {
            form,
            faults: problem
                .map(|p| Faults::from_problem(p, form))
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_api::key;
    use keystile_model::error::{Act, Next};

    #[test]
    fn a_form_becomes_an_operation_without_what_was_left_empty() {
        let form = Form::read(
            b"csrf=x&nonce=y&client=acme&name=&scopes=read+write%0d%0alist&plan=&expires=90d",
        )
        .unwrap();
        let issue: key::Issue = form.operation(&["scopes"]).unwrap();
        assert_eq!(issue.client, "acme");
        assert_eq!(issue.scopes, ["read", "write", "list"]);
        assert!(issue.plan.is_none() && issue.expires.is_some());
    }

    #[test]
    fn a_message_stands_beside_the_field_that_it_is_about() {
        let form = Form::read(b"name=a+b&expires=soon&plan=gld&cidrs=").unwrap();
        let one =
            |code, field: &str, next: Next| refuse(code, "wrong", next).about(field).into_faults();
        let faults = [
            one(Code::InvalidValue, "expires", "write `90d`".into()),
            one(
                Code::UnknownPlan,
                "plan",
                keystile_model::next!["see ", Act::PlanList],
            ),
            one(Code::InvalidValue, "origins[0]", "do it".into()),
        ];
        let problem = Problem::from(refuse_all(faults.concat()));
        let faults = Faults::from_problem(&problem, &form);
        assert_eq!(faults.with("expires"), ["Wrong; write `90d`"]);
        assert_eq!(faults.with("plan"), ["Wrong; see “Policy”"]);
        assert_eq!(faults.rest, ["Wrong; do it"]);
    }

    #[test]
    fn a_field_that_does_not_hold_what_it_should_is_named() {
        let form = Form::read(b"client=acme&expires=soon").unwrap();
        let Err(e) = form.operation::<key::Issue>(&[]) else {
            panic!("taken");
        };
        let faults = Faults::from_problem(&e.into(), &form);
        assert!(
            faults.with("expires")[0].contains("write `90d`"),
            "{:?}",
            faults.rest
        );
    }

    #[test]
    fn pairs_are_read_as_they_are_shown() {
        let pairs: BTreeMap<String, String> = [
            ("owner", "Jane Doe, \"JD\" \\"),
            ("path", "C:\\temp"),
            ("quote", "a\"b"),
            ("team", "web"),
            ("none", ""),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let form = Form::default().with("labels", pairs_text(&pairs));
        let read = keystile_model::wire::labels(&form.pairs("labels")).unwrap();
        assert_eq!(read.into_iter().collect::<BTreeMap<_, _>>(), pairs);
        let typed = Form::read(b"labels=team=web,%0d%0aowner=kim").unwrap();
        assert_eq!(typed.pairs("labels"), ["team=web", "owner=kim"]);
    }

    #[test]
    fn forms_that_say_the_same_have_the_same_digest() {
        let form = |text: &str| Form::read(text.as_bytes()).unwrap().digest();
        assert_eq!(form("a=1&b=2&csrf=x"), form("b=2&a=1&csrf=y"));
        assert_ne!(form("a=1&b=2"), form("a=12&b="));
    }
}
