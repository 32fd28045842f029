//! Keys in the text of a policy.

use serde_json::Value;

use keystile_model::error::{Code, Error, Fault, Result, refuse, refuse_all};
use keystile_model::words;
use keystile_policy::file::PolicyFile;

/// Checks that neither the lines of a policy nor its values contain a key or a token: all of it is
/// stored permanently, in the audit log too.
///
/// # Errors
/// The lines that do, or the values if it is not visible in a line.
pub fn check_text(file: &PolicyFile) -> Result<()> {
    let lines = file.text.lines().zip(1..);
    let held = lines.filter(|(line, _)| words::holds_secret(line));
    let refusals: Vec<Fault> = held
        .flat_map(|(_, number)| {
            holds_secret()
                .at(format_args!("{}:{number}", file.name))
                .into_faults()
        })
        .collect();
    if !refusals.is_empty() {
        return Err(refuse_all(refusals));
    }
    match held_in(&serde_json::to_value(&file.raw).unwrap_or_default()) {
        None => Ok(()),
        Some(field) => Err(holds_secret().field(field).at(&file.name)),
    }
}

fn holds_secret() -> Error {
    refuse(
        Code::SecretInText,
        "it holds a key, a token or a secret, which would be stored for good",
        "leave it out, and revoke it if others could have seen it",
    )
}

/// The path of a value that contains a key, however it is written. For a name that does, the path
/// of its parent.
fn held_in(value: &Value) -> Option<String> {
    let join = |name: &str, rest: String| match rest.is_empty() {
        true => name.to_owned(),
        false => format!("{name}.{rest}"),
    };
    match value {
        Value::String(text) => words::holds_secret(text).then(String::new),
        Value::Array(all) => all
            .iter()
            .enumerate()
            .find_map(|(n, v)| held_in(v).map(|rest| join(&n.to_string(), rest))),
        Value::Object(all) => all
            .iter()
            .find_map(|(name, v)| match words::holds_secret(name) {
                true => Some(String::new()),
                false => held_in(v).map(|rest| join(name, rest)),
            }),
        _ => None,
    }
}

/// A policy for the audit log: one that is older than [`check_text`] may contain keys.
pub(super) fn without_keys(text: &str) -> String {
    let hides_one = keystile_policy::file::parse("policy", text.to_owned())
        .is_ok_and(|file| check_text(&file).is_err());
    if hides_one && !text.lines().any(words::holds_secret) {
        return "# a policy that held a key\n".to_owned();
    }
    let shown = |line| match words::holds_secret(line) {
        true => "# a line that held a key\n",
        false => line,
    };
    text.split_inclusive('\n').map(shown).collect()
}
