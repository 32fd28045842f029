//! Refusals as JSON: for scripts, which compare codes and fields and never read sentences.

use keystile_model::error::{Code, Error, Fault, Surface};
use serde::Serialize;

/// Everything that is wrong, on one line. The form is that of a problem of the API.
#[derive(Serialize)]
pub(super) struct Refused<'e> {
    /// What kind of refusal it is, as in the API.
    code: &'static str,
    errors: Vec<Part<'e>>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
}

/// One thing that is wrong.
#[derive(Serialize)]
struct Part<'e> {
    code: Code,
    /// As the API calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'e str>,
    /// The line of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// The fact, with the place and the field in front.
    message: String,
    /// The next step, in the words of the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl<'e> Refused<'e> {
    /// `None` if there is nothing to say.
    pub(super) fn new(e: &'e Error) -> Option<Self> {
        (!e.faults().is_empty()).then(|| Self {
            code: e.kind().as_str(),
            errors: e.faults().iter().map(Part::new).collect(),
            more: e.more(),
        })
    }
}

impl<'e> Part<'e> {
    fn new(fault: &'e Fault) -> Self {
        let next = fault.next.words(Surface::CommandLine);
        Self {
            code: fault.code,
            field: fault.field.as_deref(),
            line: fault.line,
            message: fault.statement(),
            next: (!next.is_empty()).then_some(next),
        }
    }
}
