//! `keystilectl audit …`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use crate::audit::{Chain, Head};
use crate::error::{Result, refuse};
use crate::output::{self, cell};
use crate::when;

/// Audit log: who did what, and that nobody has rewritten it
#[derive(Subcommand)]
pub enum Audit {
    List(List),
    Verify(Verify),
    Export(Export),
}

/// List the last things that were done
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl audit list
  keystilectl audit list --subject 0Ab3dEfGh1 --last 5")]
pub struct List {
    /// Only what was done to this client, key id or signing key
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: u32,
}

/// Check that no record was changed, removed, put in or moved, and that the store is whole
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl audit verify
  keystilectl audit verify --expect 120:5f0c…    # the head that was noted elsewhere

Prints the head of the log. Whoever holds the master key could write a whole new log; a head kept
on another machine shows that too.")]
pub struct Verify {
    /// A head that this printed before: the record must be the same still
    #[arg(long, value_name = "SEQ:HASH")]
    expect: Option<Head>,
}

/// Print all of it as JSON, a record a line
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl audit export > audit.jsonl")]
pub struct Export {}

impl Audit {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::List(c) => c.run(cx),
            Self::Verify(c) => c.run(cx),
            Self::Export(_) => cx
                .store()?
                .read(|tx| tx.each_audit(|r| output::raw(format!("{}\n", r.json()).as_bytes()))),
        }
    }
}

impl List {
    fn run(self, cx: &Context) -> Result<()> {
        let records = cx
            .store()?
            .read(|tx| tx.last_audit(self.subject.as_deref(), self.last))?;
        let json = Value::Array(records.iter().map(crate::audit::Record::json).collect());
        cx.out.show(&json, || {
            output::table(
                ["seq", "when", "who", "what", "to"],
                records.iter().map(|r| {
                    [
                        cell(r.seq),
                        cell(when::short(r.at.seconds())),
                        cell(format!("{}@{}", r.actor.user, r.actor.host)),
                        cell(&r.action),
                        cell(&r.subject),
                    ]
                }),
            )
        })
    }
}

impl Verify {
    fn run(self, cx: &Context) -> Result<()> {
        let mut store = cx.store()?;
        store.check()?;
        let head = store.read(|tx| {
            let broken = |b| refuse(b, "compare with an exported log or a backup");
            let mut chain = Chain::new();
            let mut expected = self.expect.is_none_or(|e| e.seq == 0);
            tx.each_audit(|r| {
                chain.follow(&r).map_err(broken)?;
                expected |= self.expect == Some(Head { seq: r.seq, link: r.hash });
                Ok(())
            })?;
            let head = tx.meta().head;
            chain.end(head).map_err(broken)?;
            match self.expect {
                Some(e) if !expected => Err(refuse(
                    format_args!("audit record {} is not the one that was expected: the log was written anew", e.seq),
                    "compare with an exported log or a backup",
                )),
                _ => Ok(head),
            }
        })?;
        let json = json!({"ok": true, "records": head.seq, "head": head.to_string()});
        cx.out.show(&json, || {
            format!("{} records, none changed\nhead {head}\n", head.seq)
        })
    }
}
