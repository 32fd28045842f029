//! `keystilectl status`: where commands work, as whom, and what is in force.

use clap::Args;
use keystile_core::key::Parsed;
use serde::Serialize;

use super::{Context, serve};
use crate::output;
use keystile_api::{fleet, keyset};
use keystile_model::error::{Error, Result, Surface};
use keystile_model::when;
use keystile_model::wire::PAGE;

/// Show where commands work, as whom, which keyset is the newest, and how the Envoys are
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl status
  keystilectl status --output json")]
pub struct StatusArgs {}

#[derive(Serialize)]
struct StatusOutput {
    /// `server` or `store`.
    works_on: &'static str,
    /// An address or a folder.
    at: String,
    /// Why there.
    because: &'static str,
    /// The token, or the user of this machine.
    who: String,
    /// The address of a server that works on this store.
    #[serde(skip_serializing_if = "Option::is_none")]
    served_at: Option<String>,
    keyset: Option<keyset::KeysetView>,
    fleet: Option<FleetCount>,
    /// Why something is not known.
    unknown: Vec<String>,
}

/// The Envoys in numbers.
#[derive(Serialize)]
struct FleetCount {
    known: usize,
    connected: usize,
    in_force: usize,
    /// Those that are behind, by name.
    behind: Vec<String>,
}

impl StatusArgs {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        let mut unknown = Vec::new();
        let mut ask = |why: Error| {
            let why = why.words(Surface::CommandLine).join("; ");
            // What cannot be reached cannot be reached for either question.
            if !unknown.contains(&why) {
                unknown.push(why);
            }
        };
        let keyset = cx.perform(keyset::Show {}).map_err(&mut ask).ok();
        let fleet = cx.server.as_ref().map(|_| count(cx).map_err(&mut ask));
        let fleet = fleet.and_then(Result::ok);
        let (works_on, at, because) = match &cx.server {
            Some(server) => ("server", server.url().to_owned(), server.because()),
            None => match cx.home.database() {
                Some(_) => (
                    "store",
                    "a database".to_owned(),
                    "`--store` or KEYSTILE_STORE",
                ),
                None => (
                    "store",
                    cx.home.folder().display().to_string(),
                    "no server is named",
                ),
            },
        };
        let found = StatusOutput {
            works_on,
            at,
            because,
            who: who(cx),
            served_at: serve::address(cx).filter(|_| cx.server.is_none()),
            keyset,
            fleet,
            unknown,
        };
        cx.out.show(&found, || found.words(cx.now()))?;
        match (&found.keyset, &found.fleet) {
            // It was said above.
            (None, None) => Err(Error::silent()),
            _ => Ok(()),
        }
    }
}

/// The name of the user, or what a token says about itself.
fn who(cx: &Context) -> String {
    let Some(server) = &cx.server else {
        return cx.world.actor.user.clone();
    };
    let token = server.token();
    let parsed = token
        .as_ref()
        .and_then(|t| Parsed::parse(t.as_bytes()).ok());
    parsed.map_or_else(
        || "no token".to_owned(),
        |p| format!("token {} of the role {}", p.id(), p.environment),
    )
}

fn count(cx: &Context) -> Result<FleetCount> {
    let mut out = FleetCount {
        known: 0,
        connected: 0,
        in_force: 0,
        behind: Vec::new(),
    };
    let mut cursor = None;
    loop {
        let page = cx.perform(fleet::List {
            limit: Some(PAGE),
            cursor,
        })?;
        for node in page.nodes {
            out.known += 1;
            out.connected += usize::from(node.state == "connected");
            match node.in_force == Some(page.version) {
                true => out.in_force += 1,
                false => out.behind.push(node.id),
            }
        }
        match page.next {
            None => return Ok(out),
            next => cursor = next,
        }
    }
}

impl StatusOutput {
    fn words(&self, now: u64) -> String {
        let keyset = self.keyset.as_ref().map(|k| {
            let changed = when::relative(k.issued_at.0, now);
            let keys =
                keystile_model::plural::count(usize::try_from(k.keys).unwrap_or(usize::MAX), "key");
            format!(
                "{} ({changed}), {keys}, policy revision {}",
                k.version, k.policy_revision
            )
        });
        let fleet = self.fleet.as_ref().map(|f| {
            let behind = match f.behind.as_slice() {
                [] => String::new(),
                all if all.len() <= 5 => format!("; not yet on {}", all.join(", ")),
                all => format!("; not yet on {} of them", all.len()),
            };
            format!(
                "{} known, {} connected, {} with the newest keyset in force{behind}",
                f.known, f.connected, f.in_force
            )
        });
        let mut fields = vec![
            (self.works_on, format!("{} ({})", self.at, self.because)),
            ("as", self.who.clone()),
            ("keyset", keyset.unwrap_or_default()),
            ("Envoys", fleet.unwrap_or_default()),
        ];
        if let Some(served) = &self.served_at {
            fields.push(("served", served.clone()));
        }
        let nothing = self.keyset.is_none() && self.fleet.is_none();
        let name = match nothing {
            true => "not reached",
            false => "not known",
        };
        fields.extend(self.unknown.iter().map(|u| (name, u.clone())));
        output::fields(fields)
    }
}
