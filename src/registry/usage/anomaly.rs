//! Simple rules over what was counted. A finding is one event per key, rule and day: an audit
//! record, and so a webhook message.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{HOUR, UsageSettings};
use crate::exposed::Allowance;
use crate::usage::Step;
use keystile_model::error::Result;
use keystile_model::when;
use keystile_model::world::World;
use keystile_store::{OnlyThese, Store, Untold, UsageTx, Whose};

/// How many hours a spike is compared with.
const HISTORY: u64 = 7 * 24;
/// How many hours a key must have been in use before it can have spikes.
const SETTLED: u64 = 24;
/// How many networks are recorded per key; a key with more is expected to roam.
const NETWORKS: u64 = 256;
/// How many anomalies are reported in one transaction.
const STEP: u32 = 500;

/// The rules. The event of a rule is `anomaly.` followed by [`AnomalyRule::name`], except of keys that
/// were exposed, which are more than odd ([`crate::exposed::ACTION`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnomalyRule {
    /// Far more requests in an hour than ever in the week before.
    Spike,
    /// A network that it was never used from.
    NewNetwork,
    /// A run of requests that lacked a scope.
    ScopeDenials,
    /// A replaced key is still used shortly before it ends.
    RotatedKeyUsed,
    /// A revoked key is still tried.
    RevokedKeyTried,
    /// It came over plain HTTP where TLS is required.
    Exposed,
}

impl AnomalyRule {
    /// The type as a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::NewNetwork => "new-network",
            Self::ScopeDenials => "scope-denials",
            Self::RotatedKeyUsed => "rotated-key-used",
            Self::RevokedKeyTried => "revoked-key-tried",
            Self::Exposed => "exposed",
        }
    }

    /// The action of its audit record.
    fn action(name: &str) -> String {
        format!("anomaly.{name}")
    }
}

/// A key was let through from a network.
///
/// # Errors
/// Those of the database; the same for all below.
pub fn network(
    tx: &mut UsageTx<'_>,
    settings: &UsageSettings,
    key: i64,
    network: IpNet,
    at: u64,
) -> Result<()> {
    let network = network.to_string();
    let Some((since, held)) = tx.network_seen(key, &network, at, NETWORKS)? else {
        return Ok(());
    };
    let learning = settings.network_learning.0;
    if learning > 0 && held > 1 && at.saturating_sub(since) >= learning {
        let detail = json!({"network": network, "networks_before": held - 1});
        found(tx, key, AnomalyRule::NewNetwork, at, &detail)?;
    }
    Ok(())
}

/// A key that stops working at `end` because it was rotated was let through.
pub fn rotated(
    tx: &mut UsageTx<'_>,
    settings: &UsageSettings,
    key: i64,
    end: u64,
    requests: u64,
    at: u64,
) -> Result<()> {
    if end > at && end - at <= settings.rotation_notice.0 {
        let detail = json!({"works_until": when::rfc3339(end), "requests": requests});
        found(tx, key, AnomalyRule::RotatedKeyUsed, at, &detail)?;
    }
    Ok(())
}

/// A key was refused because it came over plain HTTP, as a node reports; whether that is the first
/// report of it in this day. Dated to when it is reported, so that no date makes it another event.
pub fn exposed(
    tx: &mut UsageTx<'_>,
    key: i64,
    (node, requests): (&str, u64),
    now: u64,
) -> Result<bool> {
    let detail = json!({"node": node, "requests": requests});
    found(tx, key, AnomalyRule::Exposed, now, &detail)
}

/// Examines the hour that contains a time, in seconds, and for some minutes also the hour before,
/// whose last batches arrive then.
pub fn look(tx: &mut UsageTx<'_>, now: u64) -> Result<()> {
    let settings = UsageSettings::read(tx)?;
    let hour = now / HOUR;
    if now % HOUR < 600 {
        look_at(tx, &settings, hour.saturating_sub(1), now)?;
    }
    look_at(tx, &settings, hour, now)
}

fn look_at(tx: &mut UsageTx<'_>, settings: &UsageSettings, hour: u64, now: u64) -> Result<()> {
    // Dated to the hour in which it is found, so that the hour before is not a second event.
    let at = now.min(hour * HOUR + HOUR - 1);
    for (rule, outcome, enough) in [
        (
            AnomalyRule::ScopeDenials,
            "insufficient_scope",
            settings.scope_denials,
        ),
        (
            AnomalyRule::RevokedKeyTried,
            "revoked_api_key",
            settings.revoked_tries,
        ),
    ] {
        let Some(more_than) = enough.checked_sub(1) else {
            continue;
        };
        for busy in tx.busy_keys(hour, Some(outcome), more_than)? {
            found(tx, busy.key, rule, at, &json!({"requests": busy.requests}))?;
        }
    }
    if settings.spike_factor == 0 {
        return Ok(());
    }
    for busy in tx.busy_keys(hour, None, settings.spike_minimum)? {
        let whose = Whose::Key {
            client: busy.client,
            key: busy.key,
        };
        let range = (hour.saturating_sub(HISTORY), hour.saturating_sub(1));
        let history = tx.series(whose, OnlyThese::default(), Step::Hour, range)?;
        let settled = history.first().is_some_and(|h| hour - h.t >= SETTLED);
        let usual = history.iter().map(|h| h.requests).max().unwrap_or(0);
        if settled && busy.requests > usual.saturating_mul(settings.spike_factor) {
            let detail = json!({"requests": busy.requests, "most_in_an_hour_before": usual});
            found(tx, busy.key, AnomalyRule::Spike, at, &detail)?;
        }
    }
    Ok(())
}

/// Whether it is the first of its day.
fn found(
    tx: &mut UsageTx<'_>,
    key: i64,
    rule: AnomalyRule,
    at: u64,
    detail: &Value,
) -> Result<bool> {
    tx.add_anomaly(key, rule.name(), at, &detail.to_string())
}

/// Writes anomalies to the audit log that are not there yet, and gives them: mark them with
/// [`UsageTx::set_told`]. A crash in between reports them twice.
pub fn tell(store: &mut Store, world: &World) -> Result<Vec<Untold>> {
    let rule = AnomalyRule::Exposed.name();
    let untold = store.with_usage(|_, usage| usage.read(|tx| tx.untold(STEP)))?;
    if untold.is_empty() {
        return Ok(untold);
    }
    store.write(world, |tx| {
        let mut allowance = match untold.iter().any(|one| one.anomaly.rule == rule) {
            true => Some(Allowance::read(tx, world)?),
            false => None,
        };
        for one in &untold {
            let anomaly = &one.anomaly;
            let mut after: Value = serde_json::from_str(&anomaly.detail).unwrap_or_default();
            if let Some(map) = after.as_object_mut() {
                if let Some(name) = tx.name_of_client(anomaly.client)? {
                    map.insert("client".to_owned(), json!(name));
                }
                map.insert("at".to_owned(), json!(when::rfc3339(anomaly.at)));
            }
            if let Some(allowance) = allowance.as_mut().filter(|_| anomaly.rule == rule) {
                allowance.act(tx, world, anomaly.key, after)?;
                continue;
            }
            let subject = anomaly.key.to_string();
            tx.audit(
                world,
                &AnomalyRule::action(&anomaly.rule),
                &subject,
                None,
                Some(&after),
            )?;
        }
        Ok(())
    })?;
    Ok(untold)
}
