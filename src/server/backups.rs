//! Backups that are downloaded over the API, one at a time.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::http::{App, live};
use keystile_api::backup::{self, BackupPart, BackupPiece, End, Ended, Made, Make, Read};
use keystile_core::hex;
use keystile_model::error::{Code, Error, Kind, Result, refuse};
use keystile_model::words;
use keystile_model::world::World;
use keystile_registry::home::Home;
use keystile_system as system;
use keystile_system::file::Partial;

/// Bytes of a piece.
const PIECE: usize = 1 << 20;
/// A backup that is not downloaded for this long is removed.
const IDLE: Duration = Duration::from_secs(60);

/// The routes.
pub fn routes(app: &App) -> Router {
    let backups = Arc::new(Backups {
        home: app.pool().home().clone(),
        kept: Mutex::default(),
    });
    let [make, read, end] = [(); 3].map(|()| Arc::clone(&backups));
    live(app, move |asked: Make, world| {
        Arc::clone(&make).make(asked, world)
    })
    .merge(live(app, move |asked: Read, _| {
        Arc::clone(&read).read(asked)
    }))
    .merge(live(app, move |asked: End, _| Arc::clone(&end).end(asked)))
}

struct Backups {
    home: Home,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    id: String,
    store: Partial,
    usage: Option<Partial>,
    used: Instant,
}

impl Backups {
    async fn make(self: Arc<Self>, asked: Make, world: World) -> Result<Made> {
        words::check("name", &asked.name, words::NAME)?;
        let Ok(mut kept) = self.kept.try_lock() else {
            return Err(busy());
        };
        if kept.as_ref().is_some_and(|k| !k.is_idle()) {
            return Err(busy());
        }
        *kept = None;
        let home = self.home.clone();
        let made = blocking(move || {
            let copied = home.copy(&world, home.folder(), &asked.name)?;
            let mut id = [0; 16];
            (world.entropy)(&mut id)?;
            let id = hex::text(id);
            let usage = copied.usage.as_ref().map(described).transpose()?;
            let made = Made {
                id: id.clone(),
                store: described(&copied.store)?,
                usage,
                version: copied.version,
                head: copied.head.to_string(),
                master_key: copied.master_key,
                usage_damaged: copied
                    .usage_damaged
                    .inspect(|why| tracing::error!(why, "the backup has no usage counts"))
                    .map(|_| "the server's log says why".to_owned()),
            };
            let kept = Kept {
                id,
                store: copied.store,
                usage: copied.usage,
                used: system::instant(),
            };
            Ok((made, kept))
        });
        let (made, new) = made.await?;
        *kept = Some(new);
        drop(kept);
        tokio::spawn(self.tidy());
        Ok(made)
    }

    /// Runs until there is no backup.
    async fn tidy(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE).await;
            let mut kept = self.kept.lock().await;
            if kept.as_ref().is_none_or(Kept::is_idle) {
                *kept = None;
                return;
            }
        }
    }

    async fn read(self: Arc<Self>, asked: Read) -> Result<BackupPiece> {
        let mut kept = self.kept.lock().await;
        let found = in_progress(&mut kept, &asked.id)?;
        found.used = system::instant();
        let partial = match asked.part {
            BackupPart::Store => Some(&found.store),
            BackupPart::Usage => found.usage.as_ref(),
        };
        let path = partial.map(Partial::path).ok_or_else(gone)?.to_owned();
        drop(kept);
        blocking(move || {
            let file = File::open(path).map_err(unreadable)?;
            let length = file.metadata().map_err(unreadable)?.len();
            if asked.offset > length {
                return Err(refuse(
                    Code::OutOfRange,
                    format_args!("{} is beyond the {length} bytes of the file", asked.offset),
                    "ask for the `next` of the previous piece, until that is null",
                )
                .field("offset"));
            }
            let mut data = vec![0; PIECE];
            let mut read = 0;
            while let Some(rest) = data.get_mut(read..).filter(|r| !r.is_empty()) {
                let at = asked.offset.saturating_add(read as u64);
                match file.read_at(rest, at).map_err(unreadable)? {
                    0 => break,
                    n => read += n,
                }
            }
            data.truncate(read);
            let next = asked.offset.saturating_add(read as u64);
            Ok(BackupPiece {
                data: STANDARD.encode(&data),
                next: (next < length).then_some(next),
            })
        })
        .await
    }

    async fn end(self: Arc<Self>, asked: End) -> Result<Ended> {
        let mut kept = self.kept.lock().await;
        in_progress(&mut kept, &asked.id)?;
        *kept = None;
        Ok(Ended { id: asked.id })
    }
}

impl Kept {
    fn is_idle(&self) -> bool {
        system::instant().saturating_duration_since(self.used) >= IDLE
    }
}

fn in_progress<'k>(kept: &'k mut MutexGuard<'_, Option<Kept>>, id: &str) -> Result<&'k mut Kept> {
    kept.as_mut().filter(|k| k.id == id).ok_or_else(gone)
}

fn described(partial: &Partial) -> Result<backup::BackupFile> {
    let mut file = File::open(partial.path()).map_err(unreadable)?;
    let mut digest = Sha256::new();
    let (mut some, mut bytes) = (vec![0; PIECE], 0);
    loop {
        let read = file.read(&mut some).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        digest.update(some.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
    let sha256 = hex::text(digest.finalize());
    Ok(backup::BackupFile { bytes, sha256 })
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(f).await;
    done.unwrap_or_else(|_| Err(gone()))
}

fn busy() -> Error {
    refuse(
        Code::BackupRunning,
        "another backup is being made or fetched",
        "try again when it is done, or in a minute if it was abandoned",
    )
}

fn gone() -> Error {
    refuse(
        Code::BackupNotFound,
        "there is no such backup",
        "make a new one: a backup is kept for a minute after it was last read from",
    )
}

fn unreadable(e: std::io::Error) -> Error {
    refuse(
        Code::FileUnreadable,
        format_args!("the backup cannot be read ({})", e.kind()),
        "make another one",
    )
    .with_kind(Kind::Unavailable)
}
