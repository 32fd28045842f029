//! `keystilectl key lost`

use clap::Args;

use crate::commands::Context;
use crate::output::{self, cell};
use keystile_api::lost::{self, LostView, UsedView};
use keystile_model::error::Result;
use keystile_model::when;
use keystile_model::wire::PAGE;

/// List keys that a restore lost
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl key lost

Prints two lists, the most dangerous first. From the usage counts: keys in use that the store does not
know, most recently used first; Envoys let them in until the server is back. From the last keyset that
was published before the restore: keys that were revoked or disabled since the backup and are valid
again (`good_again`), then keys that the store does not know (`unknown`; Envoys refuse them once the
server is back); in each group, most recently used first and keys without a known use last. Keys that
have been dealt with, for instance revoked again, are no longer listed.")]
pub struct LostArgs {}

impl LostArgs {
    /// Runs it.
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let mut page = lost::List {
            after: None,
            limit: Some(PAGE),
        };
        let mut found = cx.perform(page.clone())?;
        while let Some(next) = found.next.take() {
            page.after = Some(next);
            let more = cx.perform(page.clone())?;
            found.published.extend(more.published);
            found.next = more.next;
        }
        found.by_danger();
        cx.out.show_list(&found, || {
            if found.published.is_empty() && found.in_use.is_empty() {
                return "no key is lost\n".to_owned();
            }
            format!("{}\n{}", used(&found.in_use), published(&found.published))
        })
    }
}

fn published(keys: &[LostView]) -> String {
    output::table(
        ["lost key", "client", "state", "last used"],
        keys.iter().map(|k| {
            let used = k.last_used.as_ref().map(|t| when::short(t.0));
            [
                cell(k.id.0),
                cell(&k.client),
                cell(&k.state),
                cell(used.as_deref().unwrap_or("-")),
            ]
        }),
    )
}

fn used(keys: &[UsedView]) -> String {
    output::table(
        ["unknown key in use", "last used"],
        keys.iter()
            .map(|k| [cell(k.id.0), cell(when::short(k.last_used.0))]),
    )
}
