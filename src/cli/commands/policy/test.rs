//! `keystilectl policy test`

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use comfy_table::Color;
use serde_json::json;

use crate::commands::Context;
use crate::output::{self, cell};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::plural;
use keystile_policy::cases::{self as policy_test, CaseResult, Cases, Holder};
use keystile_policy::file as policy_file;
use keystile_system::file;

/// Test requests against a policy: given the properties of a key, expect a code
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl policy test cases.yaml
  keystilectl policy test tests/*.yaml --policy policy.yaml --junit report.xml

A file of cases:
  policy: policy.yaml                # beside this file
  keys:
    reader: {scopes: [\"read:users\"], plan: free}
    old: {scopes: [\"read:users\"], state: revoked}
  cases:
  - {key: reader, request: GET /v1/users/7, expect: ok}
  - {key: old, request: GET /v1/users/7, expect: revoked_api_key}
  - {key: none, request: GET /v1/users/7, expect: missing_api_key}
  - name: a reader does not delete
    key: reader
    request: {method: DELETE, path: /v1/users/7, ip: 192.0.2.1}
    expect: {code: insufficient_scope, route: \"/v1/users/{id}\"}
  - {key: reader, request: GET /v1/users/7, times: 11, expect: rate_limited}

A key has scopes, plan, limits, environment, type, cidrs, deny_cidrs, origins, certificates,
client, and state (active, rotating, pending, disabled, expired, revoked). `none`, `unknown` and
`malformed` are built-in keys. A request has method, path, host, ip, origin, certificates, headers and
tls. No store is needed.")]
pub struct Test {
    /// Files with cases
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The policy to use instead of the one that a file names
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl Test {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let mut outcomes = Vec::new();
        for path in &self.files {
            let cases = policy_test::read(path)?;
            let policy = match &self.policy {
                Some(path) => policy_file::read(path)?,
                None => policy_test::policy_of(&cases)?,
            };
            warn(cx, &cases, &policy.policy);
            outcomes.extend(policy_test::run(&cx.world, &policy, &cases)?);
        }
        if let Some(path) = &self.junit {
            file::replace(path, 0o644, policy_test::junit(&outcomes).as_bytes())?;
        }
        let failed = outcomes.iter().filter(|o| !o.passed).count();
        let report = json!({
            "cases": outcomes.len(),
            "failed": failed,
            "results": outcomes,
        });
        cx.out.show(&report, || table(&outcomes, failed))?;
        if failed == 0 {
            return Ok(());
        }
        Err(refuse(
            Code::CheckFailed,
            format_args!(
                "{failed} of {} failed",
                plural::count(outcomes.len(), "case")
            ),
            "change the policy, or the case if it expects the wrong answer",
        ))
    }
}

/// A scope that no route asks for is usually a typing error.
fn warn(cx: &Context, cases: &Cases, policy: &keystile_core::policy::Policy) {
    let mut unknown = BTreeSet::new();
    for case in &cases.cases {
        if let Holder::Key(key) = &case.holder {
            unknown.extend(key.unknown_scopes(policy));
        }
    }
    for scope in unknown {
        cx.out.warn(format_args!(
            "{}: no route of the policy asks for scope `{scope}`",
            cases.file
        ));
    }
}

fn table(outcomes: &[CaseResult], failed: usize) -> String {
    if failed == 0 {
        return format!("{} passed\n", plural::count(outcomes.len(), "case"));
    }
    output::table(
        ["case", "at", "expected", "got", "because"],
        outcomes.iter().filter(|o| !o.passed).map(|o| {
            [
                cell(&o.name),
                cell(format!("{}:{}", o.file, o.line)),
                cell(o.wanted()),
                cell(o.got()).fg(Color::Red),
                cell(&o.because),
            ]
        }),
    )
}
