//! Documents of the provider, and for how long each is good.

use keystile_model::error::{Error, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How soon its documents are fetched again. A key that it dropped is believed for no longer,
/// unless it cannot be asked.
const FRESH: Duration = Duration::from_secs(60);

/// How long a document is good while the provider cannot be asked, if it does not say so
/// itself; and at most.
const GOOD: Duration = Duration::from_secs(3600);

const GOOD_MOST: Duration = Duration::from_secs(86_400);

/// A document of the provider.
pub(super) struct Document<T> {
    pub(super) content: Arc<T>,
    /// When it was fetched.
    pub(super) at: Instant,
    /// Until when it may be used while the provider cannot be asked.
    pub(super) good: Instant,
}

impl<T> Document<T> {
    pub(super) fn new(content: T, at: Instant, good: Duration) -> Self {
        Self {
            content: Arc::new(content),
            at,
            good: at + good,
        }
    }
}

impl<T> Clone for Document<T> {
    fn clone(&self) -> Self {
        Self {
            content: Arc::clone(&self.content),
            ..*self
        }
    }
}

/// What is at hand of a document.
pub(super) enum AtHand<T> {
    /// It need not be fetched.
    Fresh(Arc<T>),
    /// It is to be fetched; if that fails, this may do.
    Old(Option<Arc<T>>),
}

pub(super) fn at_hand<T>(held: Option<&Document<T>>, now: Instant, anew: bool) -> AtHand<T> {
    match held {
        Some(d) if !anew && now.duration_since(d.at) < FRESH => {
            AtHand::Fresh(Arc::clone(&d.content))
        }
        Some(d) if now < d.good => AtHand::Old(Some(Arc::clone(&d.content))),
        _ => AtHand::Old(None),
    }
}

/// How long a document is good by its `Cache-Control` (RFC 9111, and `stale-if-error` of
/// RFC 5861).
pub(super) fn good_for(cache_control: &str) -> Duration {
    let (mut age, mut beyond) = (None, 0);
    for directive in cache_control.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let seconds = value.trim().trim_matches('"').parse::<u64>().ok();
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Duration::ZERO,
            "max-age" => age = seconds,
            "stale-if-error" => beyond = seconds.unwrap_or(0),
            _ => {}
        }
    }
    let age = age.map_or(GOOD, Duration::from_secs);
    age.saturating_add(Duration::from_secs(beyond))
        .min(GOOD_MOST)
}

/// What is at hand, in place of what cannot be had.
pub(super) fn outlasted<T>(old: Option<Arc<T>>, e: Error) -> Result<Arc<T>> {
    let Some(old) = old else { return Err(e) };
    tracing::warn!(
        error = %e,
        "the identity provider gave no usable answer; its previous one is used until it expires"
    );
    Ok(old)
}
