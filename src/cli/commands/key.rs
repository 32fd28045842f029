//! `keystilectl key …`

use clap::{Args, Subcommand};
use keystile_core::key::{KeyId, Name};

use super::labels::words;
use super::pages::nothing;
use super::{Context, key_id};
use crate::output::Output;
use keystile_api::key::{self, KeyView};
use keystile_model::error::Result;
use keystile_model::record::Status;
use keystile_model::rules;
use keystile_model::when::{self, When};
use keystile_model::wire::{Environment, Id, KeyStatus, PAGE, Span, Time, TimeWords};

mod change;
mod import;
mod issue;
mod lost;
mod options;
mod rotate;
mod shown;

pub use change::{Revoke, Update};
pub use import::Import;
pub use issue::Issue;
pub use lost::LostArgs;
pub use rotate::Rotate;
pub use shown::list_table;
use shown::print;

/// Keys: issue, rotate, revoke
#[derive(Subcommand)]
pub enum KeyCommand {
    Issue(Box<Issue>),
    List(List),
    Show(Show),
    Update(Box<Update>),
    Disable(Disable),
    Enable(Enable),
    Revoke(Revoke),
    Rotate(Rotate),
    Import(Import),
    Lost(LostArgs),
}

/// List keys
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl key list --client acme
  keystilectl key list --status active --expiring 30d
  keystilectl key list --endless --status active
  keystilectl key list --unused 90d --status active
  keystilectl key list --label team=payments --output json

Keys are sorted by client and age; JSON of more than 10,000 keys is printed page by page, sorted by id.")]
pub struct List {
    /// Only keys of this client
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Only keys with this status; can be repeated
    #[arg(long)]
    status: Vec<Status>,
    /// Only keys of this environment
    #[arg(long, value_name = "ENV")]
    environment: Option<Name>,
    /// Only keys that expire before this time and have not expired yet
    #[arg(long, value_name = "WHEN")]
    expiring: Option<When>,
    /// Only keys with this label; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
    /// Only keys that never expire
    #[arg(long)]
    endless: bool,
    /// Only keys that no request has used for this long, as far as usage was counted
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    unused: Option<u64>,
    /// List this many at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// Show everything about a key, except the key itself, which is stored nowhere
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl key show 0Ab3dEfGh1")]
pub struct Show {
    /// The id of the key
    #[arg(value_parser = key_id)]
    key: KeyId,
}

/// Disable a key until it is enabled again
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl key disable 0Ab3dEfGh1")]
pub struct Disable {
    /// The id of the key
    #[arg(value_parser = key_id)]
    key: KeyId,
}

/// Enable a disabled key
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl key enable 0Ab3dEfGh1")]
pub struct Enable {
    /// The id of the key
    #[arg(value_parser = key_id)]
    key: KeyId,
}

impl KeyCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Issue(c) => c.run(cx),
            Self::List(c) => c.run(cx),
            Self::Show(c) => c.run(cx),
            Self::Update(c) => c.run(cx),
            Self::Disable(c) => print(cx, &cx.perform(key::Disable { id: Id(c.key) })?),
            Self::Enable(c) => print(cx, &cx.perform(key::Enable { id: Id(c.key) })?),
            Self::Revoke(c) => c.run(cx),
            Self::Rotate(c) => c.run(cx),
            Self::Import(c) => c.run(cx),
            Self::Lost(c) => c.run(cx),
        }
    }
}

impl List {
    /// Whether an option may have left keys out.
    fn leaves_out(&self) -> bool {
        let named = self.client.is_some() || self.environment.is_some();
        let timed = self.expiring.is_some() || self.endless || self.unused.is_some();
        named || timed || !self.status.is_empty() || !self.label.is_empty()
    }

    fn run(self, cx: &Context) -> Result<()> {
        let next = match self.leaves_out() {
            true => "no key fits; `keystilectl key list` lists all",
            false => "`keystilectl key issue CLIENT` issues a key",
        };
        let mut page = key::List {
            client: self.client,
            status: self.status.into_iter().map(KeyStatus).collect(),
            environment: self.environment.map(Environment),
            expiring: self.expiring.map(TimeWords),
            endless: self.endless,
            label: words(&self.label),
            unused: self.unused.map(Span),
            limit: Some(self.limit.map_or(PAGE, |n| n.min(PAGE))),
            scan: None,
            cursor: None,
            search: None,
            concern: None,
            order: key::KeyOrder::Id,
        };
        let mut json = cx.out.is_json().then(Output::list);
        let mut keys = Vec::new();
        let mut counted_since;
        let mut whole = true;
        let (mut count, mut is_cut) = (0, false);
        let most = self.limit.map_or(usize::MAX, |n| n as usize);
        loop {
            let mut found = cx.perform(page.clone())?;
            counted_since = found.counted_since;
            let room = most.saturating_sub(count);
            is_cut |= found.keys.len() > room || (found.keys.len() == room && found.next.is_some());
            found.keys.truncate(room);
            count = count.saturating_add(found.keys.len());
            if is_cut {
                found.next = None;
            }
            whole &= found.next.is_none();
            if whole {
                in_order(&mut found.keys);
            }
            match &mut json {
                // There may be more of them than fit into memory.
                Some(list) => list.add(&found.keys)?,
                None => keys.extend(found.keys),
            }
            if found.next.is_none() {
                break;
            }
            page.cursor = found.next;
        }
        match json {
            Some(list) => list.end()?,
            None => {
                in_order(&mut keys);
                cx.out.long(&list_table(&keys, cx.now(), true))?;
            }
        }
        if is_cut && !cx.out.is_json() {
            cx.out
                .note("there are more; `--limit` says how many are listed");
        }
        if count == 0 {
            nothing(cx.out, next);
        }
        if let Some(unused) = self.unused {
            doubt(cx, unused, counted_since);
        }
        Ok(())
    }
}

/// Keys that seem unused, if usage has not been counted for so long.
fn doubt(cx: &Context, unused: u64, counted_since: Option<Time>) {
    let before = cx.now().saturating_sub(unused);
    match counted_since {
        None => cx
            .out
            .warn("no usage has been counted yet: these keys may be in use"),
        Some(Time(since)) if since > before => cx.out.warn(format_args!(
            "usage has only been counted since {}: keys may have been used before",
            when::short(since)
        )),
        Some(_) => {}
    }
}

/// Sorts by client and age. A JSON list of more than one page is sorted by id instead.
fn in_order(keys: &mut [KeyView]) {
    keys.sort_by(|a, b| (&a.client, a.created.0, a.id.0).cmp(&(&b.client, b.created.0, b.id.0)));
}

impl Show {
    fn run(self, cx: &Context) -> Result<()> {
        print(cx, &cx.perform(key::Show { id: Id(self.key) })?)
    }
}
