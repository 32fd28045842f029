//! `keystilectl audit …`

use clap::{Args, Subcommand};

use super::Context;
use crate::output::{self, cell};
use keystile_api::audit::{self, RecordView};
use keystile_model::audit::{Head, Outcome};
use keystile_model::error::Result;
use keystile_model::plural::count;
use keystile_model::when::{self, When};
use keystile_model::wire::{PAGE, TimeWords};

/// Pause between polls for new records.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// Audit log: see who did what, and verify that nobody has rewritten it
#[derive(Subcommand)]
pub enum AuditCommand {
    List(List),
    Verify(Verify),
    Export(Export),
    Checkpoint(MakeCheckpoint),
    Prune(Prune),
}

/// Searches the records, latest first.
#[derive(Args)]
struct Filter {
    /// Only changes to this client, key id, signing key or token
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Only records about this client and its keys
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Only actions of this user; for a token, `token NAME` or `token NAME (ID)`
    #[arg(long, value_name = "USER")]
    actor: Option<String>,
    /// Only this action, such as `key.revoke`; `key.` for all actions on keys
    #[arg(long)]
    action: Option<String>,
    /// Only since this time: `7d` ago, a date or a time
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Only before this time
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// Only actions that succeeded, or only those that were refused
    #[arg(long)]
    outcome: Option<Outcome>,
}

/// List the latest records
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl audit list
  keystilectl audit list --subject 0Ab3dEfGh1 --last 5
  keystilectl audit list --client acme --action key. --since 30d
  keystilectl audit list --outcome refused --before 4711    # the page before that record")]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only records with a smaller number, for the page after this one
    #[arg(long, value_name = "SEQ")]
    before: Option<u64>,
    /// How many records at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: u32,
}

/// Check that no record was changed, removed, inserted or moved, and that the store is intact
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl audit verify
  keystilectl audit verify --expect 120:5f0c…    # the head that you noted elsewhere

Prints the head of the log, and compares it with the signed checkpoint that every change leaves in
audit.head beside the store. Anyone who has the master key could write a completely new log; a head
that you keep on another machine reveals that too.")]
pub struct Verify {
    /// A head that this command printed earlier: its record must still be the same
    #[arg(long, value_name = "SEQ:HASH")]
    expect: Option<Head>,
}

/// Print records as JSON, one record per line, oldest first
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl audit export > audit.jsonl
  keystilectl audit export --since 1d --client acme
  keystilectl audit export --since 1h --follow | logger --tag keystile

`keystilectl serve --audit-export` sends every record while the server runs.")]
pub struct Export {
    #[command(flatten)]
    filter: Filter,
    /// Continue with new records as they are written, until interrupted
    #[arg(long, conflicts_with = "until")]
    follow: bool,
}

/// Print a signed checkpoint of the end of the log
#[derive(Args)]
#[command(after_help = "\
Example, to keep it where those who can write to the store cannot write:
  keystilectl audit checkpoint | ssh vault 'cat >> keystile-checkpoints'")]
pub struct MakeCheckpoint {}

/// Remove old records; the rest still verifies
#[derive(Args)]
#[command(after_help = "\
Example, with a copy first:
  keystilectl audit export --until 365d > old.jsonl
  keystilectl audit prune --before 365d

Removes the oldest records, up to the first one that is not older. The store keeps the signed hash
of the last record removed, and the log continues from there.")]
pub struct Prune {
    /// Remove records older than this: `365d`, a date or a time
    #[arg(long, value_name = "WHEN")]
    before: When,
}

impl AuditCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::List(c) => c.run(cx),
            Self::Verify(c) => c.run(cx),
            Self::Export(c) => c.run(cx),
            Self::Checkpoint(_) => {
                let made = cx.perform(audit::MakeCheckpoint {})?;
                cx.out.show(&made, || format!("{}\n", made.checkpoint))
            }
            Self::Prune(c) => {
                let before = TimeWords(c.before);
                let done = cx.perform(audit::Prune { before })?;
                let many = |n: u64, what| count(usize::try_from(n).unwrap_or(usize::MAX), what);
                cx.out.show(&done, || {
                    let before = when::short(done.before.0);
                    format!(
                        "{} from before {before} removed\n",
                        many(done.removed, "record")
                    )
                })?;
                if done.undelivered > 0 && !cx.out.is_json() {
                    let lost = many(done.undelivered, "message");
                    cx.out.warn(format_args!(
                        "{lost} to webhooks will not be delivered because their records were removed; see `keystilectl webhook list` for receivers that lag behind"
                    ));
                }
                if done.unsent > 0 && !cx.out.is_json() {
                    let kept = many(done.unsent, "old record");
                    cx.out.warn(format_args!(
                        "{kept} not removed: `serve --audit-export` has not sent them yet; if the log is no longer sent, move `audit.sent` out of the store's folder"
                    ));
                }
                Ok(())
            }
        }
    }
}

impl List {
    fn run(self, cx: &Context) -> Result<()> {
        let mut page = audit::List {
            subject: self.filter.subject,
            client: self.filter.client,
            actor: self.filter.actor,
            action: self.filter.action,
            since: self.filter.since.map(TimeWords),
            until: self.filter.until.map(TimeWords),
            outcome: self.filter.outcome.map(|o| o.as_str().to_owned()),
            before: self.before,
            limit: None,
        };
        let mut records: Vec<RecordView> = Vec::new();
        let mut left = self.last;
        while left > 0 {
            let most = left.min(PAGE);
            page.limit = Some(most);
            let found = cx.perform(page.clone())?;
            left = left.saturating_sub(u32::try_from(found.records.len()).unwrap_or(most));
            records.extend(found.records);
            if found.next.is_none() {
                break;
            }
            page.before = found.next;
        }
        cx.out.show_list(&records, || {
            output::table(
                ["seq", "when", "who", "what", "to"],
                records.iter().map(|r| {
                    [
                        cell(r.seq),
                        cell(r.at.get(..16).unwrap_or_default().replace('T', " ")),
                        cell(who(r)),
                        cell(what(r)),
                        cell(to(r)),
                    ]
                }),
            )
        })
    }
}

impl Export {
    fn run(self, cx: &Context) -> Result<()> {
        let mut page = audit::Export {
            subject: self.filter.subject,
            client: self.filter.client,
            actor: self.filter.actor,
            action: self.filter.action,
            since: self.filter.since.map(TimeWords),
            until: self.filter.until.map(TimeWords),
            outcome: self.filter.outcome.map(|o| o.as_str().to_owned()),
            after: None,
            limit: Some(PAGE),
        };
        let writing = cx.out.writing("Export the audit log");
        loop {
            let found = cx.perform(page.clone())?;
            for record in &found.records {
                output::line(record)?;
            }
            writing.more(found.records.len());
            page.after = found.records.last().map_or(page.after, |r| Some(r.seq));
            if found.next.is_none() {
                if !self.follow {
                    return Ok(());
                }
                std::thread::sleep(LOOK);
            }
        }
    }
}

fn who(r: &RecordView) -> String {
    let place = if r.address.is_empty() {
        &r.host
    } else {
        &r.address
    };
    format!("{}@{place}", r.user)
}

/// What the action was done to: an id with the name and the client that it belongs to.
fn to(r: &RecordView) -> String {
    let named = |state: &serde_json::Value| Some(state.get("name")?.as_str()?.to_owned());
    let name = named(&r.after).or_else(|| named(&r.before));
    let of = [Some(r.client.clone()), name].into_iter().flatten();
    let of: Vec<String> = of
        .filter(|word| !word.is_empty() && *word != r.subject)
        .collect();
    match of.as_slice() {
        [] => r.subject.clone(),
        of => format!("{} ({})", r.subject, of.join(", ")),
    }
}

fn what(r: &RecordView) -> String {
    match Outcome::from_word(&r.outcome) {
        Some(Outcome::Refused) => format!("{} refused: {}", r.action, r.reason),
        _ => r.action.clone(),
    }
}

impl Verify {
    fn run(self, cx: &Context) -> Result<()> {
        let expect = self.expect.map(|e| e.to_string());
        let found = cx.perform(audit::Verify { expect })?;
        cx.out.show(&found, || {
            let removed = match found.removed {
                0 => String::new(),
                n => format!(" since the first {n} were pruned"),
            };
            format!(
                "{} records{removed}, none changed\nhead {}\n",
                found.records, found.head
            )
        })
    }
}
