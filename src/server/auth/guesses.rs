//! Invalid tokens: how many of them one address may try.

use std::net::IpAddr;

use keystile_core::key::Parsed;
use keystile_system as system;

use super::super::app::App;
use super::super::limits::{TooOften, subscriber};
use super::super::problem::Problem;

/// What guesses are counted by, in addition to the address: the public id that they are for.
pub fn prefix(presented: &str) -> u64 {
    Parsed::parse(presented.as_bytes()).map_or(u64::MAX, |text| text.id().as_u64())
}

/// Counts a guess. If there were too many, the answer is delayed and says only that, and no record
/// is written.
///
/// # Errors
/// 429.
pub async fn failed(app: &App, address: IpAddr, prefix: u64) -> Result<(), Problem> {
    let (limits, now) = (app.limits(), system::nanoseconds());
    let place = subscriber(address);
    let taken = limits.failures.take((place, prefix), now);
    let taken = taken.and(limits.guesses.take(place, now));
    // Whoever is refused here costs the database nothing.
    let taken = match taken {
        Ok(()) => failed_anywhere(app, place, prefix).await,
        refused => refused,
    };
    let Err(e) = taken else {
        return Ok(());
    };
    app.metrics().limited();
    limits.hold_up().await;
    Err(e.into())
}

/// The same over all servers of the store. If they cannot be asked, each counts for itself.
async fn failed_anywhere(
    app: &App,
    place: IpAddr,
    prefix: u64,
) -> std::result::Result<(), TooOften> {
    let limits = app.limits();
    let (Some(replicas), Some(failures), Some(guesses)) = (
        app.pool().replicas(),
        limits.failures.bucket(),
        limits.guesses.bucket(),
    ) else {
        return Ok(());
    };
    let buckets = [
        (format!("failure {place} {prefix}"), failures),
        (format!("guess {place}"), guesses),
    ];
    match replicas.aside(move |shared| shared.take(&buckets)).await {
        Ok(taken) => taken.map_err(|retry_after| TooOften { retry_after }),
        Err(e) => {
            tracing::warn!(error = %e, "guesses are counted by this server alone");
            Ok(())
        }
    }
}
