//! Documents of the provider, and for how long each is good.

use keystile_model::error::{Error, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How soon its documents are fetched again. A key that it has removed is accepted no longer than
/// this, unless the provider is unreachable.
const FRESH: Duration = Duration::from_secs(60);

/// How long a document may be used while the provider is unreachable: the default, and the maximum.
const GOOD: Duration = Duration::from_secs(3600);

const GOOD_MOST: Duration = Duration::from_secs(86_400);

/// A document of the provider.
pub(super) struct Document<T> {
    pub(super) content: Arc<T>,
    /// When it was fetched.
    pub(super) at: Instant,
    /// Until when it may be used while the provider is unreachable.
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

/// The cached state of a document.
pub(super) enum AtHand<T> {
    /// It need not be fetched.
    Fresh(Arc<T>),
    /// It has to be fetched; if that fails, this may be used.
    Old(Option<Arc<T>>),
}

pub(super) fn at_hand<T>(held: Option<&Document<T>>, now: Instant) -> AtHand<T> {
    match held {
        Some(d) if now.duration_since(d.at) < FRESH => AtHand::Fresh(Arc::clone(&d.content)),
        Some(d) if now < d.good => AtHand::Old(Some(Arc::clone(&d.content))),
        _ => AtHand::Old(None),
    }
}

/// How long a document may be used according to its `Cache-Control` (RFC 9111, and `stale-if-error`
/// of RFC 5861).
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

/// The cached document, if a new one cannot be fetched.
pub(super) fn outlasted<T>(old: Option<Arc<T>>, e: Error) -> Result<Arc<T>> {
    let Some(old) = old else { return Err(e) };
    tracing::warn!(
        error = %e,
        "the identity provider gave no usable answer; its previous one is used until it expires"
    );
    Ok(old)
}
