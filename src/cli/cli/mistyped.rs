//! Usage errors, for a script that asked for JSON: clap's errors, each with a code from the one
//! list.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use keystile_model::error::{Code, Error, refuse};

/// Whether `--output json` is on a command line that could not be parsed.
pub(super) fn wants_json(args: &[OsString]) -> bool {
    let typed = args.iter().map_while(|a| a.to_str().filter(|a| *a != "--"));
    let typed: Vec<&str> = typed.collect();
    let joined = ["--output=json", "-ojson", "-o=json"];
    typed.iter().any(|arg| joined.contains(arg))
        || typed
            .windows(2)
            .any(|pair| matches!(pair, ["--output" | "-o", "json"]))
}

/// The error as a refusal.
pub(super) fn error(e: &clap::Error) -> Error {
    let of = |kind| match e.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(all)) if !all.is_empty() => Some(all.join(", ")),
        _ => None,
    };
    let source = std::error::Error::source(e).map(ToString::to_string);
    let what = [
        of(ContextKind::InvalidArg),
        of(ContextKind::InvalidSubcommand),
        of(ContextKind::InvalidValue).filter(|value| !value.is_empty()),
        of(ContextKind::PriorArg),
        source,
    ];
    let what: Vec<String> = what.into_iter().flatten().collect();
    let kind = e.kind().as_str().unwrap_or("the arguments do not fit");
    let fact = match what.is_empty() {
        true => kind.to_owned(),
        false => format!("{kind}: {}", what.join(": ")),
    };
    let error = refuse(code(e.kind()), fact, "see `--help`");
    match of(ContextKind::InvalidArg).and_then(|arg| option(&arg)) {
        Some(option) => error.about(option),
        None => error,
    }
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => Code::FieldUnknown,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::TooFewValues
        | ErrorKind::WrongNumberOfValues
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Code::FieldMissing,
        ErrorKind::ArgumentConflict => Code::FieldsConflict,
        _ => Code::InvalidValue,
    }
}

/// `not_before` of `--not-before <TIME>`, `client` of `<CLIENT>`.
fn option(arg: &str) -> Option<String> {
    let first = arg.split([' ', '=']).next()?;
    let name = first
        .trim_start_matches('-')
        .trim_matches(['<', '>', '[', ']', '.']);
    (!name.is_empty()).then(|| name.to_lowercase().replace('-', "_"))
}
