//! `keystilectl doctor`: what is wrong, and the next step.

mod admin;
mod chain;
mod dump;
mod envoy;
mod guard;
mod plane;
mod symptom;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use clap::Args;
use keystile_model::error::{Code, Result, refuse};
use serde_json::json;

use super::Context;
use admin::EnvoyAdmin;
use plane::Plane;
use symptom::{Symptom, Symptoms};

/// Find out what is wrong with the store or server, and with an Envoy
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl doctor
  keystilectl doctor --envoy-admin http://127.0.0.1:9901
  keystilectl --server https://keystile.example.com doctor --output json

Looks at signing keys, policy and enrolment; through a server, also at every Envoy that it knows. With
--envoy-admin it reads Envoy's version, statistics, certificates and configuration, and compares them with
the policy: the filter and its guard, the version in force, path normalisation, ports in hosts, the
cluster for reports, clocks. Nothing is changed, and no secret is printed. Exit code 1 if something is
wrong; notes alone do not count.")]
pub struct Doctor {
    /// The admin interface of an Envoy on this machine or in a network that you trust
    #[arg(long, value_name = "URL")]
    envoy_admin: Option<String>,
}

impl Doctor {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        let plane = Plane::read(cx)?;
        let mut all = plane.look();
        if let Some(url) = &self.envoy_admin {
            if url.contains('@') {
                // It would be in the process list, and in what is printed.
                return Err(refuse(
                    Code::SettingInvalid,
                    "--envoy-admin has a user or a password in it",
                    "give host and port alone; Envoy's admin interface asks for neither",
                ));
            }
            let mut found = Symptoms::about(url);
            match EnvoyAdmin::read(url) {
                Ok(admin) => envoy::look(&admin, &plane, cx.now(), &mut found),
                Err(why) => found.wrong(format!(
                    "Envoy's admin interface does not answer ({why}): start Envoy, or give the address of `admin` in its bootstrap"
                )),
            }
            all.extend(found.all);
        }
        let wrong = all.iter().filter(|s| s.wrong).count();
        let report = json!({"wrong": wrong, "findings": all});
        cx.out.show(&report, || words(&all))?;
        if wrong == 0 {
            return Ok(());
        }
        Err(refuse(
            Code::CheckFailed,
            match wrong {
                1 => "1 thing is wrong".to_owned(),
                n => format!("{n} things are wrong"),
            },
            "do what each line says, and run it again",
        ))
    }
}

fn words(all: &[Symptom]) -> String {
    let mut out = String::new();
    let mut ordered: Vec<&Symptom> = all.iter().collect();
    ordered.sort_by_key(|s| !s.wrong);
    for Symptom { wrong, about, says } in ordered {
        let word = if *wrong { "wrong" } else { "note" };
        let _ = writeln!(out, "{word}  {about}: {says}");
    }
    if !all.iter().any(|s| s.wrong) {
        out.push_str("nothing is wrong\n");
    }
    out
}
