//! The file of cases.

mod raw;

use super::case::Cases;
use crate::file as policy_file;
use keystile_model::error::{Act, Code, Fault, Next, Result, refuse, refuse_all};
use raw::RawCases;

/// Where to look if there is no better hint.
fn help() -> Next {
    keystile_model::next!["see the example of ", Act::PolicyTest.of("--help")]
}

/// Reads a text; `file` is what messages call it.
pub fn parse(file: &str, text: &str) -> Result<Cases> {
    let root = policy_file::root(file, text)?;
    let raw: RawCases = policy_file::shape(file, &root, &help())?;
    let mut bad: Vec<Fault> = raw
        .keys
        .keys()
        .filter(|k| matches!(k.as_str(), "none" | "unknown" | "malformed"))
        .flat_map(|k| {
            let field = format!("keys.{k}");
            let line = root.line_of(&field);
            refuse(Code::InvalidName, "this name is built in", "choose another")
                .field(field)
                .at(format_args!("{file}:{line}"))
                .into_faults()
        })
        .collect();
    let mut cases = Vec::new();
    for (i, case) in raw.cases.into_iter().enumerate() {
        let line = root.line_of(&format!("cases[{i}]"));
        match case.checked(line, &raw.keys) {
            Ok(case) => cases.push(case),
            Err(e) => {
                let at = format!("{file}:{line}: `cases[{i}]`");
                bad.extend(e.at(at).into_faults());
            }
        }
    }
    if bad.is_empty() && cases.is_empty() {
        let none = refuse(Code::CasesInvalid, "is empty", "write at least one");
        let none = none.field("cases").at(format_args!("{file}:1"));
        bad.extend(none.into_faults());
    }
    if !bad.is_empty() {
        return Err(refuse_all(bad));
    }
    Ok(Cases {
        file: file.to_owned(),
        policy: raw.policy,
        cases,
    })
}
