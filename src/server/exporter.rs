//! Sends the audit log to a file or an HTTPS address while the server runs, and removes records
//! that are past their retention; records that have not been sent stay.
//!
//! A record is sent at least once: what was sent is recorded beside the store after it arrived.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::pool::StorePool;
use keystile_api::Pace;
use keystile_api::audit::{RecordView, Records};
use keystile_api::remote;
use keystile_core::hex;
use keystile_core::key::Digest;
use keystile_model::audit::Head;
use keystile_model::error::{Code, Error, Result, defect, refuse};
use keystile_model::foreign;
use keystile_registry::audit;
use keystile_store::Store;
use keystile_system as system;
use keystile_system::file;

mod append;
mod batch;
mod carried;

use append::append;
use batch::BatchSize;

/// The environment variable with the token for the receiver.
pub const TOKEN: &str = "KEYSTILE_AUDIT_EXPORT_TOKEN";
/// Pause between polls for new records.
const LOOK: Duration = Duration::from_secs(1);
/// After a failure; doubled after each further one, up to the second.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MOST: Duration = Duration::from_secs(300);
/// Pause between checks for records that are too old.
const PRUNE: Duration = Duration::from_secs(600);
/// How long the receiver may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Appended to a file, one record per line.
    File(PathBuf),
    /// Posted, one record per line.
    Url(String),
}

impl FromStr for Destination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.contains("://") {
            true => keystile_model::webhook::checked_url(text).map(Self::Url),
            false => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

/// What to do with the log.
#[derive(Default)]
pub struct ExportSettings {
    /// Where it is sent.
    pub place: Option<Destination>,
    /// Authorities to trust for the receiver, in place of the public ones.
    pub ca: Option<PathBuf>,
    /// The token for the receiver.
    pub token: Option<Zeroizing<String>>,
    /// How long records are kept here, in seconds; indefinitely by default.
    pub keep: Option<u64>,
}

/// Sends the log.
pub struct Exporter {
    settings: ExportSettings,
    agent: ureq::Agent,
    waiting: AtomicU64,
    batch: BatchSize,
}

impl Exporter {
    /// Sends nothing before [`Exporter::run`].
    ///
    /// # Errors
    /// If the file of authorities holds none.
    pub fn new(settings: ExportSettings) -> Result<Arc<Self>> {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent("keystile");
        if let Some(ca) = &settings.ca {
            let roots = RootCerts::Specific(Arc::new(remote::certificates(ca)?));
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Arc::new(Self {
            agent: config.build().new_agent(),
            settings,
            waiting: AtomicU64::new(0),
            batch: BatchSize::default(),
        }))
    }

    /// Records that are not sent yet; `None` if none are sent at all.
    pub fn waiting(&self) -> Option<u64> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.settings.place.as_ref().map(|_| waiting)
    }

    /// Identifies its destination. A digest, because URLs may contain secrets.
    fn bound(&self) -> String {
        let place = match &self.settings.place {
            None => String::new(),
            Some(Destination::Url(url)) => url.clone(),
            Some(Destination::File(path)) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                path.to_string_lossy().into_owned()
            }
        };
        hex::text(Digest::of_foreign(place.as_bytes()).0)
    }

    /// The size in bytes of the record that the receiver refuses because of its size, 0 for none;
    /// `None` if none are sent at all.
    pub fn stuck(&self) -> Option<u64> {
        self.settings.place.as_ref().map(|_| self.batch.stuck())
    }

    /// Sends and removes until it is dropped.
    pub async fn run(self: Arc<Self>, pool: Arc<StorePool>) {
        let sending = Arc::clone(&self).send_all(Arc::clone(&pool));
        tokio::join!(sending, self.prune_all(pool));
    }

    async fn send_all(self: Arc<Self>, pool: Arc<StorePool>) {
        if self.settings.place.is_none() {
            return;
        }
        let mut failures = 0u32;
        loop {
            pool.until_leading().await;
            match Arc::clone(&self).step(&pool).await {
                Ok(true) => failures = 0,
                Ok(false) => {
                    failures = 0;
                    tokio::time::sleep(LOOK).await;
                }
                Err(e) => {
                    tracing::error!(error = %e, "the audit log cannot be sent; sending will be retried, and nothing is removed until then");
                    let pause = PAUSE.saturating_mul(1 << failures.min(10));
                    failures += 1;
                    tokio::time::sleep(pause.min(PAUSE_MOST)).await;
                }
            }
        }
    }

    /// Sends some records; gives whether there are more.
    async fn step(self: Arc<Self>, pool: &Arc<StorePool>) -> Result<bool> {
        let noted = pool.home().folder().join(audit::SENT);
        let bound = self.bound();
        let over = carried::fetch(pool, &noted).await?;
        let found = {
            let (noted, bound) = (noted.clone(), bound.clone());
            let room = self.batch.room();
            pool.ask(&system::of_server(), move |store| {
                bind(&noted, &bound)?;
                let start = audit::sent(&noted)?;
                let (after, head) = store.read(|tx| {
                    let reached = audit::reached(tx, start)?;
                    if !reached.known {
                        tracing::warn!(sent = %start.map(|s| s.to_string()).unwrap_or_default(), "the last record that was sent is not in the log (for instance after a restore): the whole log is sent again");
                    }
                    Ok((reached.seq, tx.meta().head.seq))
                })?;
                let found = Records::after(store, &system::of_server(), after, room)?;
                Ok((found.records, head))
            })
            .await?
        };
        let (records, head) = found;
        let Some(last) = records.last() else {
            self.waiting.store(0, Ordering::Relaxed);
            return Ok(false);
        };
        let reached = last.seq;
        let mark = format!("{}:{}\n{bound}\n", last.seq, last.hash);
        self.waiting.store(
            head.saturating_sub(reached) + records.len() as u64,
            Ordering::Relaxed,
        );
        let this = Arc::clone(&self);
        let given = mark.clone();
        let sending = tokio::task::spawn_blocking(move || {
            let sent = this.send(&records)?;
            if sent {
                file::replace(&noted, 0o600, mark.as_bytes())?;
            }
            Ok(sent)
        });
        if !sending.await.unwrap_or_else(|_| Err(broken()))? {
            return Ok(true);
        }
        carried::give(pool, given, over).await?;
        self.waiting
            .store(head.saturating_sub(reached), Ordering::Relaxed);
        Ok(head > reached)
    }

    /// Sends them; false if they have to be tried again, fewer at once.
    fn send(&self, records: &[RecordView]) -> Result<bool> {
        let mut lines = String::new();
        for record in records {
            lines.push_str(&foreign::json_line(record)?);
        }
        let lines = lines.into_bytes();
        let size = lines.len();
        let answer = match &self.settings.place {
            None => Ok(Answer::Taken),
            Some(Destination::File(path)) => append(path, &lines).map(|()| Answer::Taken),
            Some(Destination::Url(url)) => self.post(url, &lines),
        };
        match (answer, records) {
            (Ok(Answer::Taken), _) => {
                self.batch.arrived();
                Ok(true)
            }
            (Ok(Answer::TooLarge), [one]) => {
                self.batch.too_large_alone(size);
                Err(refuse(
                    Code::TooLong,
                    format_args!(
                        "the receiver of the audit log refuses record {} because of its size ({size} bytes)",
                        one.seq
                    ),
                    "raise its limit for request bodies above that (`client_max_body_size` in nginx); later records wait for this one",
                ))
            }
            (Ok(Answer::TooLarge), _) => {
                self.batch.too_large(size);
                Ok(false)
            }
            (Err(e), _) => {
                self.batch.failed(size);
                Err(e)
            }
        }
    }

    fn post(&self, url: &str, lines: &[u8]) -> Result<Answer> {
        let mut request = self
            .agent
            .post(url)
            .header("content-type", "application/x-ndjson");
        if let Some(token) = &self.settings.token {
            let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
            request = request.header("authorization", bearer.as_str());
        }
        let next = "make sure that it accepts a POST of JSON lines and answers with a 2xx status";
        let answer = request.send(lines).map_err(|e| {
            refuse(
                Code::Unreachable,
                format_args!("the receiver of the audit log cannot be reached ({e})"),
                next,
            )
        })?;
        match answer.status().as_u16() {
            413 => Ok(Answer::TooLarge),
            status if keystile_model::webhook::is_taken(status) => Ok(Answer::Taken),
            _ => Err(refuse(
                Code::StrangeAnswer,
                format_args!("the receiver of the audit log answered {}", answer.status()),
                next,
            )),
        }
    }

    async fn prune_all(&self, pool: Arc<StorePool>) {
        let Some(keep) = self.settings.keep else {
            return;
        };
        let mut turns = tokio::time::interval(PRUNE);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            pool.until_leading().await;
            let sends = self.settings.place.is_some();
            let noted = pool.home().folder().join(audit::SENT);
            let bound = self.bound();
            let begin = || {
                let (noted, bound) = (noted.clone(), bound.clone());
                Ok(move |store: &mut Store| {
                    if sends {
                        bind(&noted, &bound)?;
                    }
                    let world = system::of_server();
                    audit::prune(store, &world, world.now.seconds().saturating_sub(keep))
                })
            };
            let pruned = pool
                .write_for(&system::of_server(), Pace::Long, begin)
                .await;
            match pruned {
                Ok(pruned) => {
                    if pruned.removed > 0 {
                        tracing::info!(
                            removed = pruned.removed,
                            undelivered = pruned.undelivered,
                            "old audit records were removed"
                        );
                    }
                    if pruned.unsent > 0 {
                        tracing::warn!(
                            unsent = pruned.unsent,
                            "old audit records are kept: they have not been sent yet"
                        );
                    }
                }
                Err(e) => tracing::error!(error = %e, "old audit records cannot be removed"),
            }
        }
    }
}

/// Records which destination has received what. A new destination gets everything that is kept, and
/// nothing is removed before that.
fn bind(noted: &Path, place: &str) -> Result<()> {
    let sent = audit::sent(noted)?;
    let text = std::fs::read_to_string(noted).unwrap_or_default();
    let bound = text.lines().nth(1);
    let head = match (sent, bound) {
        (_, Some(bound)) if bound == place => return Ok(()),
        // Written by a release that did not record the destination.
        (Some(sent), None) => sent,
        (_, None) => Head::NOTHING,
        (_, Some(_)) => {
            tracing::warn!(
                "the audit log has a new destination: everything that is kept is sent there"
            );
            Head::NOTHING
        }
    };
    file::replace(noted, 0o600, format!("{head}\n{place}\n").as_bytes())
}

/// The receiver's answer to a batch.
enum Answer {
    Taken,
    TooLarge,
}

fn broken() -> Error {
    defect("audit records could not be written as JSON")
}

#[cfg(test)]
mod tests;
