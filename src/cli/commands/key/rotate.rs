//! `keystilectl key rotate`

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use indicatif::ProgressBar;
use keystile_core::key::KeyId;
use zeroize::Zeroizing;

use super::issue::shown;
use super::shown::fields;
use crate::commands::{Context, key_id};
use keystile_api::key::{self, IssuedKey};
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::plural;
use keystile_model::when::{self, When};
use keystile_model::wire::{Id, Span, Time, TimeWords};
use keystile_registry::rotation::{self, Receive, RotatedKey, RotationOptions};
use keystile_system as system;

/// Replace a key with a new one that has the same rules; both work for a while
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl key rotate 0Ab3dEfGh1                 # the old one works for another 24 hours
  keystilectl key rotate 0Ab3dEfGh1 --grace 7d --expires 90d
  keystilectl key rotate 0Ab3dEfGh1 --grace 0       # the old one ends with the next push
  keystilectl key rotate 0Ab3dEfGh1 --exec 'vault kv put secret/acme api_key=-'
  keystilectl key rotate --all --grace 7d --out new-keys.csv

Both share their buckets: rotating a key does not grant a second allowance. With --exec, the new key
goes to the command's standard input and is printed nowhere. If the command fails, or does not read it,
the message says so, and the old key works until its grace period is over. With --grace 0, the old key
ends as soon as the command has succeeded; if it fails, the old key ends after 24 hours.")]
pub struct Rotate {
    /// The id of the key
    #[arg(value_parser = key_id, required_unless_present = "all")]
    key: Option<KeyId>,
    /// How long the old key goes on working
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = when::span)]
    grace: u64,
    /// When the new key expires [default: when the old one would have]
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// The new key never expires
    #[arg(long, conflicts_with = "expires")]
    no_expiry: bool,
    /// Write the new key to this command's standard input, without a line feed
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Rotate every key that works or will work; each new key gets the lifetime of the old one
    #[arg(long, conflicts_with_all = ["key", "exec", "expires", "no_expiry"], requires = "out")]
    all: bool,
    /// With --all: only the keys of this client
    #[arg(long, value_name = "CLIENT", requires = "all")]
    client: Option<String>,
    /// With --all: a new file for the new keys, one `old id,new id,client,key` per line
    #[arg(long, value_name = "FILE", requires = "all")]
    out: Option<PathBuf>,
}

impl Rotate {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        match (self.key, self.out.as_deref()) {
            (Some(key), _) => self.one(cx, key),
            (None, Some(out)) => self.every(cx, out),
            (None, None) => Err(refuse(
                Code::FieldMissing,
                "no key is named",
                "give its id, or `--all --out FILE`",
            )),
        }
    }

    fn one(&self, cx: &Context, id: KeyId) -> Result<()> {
        let expires = match (self.expires, self.no_expiry) {
            (_, true) => Some(None),
            (expires, false) => expires.map(|e| Some(TimeWords(e))),
        };
        // Before anybody has the new one, the old one does not end.
        let ends_later = self.exec.is_some() && self.grace == 0;
        let mut rotated = cx.make(key::Rotate {
            id: Id(id),
            grace: Span(if ends_later { SAFE } else { self.grace }),
            expires,
        })?;
        if let Some(command) = &self.exec {
            hand_over(command, &rotated.new)?;
            rotated.new.key = None;
        }
        if ends_later {
            let ended = cx.perform(key::Revoke {
                id: Id(id),
                reason: format!("handed over to {}", rotated.new.view.id.0),
            });
            ended.map_err(|e| e.at("the new key was handed over, but the old one still works"))?;
            rotated.old.works_until = Some(Time(cx.now()));
        }
        let now = cx.now();
        let (new, old) = (&rotated.new, &rotated.old);
        let show = cx.out.show(&rotated, || {
            let end = old
                .works_until
                .as_ref()
                .map(|Time(t)| format!("{} ({})", when::short(*t), when::relative(*t, now)));
            let head = match self.exec {
                Some(_) => String::new(),
                None => format!("key  {}\n\n", shown(new)),
            };
            format!(
                "{head}{}\nthe old one, {}, works until {}\n",
                fields(&new.view, now),
                old.id.0,
                end.unwrap_or_default()
            )
        });
        show.map_err(|e| lost(new, format_args!("not shown: {e}")))?;
        if !cx.out.is_json() && self.exec.is_none() {
            cx.out.note(format_args!(
                "save the new one now: it is not shown again; {}",
                cx.in_force("it")
            ));
        }
        Ok(())
    }

    fn every(&self, cx: &Context, out: &Path) -> Result<()> {
        let mut store = cx.store()?;
        let now = cx.now();
        let ids = store.read(|tx| {
            rotation::select(tx, &cx.world.caller, now, |k| {
                self.client.as_ref().is_none_or(|c| k.client == *c)
            })
        })?;
        let total = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let bar = cx.out.progress(total);
        let mut file = Receiver::create(out, bar.clone())?;
        let how = RotationOptions {
            grace: &|_| self.grace,
            renew: true,
        };
        let done = rotation::rotate_all(&mut store, &cx.world, ids, &how, &mut file);
        bar.finish_and_clear();
        let done = done.inspect_err(|_| file.forget_unsettled())?;
        let json = serde_json::json!({"rotated": done, "file": out.display().to_string()});
        cx.out.show(&json, || {
            format!(
                "{} rotated; the new ones are in {}, and the old ones work for {} more\n",
                plural::count(usize::try_from(done).unwrap_or(usize::MAX), "key"),
                out.display(),
                when::duration(self.grace)
            )
        })
    }
}

/// How long the old key works if the new one could not be handed over, in seconds.
const SAFE: u64 = 86_400;

/// The file for new keys, which nobody else can read.
struct Receiver {
    file: fs::File,
    path: PathBuf,
    /// Length in bytes of the keys that are stored.
    settled: u64,
    /// Length in bytes of the keys that may not be stored, and their number.
    taken: (u64, u64),
    bar: ProgressBar,
}

impl Receiver {
    fn create(path: &Path, bar: ProgressBar) -> Result<Self> {
        let create = || -> io::Result<fs::File> {
            let file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            // Its name is to outlive a power failure as well.
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|e| {
            refuse(
                Code::FileUnwritable,
                format_args!("`{}` cannot be created ({e})", path.display()),
                "nothing was rotated; name a file that does not exist",
            )
        })?;
        Ok(Self {
            file,
            path: path.to_owned(),
            settled: 0,
            taken: (0, 0),
            bar,
        })
    }

    /// Removes the keys that were not stored after all.
    fn forget_unsettled(&self) {
        // Should that fail too: nobody is let in by a key that the store does not have.
        let _ = self.file.set_len(self.settled);
    }
}

impl Receive for Receiver {
    fn take(&mut self, some: &[RotatedKey]) -> Result<()> {
        let mut lines = Zeroizing::new(String::with_capacity(some.len() * 256));
        for RotatedKey { new, old } in some {
            let (before, id, client) = (old.id, new.key.id, &old.client);
            // Writing to a text cannot fail.
            let _ = writeln!(lines, "{before},{id},{client},{}", new.text.expose_secret());
        }
        self.taken = (lines.len() as u64, some.len() as u64);
        let written = self.file.write_all(lines.as_bytes());
        written.and_then(|()| self.file.sync_data()).map_err(|e| {
            refuse(
                Code::FileUnwritable,
                format_args!("`{}` cannot be written ({e})", self.path.display()),
                "the keys in it are rotated, and the others are not: run the command again with another file",
            )
        })
    }

    fn settle(&mut self) {
        let (bytes, keys) = std::mem::take(&mut self.taken);
        self.settled += bytes;
        self.bar.inc(keys);
    }
}

/// Hands a new key to a command. If that fails, nobody has the key, so the message names it.
fn hand_over(command: &str, new: &IssuedKey) -> Result<()> {
    let failed = |how: std::fmt::Arguments<'_>| lost(new, how);
    let unread = || failed(format_args!("not handed over: the command did not read it"));
    // An end of the pipe stays here: what is still in it afterwards was not read.
    let (mut left, mut pipe) =
        io::pipe().map_err(|e| failed(format_args!("not handed over ({e})")))?;
    let stdin = left
        .try_clone()
        .map_err(|e| failed(format_args!("not handed over ({e})")))?;
    let mut child = system::shell(command)
        .stdin(stdin)
        // Its own output is not ours: what we print may be read by programs.
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| {
            failed(format_args!(
                "not handed over: the command did not start ({e})"
            ))
        })?;
    let written = pipe.write_all(shown(new).as_bytes());
    drop(pipe);
    let status = child
        .wait()
        .map_err(|e| failed(format_args!("perhaps not handed over ({e})")))?;
    if !status.success() {
        return Err(failed(format_args!(
            "perhaps not handed over: the command failed ({status})"
        )));
    }
    let mut rest = Zeroizing::new(Vec::new());
    match (written, left.read_to_end(&mut rest)) {
        (Ok(()), Ok(0)) => Ok(()),
        _ => Err(unread()),
    }
}

fn lost(new: &IssuedKey, how: std::fmt::Arguments<'_>) -> Error {
    let id = new.view.id.0;
    refuse(
        Code::SecretNotShown,
        format_args!("key {id} was issued but {how}"),
        format_args!("rotate it at once: `keystilectl key rotate {id} --grace 0`"),
    )
}
