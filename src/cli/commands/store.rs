//! `keystilectl store …`

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, interrupt};
use keystile_model::error::{Code, Result, refuse};
use keystile_registry::home::Home;
use keystile_store::DatabaseAddress;

/// The store as a whole
#[derive(Subcommand)]
pub enum StoreCommand {
    Copy(StoreCopy),
}

/// Copy a store to another folder, into a PostgreSQL database, or out of one
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl store copy ~/.keystile 'postgres://keystile@db.example.com/keystile?sslrootcert=/etc/ca.pem'
  keystilectl store copy postgres://keystile@db.example.com/keystile /var/lib/keystile

Stop the servers first: what they write after the copy has begun is in the old store only. Either the
whole store is copied or nothing is. The audit log is verified in the copy, which then continues where
the old store ended: keep the old store, but never work on both.
A folder has its own master.key. A database uses the one of `--home` (or of the environment, or of the
command), which is created if there is none. Give passwords in the file that PGPASSFILE names.")]
pub struct StoreCopy {
    /// The folder or the address of the store
    from: String,
    /// The folder or the address to copy it to, where there is no store
    to: String,
}

impl StoreCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Copy(c) => c.run(cx),
        }
    }
}

impl StoreCopy {
    fn run(self, cx: &Context) -> Result<()> {
        cx.local()?;
        interrupt::leave_nothing()?;
        let (from, to) = (home(cx, &self.from)?, home(cx, &self.to)?);
        let bar = cx.out.counter();
        let copied = from.copy_store(&cx.world, &to, &mut |table, rows| {
            bar.set_message(table.to_owned());
            bar.set_position(rows);
        });
        bar.finish_and_clear();
        let copied = copied?;
        let (from, to) = (from.place(), to.place());
        let json = json!({
            "from": from,
            "to": to,
            "version": copied.version,
            "head": copied.head.to_string(),
        });
        cx.out.show(&json, || {
            format!(
                "{from} was copied to {to}: version {}, audit log verified up to {}\n",
                copied.version, copied.head
            )
        })
    }
}

/// The home of a store: a folder, or that of the command line with a database.
fn home(cx: &Context, place: &str) -> Result<Home> {
    if !DatabaseAddress::is_one(place) {
        return Ok(cx.home.in_folder(PathBuf::from(place)));
    }
    if DatabaseAddress::has_password(place) {
        return Err(refuse(
            Code::StoreAddress,
            "the address holds a password, and others on this machine can see command lines",
            "give the password in the file that PGPASSFILE names",
        ));
    }
    let address = Arc::new(DatabaseAddress::parse(place)?);
    Ok(cx.home.clone().in_database(address))
}
