//! `keystilectl policy from-openapi`

use std::path::{Path, PathBuf};

use clap::Args;

use crate::commands::Context;
use crate::output;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::plural;
use keystile_policy::openapi::{self as openapi_import, DraftOptions};
use keystile_system::file;

/// How many places of a problem are named; the rest are counted.
const NAMED: usize = 3;

/// Draft a policy from an OpenAPI document: routes, scopes, hosts
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl policy from-openapi openapi.yaml > policy.yaml && keystilectl policy check policy.yaml
  keystilectl policy from-openapi openapi.json --any-host --output json | jq .unsaid

Reads OpenAPI 3.0, 3.1 and 3.2, YAML or JSON, with the files beside it that it refers to. Paths become
templates; `security` becomes scopes (all of one requirement, any of several); servers become hosts and
base paths. Whatever a policy cannot express is listed, on stderr or in `unsaid`, and replaced by
something stricter, never by something that lets in more. An operation that says nothing about security
requires a key; `security: []` opens it.")]
pub struct FromOpenapi {
    /// The OpenAPI document
    file: PathBuf,
    /// Leave out the hosts of the servers, so that the routes apply to every host
    #[arg(long)]
    any_host: bool,
}

impl FromOpenapi {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let name = self.file.display().to_string();
        let text = String::from_utf8(file::read(&self.file)?).map_err(|_| {
            refuse(
                Code::FileInvalid,
                format_args!("`{name}` is not UTF-8"),
                "save it as UTF-8",
            )
        })?;
        let folder = self.file.parent().map(Path::to_owned).unwrap_or_default();
        let beside = |path: &str| {
            let bytes = file::read(&folder.join(path)).map_err(|e| e.to_string())?;
            String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
        };
        let how = DraftOptions {
            any_host: self.any_host,
            beside: Some(&beside),
        };
        let drafted = openapi_import::draft(&name, &text, how)?;
        if cx.out.is_json() {
            return cx.out.json(&drafted);
        }
        output::raw(drafted.policy.as_bytes())?;
        for unsaid in &drafted.unsaid {
            let mut places: Vec<&str> = unsaid.places.iter().map(String::as_str).collect();
            let more = places.len().saturating_sub(NAMED);
            places.truncate(NAMED);
            let more = match more {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            cx.out.warn(format_args!(
                "{}{more}: {}",
                places.join(", "),
                unsaid.problem
            ));
        }
        cx.out.note(format_args!(
            "{} of {} became {} with {}",
            plural::count(drafted.operations, "operation"),
            plural::count(drafted.paths, "path"),
            plural::count(drafted.routes, "route"),
            plural::count(drafted.scopes, "scope"),
        ));
        Ok(())
    }
}
