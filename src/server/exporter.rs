//! Sends the audit log elsewhere while the server runs, to a file or an HTTPS address, and
//! removes records that are older than they are kept here: what has not been sent stays.
//!
//! A record is sent at least once: what was sent is noted beside the store, after it arrived.

use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::desk::Desk;
use keystile_api::Pace;
use keystile_api::audit::{RecordView, Records};
use keystile_api::remote;
use keystile_core::key::Digest;
use keystile_model::audit::Head;
use keystile_model::error::{Code, Error, Result, defect, refuse};
use keystile_model::foreign;
use keystile_registry::audit;
use keystile_store::Store;
use keystile_system as system;
use keystile_system::file;

mod batch;

use batch::Batch;

/// The environment variable of the token that the receiver wants.
pub const TOKEN: &str = "KEYSTILE_AUDIT_EXPORT_TOKEN";
/// Between looks for new records.
const LOOK: Duration = Duration::from_secs(1);
/// After a failure; doubled after each further one, up to the second.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MOST: Duration = Duration::from_secs(300);
/// Between looks for records that are too old.
const PRUNE: Duration = Duration::from_secs(600);
/// How long the receiver may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Appended, a record a line.
    File(PathBuf),
    /// Posted, a record a line.
    Url(String),
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.contains("://") {
            true => keystile_model::webhook::checked_url(text).map(Self::Url),
            false => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

/// What is done with the log.
#[derive(Default)]
pub struct Settings {
    /// Where it is sent.
    pub place: Option<Place>,
    /// Authorities of the receiver, in place of those that everybody trusts.
    pub ca: Option<PathBuf>,
    /// What the receiver wants to be shown.
    pub token: Option<Zeroizing<String>>,
    /// How long records are kept here, in seconds; for ever if it is not said.
    pub keep: Option<u64>,
}

/// Sends the log.
pub struct Exporter {
    settings: Settings,
    agent: ureq::Agent,
    waiting: AtomicU64,
    batch: Batch,
}

impl Exporter {
    /// Sends nothing before [`Exporter::run`].
    ///
    /// # Errors
    /// If the file of authorities holds none.
    pub fn new(settings: Settings) -> Result<Arc<Self>> {
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
            batch: Batch::default(),
        }))
    }

    /// Records that are not sent yet; `None` where none are sent at all.
    pub fn waiting(&self) -> Option<u64> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.settings.place.as_ref().map(|_| waiting)
    }

    /// What tells its destination from others. A digest, because addresses may hold secrets.
    fn bound(&self) -> String {
        let place = match &self.settings.place {
            None => String::new(),
            Some(Place::Url(url)) => url.clone(),
            Some(Place::File(path)) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                path.to_string_lossy().into_owned()
            }
        };
        let Digest(bytes) = Digest::of_foreign(place.as_bytes());
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The size in bytes of the record that the receiver refuses because of its size, 0 for none;
    /// `None` where none are sent at all.
    pub fn stuck(&self) -> Option<u64> {
        self.settings.place.as_ref().map(|_| self.batch.stuck())
    }

    /// Sends and removes until it is dropped.
    pub async fn run(self: Arc<Self>, desk: Arc<Desk>) {
        let sending = Arc::clone(&self).send_all(Arc::clone(&desk));
        tokio::join!(sending, self.prune_all(desk));
    }

    async fn send_all(self: Arc<Self>, desk: Arc<Desk>) {
        if self.settings.place.is_none() {
            return;
        }
        let mut failures = 0u32;
        loop {
            match Arc::clone(&self).step(&desk).await {
                Ok(true) => failures = 0,
                Ok(false) => {
                    failures = 0;
                    tokio::time::sleep(LOOK).await;
                }
                Err(e) => {
                    tracing::error!(error = %e, "the audit log cannot be sent; it will be tried again, and nothing is removed until then");
                    let pause = PAUSE.saturating_mul(1 << failures.min(10));
                    failures += 1;
                    tokio::time::sleep(pause.min(PAUSE_MOST)).await;
                }
            }
        }
    }

    /// Sends some records; whether there are more.
    async fn step(self: Arc<Self>, desk: &Arc<Desk>) -> Result<bool> {
        let noted = desk.home().folder().join(audit::SENT);
        let bound = self.bound();
        let found = {
            let (noted, bound) = (noted.clone(), bound.clone());
            let room = self.batch.room();
            desk.ask(&system::of_server(), move |store| {
                bind(&noted, &bound)?;
                let start = audit::sent(&noted)?;
                let (after, head) = store.read(|tx| {
                    let reached = audit::reached(tx, start)?;
                    if !reached.known {
                        tracing::warn!(sent = %start.map(|s| s.to_string()).unwrap_or_default(), "the record that was sent last is not in the log (after a restore, for instance): the whole log is sent again");
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
        self.waiting
            .store(head.saturating_sub(reached), Ordering::Relaxed);
        Ok(head > reached)
    }

    /// Sends them; false if they are to be tried again, fewer at once.
    fn send(&self, records: &[RecordView]) -> Result<bool> {
        let mut lines = String::new();
        for record in records {
            lines.push_str(&foreign::json_line(record)?);
        }
        let lines = lines.into_bytes();
        let size = lines.len();
        let answer = match &self.settings.place {
            None => Ok(Answer::Taken),
            Some(Place::File(path)) => append(path, &lines).map(|()| Answer::Taken),
            Some(Place::Url(url)) => self.post(url, &lines),
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

    async fn prune_all(&self, desk: Arc<Desk>) {
        let Some(keep) = self.settings.keep else {
            return;
        };
        let mut turns = tokio::time::interval(PRUNE);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let sends = self.settings.place.is_some();
            let noted = desk.home().folder().join(audit::SENT);
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
            let pruned = desk
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

/// Notes which destination has what was sent. One that has nothing gets all that is kept, and
/// nothing is removed before it has.
fn bind(noted: &Path, place: &str) -> Result<()> {
    let sent = audit::sent(noted)?;
    let text = std::fs::read_to_string(noted).unwrap_or_default();
    let bound = text.lines().nth(1);
    let head = match (sent, bound) {
        (_, Some(bound)) if bound == place => return Ok(()),
        // By a release that did not note where.
        (Some(sent), None) => sent,
        (_, None) => Head::NOTHING,
        (_, Some(_)) => {
            tracing::warn!(
                "the audit log is sent to another place than before: all of it that is kept goes there"
            );
            Head::NOTHING
        }
    };
    file::replace(noted, 0o600, format!("{head}\n{place}\n").as_bytes())
}

/// What the receiver says to a batch.
enum Answer {
    Taken,
    TooLarge,
}

fn append(path: &Path, lines: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        end_last_line(path, &mut file)?;
        let written = file.write_all(lines).and_then(|()| file.sync_data());
        if written.is_err() {
            // It is tried again before the next batch.
            let _ = end_last_line(path, &mut file);
        }
        written
    };
    write().map_err(|e| {
        refuse(
            Code::FileUnwritable,
            format_args!("`{}` cannot be written ({e})", path.display()),
            "check its folder, and that there is room on the disk",
        )
    })
}

/// Removes the part of a line that a full disk or the end of a server left at the end of a
/// file: what follows would be taken for the rest of it, and the record is sent again as a whole.
fn end_last_line(path: &Path, file: &mut std::fs::File) -> std::io::Result<()> {
    let found = file.metadata()?;
    if !found.is_file() || found.len() == 0 {
        return Ok(());
    }
    let reader = std::fs::File::open(path)?;
    let mut chunk = [0; 1 << 16];
    let mut end = found.len();
    let whole = loop {
        let from = end.saturating_sub(chunk.len() as u64);
        let part = chunk
            .get_mut(..usize::try_from(end - from).unwrap_or(0))
            .unwrap_or_default();
        reader.read_exact_at(part, from)?;
        if let Some(at) = part.iter().rposition(|b| *b == b'\n') {
            break from + at as u64 + 1;
        }
        end = from;
        if end == 0 {
            break 0;
        }
    };
    if whole == found.len() {
        return Ok(());
    }
    // A file that may only grow gets a line that is none of ours.
    file.set_len(whole).or_else(|_| file.write_all(b"\n"))
}

fn broken() -> Error {
    defect("audit records could not be written as JSON")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::net::TcpListener;

    use super::*;
    use crate::desk::bench;

    /// A receiver that takes bodies of so many bytes at most, and gives the sizes of those.
    fn receiver(most: usize) -> (String, std::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (taken, all) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut length = 0;
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|_| line != "\r\n") {
                    if let Some(n) = line.to_lowercase().strip_prefix("content-length: ") {
                        length = n.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let status = if length > most { 413 } else { 204 };
                if status == 204 && taken.send(String::from_utf8(body).unwrap()).is_err() {
                    return;
                }
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.get_mut().write_all(answer.as_bytes());
            }
        });
        (url, all)
    }

    fn to(url: &str) -> Arc<Exporter> {
        Exporter::new(Settings {
            place: Some(Place::Url(url.to_owned())),
            ..Settings::default()
        })
        .unwrap()
    }

    async fn note(desk: &Arc<Desk>, bytes: usize) {
        let text = serde_json::json!({ "policy": "x".repeat(bytes) });
        let add = move |store: &mut Store| {
            let world = system::of_server();
            store.write(&world, |tx| {
                tx.audit(&world, "policy.apply", "2", None, Some(&text))
            })
        };
        desk.write(add).await.unwrap();
    }

    #[tokio::test]
    async fn a_batch_that_is_too_large_for_the_receiver_is_sent_in_parts() {
        let (_folder, desk) = bench::desk("version: 1\n", &["acme"]);
        for _ in 0..20 {
            note(&desk, 60_000).await;
        }
        let (url, bodies) = receiver(200_000);
        let exporter = to(&url);
        let mut steps = 0;
        while Arc::clone(&exporter).step(&desk).await.unwrap() {
            steps += 1;
            assert!(steps < 40, "it does not get further");
        }
        let bodies: Vec<String> = bodies.try_iter().collect();
        let sizes: Vec<usize> = bodies.iter().map(String::len).collect();
        assert!(
            sizes.iter().any(|n| *n > 60_000 * 2),
            "no more than needed: {sizes:?}"
        );
        let seqs: Vec<u64> = bodies
            .iter()
            .flat_map(|body| body.lines())
            .map(|line| serde_json::from_str::<RecordView>(line).unwrap().seq)
            .collect();
        let head = desk.read(|tx| Ok(tx.meta().head.seq)).await.unwrap();
        assert_eq!(seqs, (1..=head).collect::<Vec<_>>());
        assert_eq!(exporter.waiting(), Some(0));
    }

    #[tokio::test]
    async fn a_record_that_is_too_large_for_the_receiver_is_named_and_not_passed_over() {
        let (_folder, desk) = bench::desk("version: 1\n", &["acme"]);
        note(&desk, 60_000).await;
        let large = desk.read(|tx| Ok(tx.meta().head.seq)).await.unwrap();
        note(&desk, 10).await;
        let (url, bodies) = receiver(50_000);
        let exporter = to(&url);
        let refused = loop {
            match Arc::clone(&exporter).step(&desk).await {
                Ok(more) => assert!(more, "it was passed over"),
                Err(e) => break e.to_string(),
            }
        };
        assert!(refused.contains(&format!("record {large} ")), "{refused}");
        assert!(exporter.stuck().unwrap() > 60_000);
        assert_eq!(exporter.waiting(), Some(2));
        assert!(
            bodies
                .try_iter()
                .all(|b| b.lines().count() < large as usize)
        );
        // The receiver takes more now.
        let (url, _bodies) = receiver(100_000);
        let exporter = to(&url);
        while Arc::clone(&exporter).step(&desk).await.unwrap() {}
        assert_eq!((exporter.waiting(), exporter.stuck()), (Some(0), Some(0)));
    }

    #[test]
    fn what_was_sent_to_one_place_was_not_sent_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let noted = folder.path().join(audit::SENT);
        let sent = |n: u64| {
            let hash = "ab".repeat(32);
            format!("{n}:{hash}\n")
        };
        let seq = || audit::sent(&noted).unwrap().map(|head| head.seq);
        bind(&noted, "one").unwrap();
        assert_eq!(seq(), Some(0));
        // By a release that did not note where.
        std::fs::write(&noted, sent(7)).unwrap();
        for (place, want) in [("one", 7), ("one", 7), ("two", 0), ("two", 0)] {
            bind(&noted, place).unwrap();
            assert_eq!(seq(), Some(want), "{place}");
        }
        std::fs::write(&noted, format!("{}two\n", sent(9))).unwrap();
        for (place, want) in [("two", 9), ("one", 0)] {
            bind(&noted, place).unwrap();
            assert_eq!(seq(), Some(want), "{place}");
        }
    }

    #[test]
    fn half_a_line_at_the_end_is_removed_before_more_is_appended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let long = "x".repeat(200_000);
        for (there, want) in [
            (String::new(), "new\n".to_owned()),
            ("one\n".to_owned(), "one\nnew\n".to_owned()),
            ("one\ntw".to_owned(), "one\nnew\n".to_owned()),
            (format!("one\n{long}"), "one\nnew\n".to_owned()),
            (format!("{long}\n{long}"), format!("{long}\nnew\n")),
            (long, "new\n".to_owned()),
        ] {
            std::fs::write(&file, there).unwrap();
            append(&file, b"new\n").unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), want);
        }
    }
}
