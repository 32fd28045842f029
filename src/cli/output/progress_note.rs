//! What a person sees of something that takes longer than a second.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// What takes less is over before anybody wonders.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two pictures.
const FRAME: Duration = Duration::from_millis(100);

/// Whether one is there: a part of what it shows has none of its own.
static IS_THERE: AtomicBool = AtomicBool::new(false);

/// Shows on stderr what is being done and for how long, from the second second until it is dropped;
/// nothing if that is no terminal.
pub struct ProgressNote {
    /// Dropped to end it.
    ends: Option<Sender<()>>,
    shows: Option<JoinHandle<()>>,
    rows: Arc<AtomicU64>,
}

impl ProgressNote {
    pub(super) fn new(what: String) -> Self {
        let rows = Arc::new(AtomicU64::new(0));
        if !io::stderr().is_terminal() || IS_THERE.swap(true, Ordering::Relaxed) {
            return Self::hidden();
        }
        let (ends, ended) = mpsc::channel();
        let counted = Arc::clone(&rows);
        Self {
            ends: Some(ends),
            shows: Some(thread::spawn(move || show(what, &counted, &ended))),
            rows,
        }
    }

    pub(super) fn hidden() -> Self {
        Self {
            ends: None,
            shows: None,
            rows: Arc::default(),
        }
    }

    /// So many more rows have been written.
    pub fn more(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }
}

fn show(what: String, rows: &AtomicU64, ended: &Receiver<()>) {
    let goes_on = |wait| ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
    if !goes_on(PATIENCE) {
        return;
    }
    let bar = ProgressBar::new_spinner().with_elapsed(PATIENCE);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    while goes_on(FRAME) {
        bar.set_message(match rows.load(Ordering::Relaxed) {
            0 => what.clone(),
            n => format!("{what}: {n} rows"),
        });
        bar.tick();
    }
    bar.finish_and_clear();
}

impl Drop for ProgressNote {
    fn drop(&mut self) {
        let Some(shows) = self.shows.take() else {
            return;
        };
        self.ends.take();
        // It draws, and nothing else: if it could not, nothing is lost.
        let _ = shows.join();
        IS_THERE.store(false, Ordering::Relaxed);
    }
}
