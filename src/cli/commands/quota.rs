//! `keystilectl quota …`

use clap::{Args, Subcommand};
use keystile_core::key::Parsed;

use super::Context;
use super::pages::AllPages;
use crate::output::{self, cell};
use keystile_api::Operation;
use keystile_api::quota::{self, OfKey, OfKeys};
use keystile_model::error::Result;
use keystile_model::when;
use keystile_model::wire::Id;
use keystile_model::wire::Time;

/// Quotas: show what is left, or give back what was used
#[derive(Subcommand)]
pub enum QuotaCommand {
    Show(Show),
    Reset(Reset),
}

/// Show what is left of the quota of a key, or of all keys of a client
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl quota show acme
  keystilectl quota show 0Ab3dEfGh1 --output json")]
pub struct Show {
    /// A client's name or a key's id
    #[arg(value_name = "CLIENT|KEY", value_parser = named)]
    of: String,
}

/// Give a quota back: what was used in the current day or month no longer counts
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl quota reset acme
  keystilectl quota reset 0Ab3dEfGh1

Envoys learn of it with their next usage report, within about a minute. The audit log records it.")]
pub struct Reset {
    /// A client's name or a key's id
    #[arg(value_name = "CLIENT|KEY", value_parser = named)]
    of: String,
}

/// The id in a whole key.
fn named(text: &str) -> std::result::Result<String, String> {
    Ok(match Parsed::parse(text.as_bytes()) {
        Ok(key) => key.id().to_string(),
        Err(_) => text.to_owned(),
    })
}

impl QuotaCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Show(c) => {
                let pages = all(cx, |cursor| quota::Show {
                    of: c.of.clone(),
                    limit: None,
                    cursor,
                })?;
                pages.end(|all| match all.is_empty() {
                    true => "no quota applies: none of the plans has one\n".to_owned(),
                    false => table(&all, cx.now()),
                })
            }
            Self::Reset(c) => {
                let pages = all(cx, |cursor| quota::Reset {
                    of: c.of.clone(),
                    limit: None,
                    cursor,
                })?;
                pages.end(|all| match all.len() {
                    0 => "nothing to give back: no quota was used\n".to_owned(),
                    1 => "1 quota given back\n".to_owned(),
                    n => format!("{n} quotas given back\n"),
                })
            }
        }
    }
}

/// All pages; `ask` makes the request for the page at a cursor.
fn all<O>(cx: &Context, ask: impl Fn(Option<Id>) -> O) -> Result<AllPages<OfKey>>
where
    O: Operation<Output = OfKeys>,
{
    AllPages::all(cx.out, |cursor| {
        let page = cx.perform(ask(cursor))?;
        Ok((page.quotas, page.next))
    })
}

fn table(all: &[OfKey], now: u64) -> String {
    let count = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    output::table(
        [
            "key",
            "client",
            "plan",
            "quota",
            "used",
            "remaining",
            "until",
        ],
        all.iter().map(|q| {
            let left = &q.left;
            let per = left.per.as_deref().unwrap_or("-");
            let until = left.until.as_ref();
            [
                cell(q.key.0),
                cell(&q.client),
                cell(left.plan.as_deref().unwrap_or("-")),
                cell(format!("{} per {per}", count(left.requests))),
                cell(left.used),
                cell(count(left.remaining)),
                cell(until.map_or_else(|| "-".to_owned(), |Time(t)| when::relative(*t, now))),
            ]
        }),
    )
}
