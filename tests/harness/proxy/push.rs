use super::{EcdsFile, Envoy, eventually};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What Envoy made of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// The canary took the configuration, and every worker has it.
    Applied,
    /// The same bytes as in the push before, which Envoy does not look at, whatever
    /// became of them: it says accepted of bytes that it refused before.
    Unchanged,
    /// The filter refused the configuration; what was in force stays.
    Refused,
    /// No discovery response at all; what was in force stays.
    Unreadable,
}

impl Envoy {
    /// Runs the push and waits until Envoy has judged it and, if it took it, until every
    /// worker has it.
    pub fn push(&self, push: impl FnOnce(&EcdsFile)) -> Push {
        let before = Judged::so_far(self);
        push(&self.ecds_file());
        let judged = eventually("Envoy to judge the push", || {
            let now = Judged::so_far(self);
            (now.judged() > before.judged()).then_some(now)
        });
        if judged.unreadable > before.unreadable {
            return Push::Unreadable;
        }
        if judged.refused > before.refused {
            return Push::Refused;
        }
        // Envoy tells nowhere that it skipped bytes that it knows.
        let from = Instant::now();
        while from.elapsed() < Duration::from_secs(2) {
            if Judged::so_far(self).applied > before.applied {
                return Push::Applied;
            }
            sleep(Duration::from_millis(2));
        }
        Push::Unchanged
    }

    /// Waits for what was there at the start to reach the workers.
    pub(super) fn settle(&self) {
        eventually("the workers to have the first configuration", || {
            let judged = Judged::so_far(self);
            (judged.taken == 0 || judged.applied > 0).then_some(())
        });
    }
}

/// What Envoy counts of the configurations that it was pushed.
struct Judged {
    taken: u64,
    refused: u64,
    unreadable: u64,
    /// Counted once every worker has it, a moment after it was taken.
    applied: u64,
}

impl Judged {
    fn so_far(envoy: &Envoy) -> Self {
        let all = envoy.stats("extension_config_discovery");
        let counter = |name| {
            let name = format!("extension_config_discovery.http_filter.keystile.{name}");
            all.get(&name).copied().unwrap_or(0)
        };
        Self {
            taken: counter("update_success"),
            refused: counter("update_rejected"),
            unreadable: counter("update_failure"),
            applied: counter("config_reload"),
        }
    }

    fn judged(&self) -> u64 {
        self.taken + self.refused + self.unreadable
    }
}
