//! Cases that a policy must answer: given a key's properties and a request, expect a code.
//!
//! Each case runs through the filter's own decision, on a keyset built from the policy and
//! temporary keys.

use std::path::Path;

use keystile_core::decide::{Clocks, Note, Request, decide};
use keystile_core::key::{KeyText, generate};
use keystile_core::keyset::{
    Content, InForce, KeyRow, Keyset, SigningKey, SigningKeys, StoreId, build,
};
use keystile_core::limit::bucket::MemoryBuckets;
use keystile_core::policy::Policy;
use keystile_core::request::headers::Headers;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::explain::{self, PresentedKey, Question};
use crate::file::{self as policy_file, PolicyFile};
use crate::zones;
use keystile_model::error::{Act, Code, Result, named, refuse, refuse_all};
use keystile_model::world::World;

mod case;
mod file;
mod junit;
mod key;

pub use case::{Case, Cases, Expect, Holder};
pub use junit::junit;

/// The result of a case.
#[derive(Serialize)]
pub struct CaseResult {
    /// The file that it is in.
    pub file: String,
    /// Its line.
    pub line: u64,
    /// Its name; the request if it has none.
    pub name: String,
    /// The result was as expected.
    pub passed: bool,
    /// The code that was expected.
    pub expected: String,
    /// The actual code.
    pub code: String,
    /// The route that was expected, if the case says so.
    pub expected_route: Option<String>,
    /// The route that the request belongs to.
    pub route: Option<String>,
    /// The last check, with its result.
    pub because: String,
}

/// Reads a file of cases.
///
/// # Errors
/// Every mistake with its line.
pub fn read(path: &Path) -> Result<Cases> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        refuse(
            Code::FileUnreadable,
            format_args!("`{name}` cannot be read ({e})"),
            "name a file of cases",
        )
    })?;
    file::parse(&name, &text)
}

/// The policy that a file of cases names, beside the file.
///
/// # Errors
/// If it names none, or an invalid one.
pub fn policy_of(cases: &Cases) -> Result<PolicyFile> {
    let Some(named) = &cases.policy else {
        return Err(refuse(
            Code::CasesInvalid,
            format_args!("{}: names no policy", cases.file),
            keystile_model::next![
                "write `policy: policy.yaml` in it, or give ",
                named("policy").value("FILE")
            ],
        ));
    };
    let folder = Path::new(&cases.file).parent().unwrap_or(Path::new(""));
    policy_file::read(&folder.join(named))
}

/// Runs the cases of a file against a policy.
///
/// # Errors
/// Impossible keys: on a plan that the policy does not have, for example.
pub fn run(world: &World, file: &PolicyFile, cases: &Cases) -> Result<Vec<CaseResult>> {
    let now = world.now.seconds();
    let policy = &file.policy;
    let mut rows = Vec::new();
    let mut shown = Vec::new();
    let mut bad = Vec::new();
    for case in &cases.cases {
        match hold(world, policy, &case.holder) {
            Ok((row, key)) => {
                rows.extend(row);
                shown.push(key);
            }
            Err(e) => bad.extend(
                e.at(format_args!(
                    "{}:{}: `{}`",
                    cases.file, case.line, case.name
                ))
                .into_faults(),
            ),
        }
    }
    if !bad.is_empty() {
        return Err(refuse_all(bad));
    }
    let keyset = load(world, file, rows)?;
    let asked = cases.cases.iter().zip(shown);
    Ok(asked
        .map(|(case, key)| {
            let question = Question {
                key,
                method: case.request.method.clone(),
                path: case.request.path.clone(),
                host: case.request.host.clone(),
                virtual_host: case.request.virtual_host.clone(),
                address: case.request.address,
                certificate: case.request.certificate.clone(),
                headers: case.request.headers.clone(),
                tls: case.request.tls,
                at: now,
            };
            answer(&keyset, policy, &cases.file, case, &question)
        })
        .collect())
}

/// A row for the key of a case, and what its holder shows.
fn hold(world: &World, policy: &Policy, holder: &Holder) -> Result<(Option<KeyRow>, PresentedKey)> {
    let environment = match holder {
        Holder::Key(key) => key.environment.clone(),
        _ => None,
    };
    let environment = environment
        .or_else(|| policy.environments.first().cloned())
        .ok_or_else(|| {
            refuse(
                Code::NoEnvironment,
                "the policy accepts no environment",
                "list one in `environments`",
            )
            .about("environments")
        })?;
    let fresh = generate(&policy.brand, &environment, world.entropy)?;
    match holder {
        Holder::Nobody => Ok((None, PresentedKey::Nothing)),
        Holder::Stranger => Ok((None, PresentedKey::Text(fresh.text))),
        Holder::Typist => {
            let mut text = fresh.text.expose_secret().to_owned();
            let last = text.pop();
            text.push(if last == Some('0') { '1' } else { '0' });
            Ok((None, PresentedKey::Text(KeyText::from_input(text))))
        }
        Holder::Key(key) => {
            let row = key.row(policy, environment, &fresh, world.now.seconds())?;
            Ok((Some(row), PresentedKey::Text(fresh.text)))
        }
    }
}

fn load(world: &World, file: &PolicyFile, rows: Vec<KeyRow>) -> Result<InForce> {
    let bad = |e: &dyn std::fmt::Display| {
        refuse(
            Code::KeysetImpossible,
            e,
            keystile_model::next!["see ", Act::PolicyCheck],
        )
    };
    let content = Content {
        store: StoreId([0; 8]),
        version: 1,
        issued_at: world.now.seconds(),
        zones: zones::of(&file.raw, world.now.seconds()),
        policy: file.raw.clone(),
        rows,
    };
    let built = build(&content).map_err(|e| bad(&e))?;
    let mut secret = Zeroizing::new(vec![0; SigningKey::MIN_SECRET]);
    (world.entropy)(secret.as_mut_slice())?;
    let signer =
        SigningKey::new("test", secret).map_err(|_| bad(&"a signing key cannot be made"))?;
    let sealed = built.seal(&signer, 0);
    Keyset::load(
        &mut sealed.as_bytes(),
        &SigningKeys::new(vec![signer]),
        |_| {},
    )
    .map(InForce::from)
    .map_err(|e| bad(&e))
}

fn answer(
    keyset: &InForce,
    policy: &Policy,
    file: &str,
    case: &Case,
    question: &Question,
) -> CaseResult {
    let encoded = explain::encode(policy, question);
    let request = Request {
        headers: Headers::new(&encoded),
        address: question.address,
        peer: question.peer(),
        tls: question.tls || question.certificate.is_some(),
        virtual_host: question.virtual_host.as_deref(),
    };
    let clocks = Clocks {
        wall: question.at,
        // Repeated requests come at the same time, so that nothing is refilled between them.
        monotonic: question.at.saturating_mul(1_000_000_000),
    };
    let mut buckets = MemoryBuckets::default();
    let mut ask = |notes: &mut Vec<Note>| {
        notes.clear();
        let d = decide(Ok(keyset), &request, clocks, || None, &mut buckets, notes);
        let route = d.route.and_then(|i| policy.routes.get(i));
        (d.code(), route.map(|r| r.path.clone()))
    };
    let mut notes = Vec::new();
    for _ in 1..case.times {
        ask(&mut notes);
    }
    let (code, route) = ask(&mut notes);
    let Expect {
        code: expected,
        route: expected_route,
    } = &case.expect;
    let same_route = expected_route.is_none() || *expected_route == route;
    CaseResult {
        file: file.to_owned(),
        line: case.line,
        name: case.name.clone(),
        passed: code == expected && same_route,
        expected: expected.clone(),
        code: code.to_owned(),
        expected_route: expected_route.clone(),
        route,
        because: notes.last().map(|n| n.text.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
