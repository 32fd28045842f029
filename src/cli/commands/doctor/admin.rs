//! What Envoy's admin interface tells. Of its configuration, only what is compared is kept: it holds
//! digests of keys, and may hold other parties' secrets.

use std::time::Duration;

use serde_json::Value;

use super::chain::{Chain, chains};
use super::dump::{below, part};

const PATIENCE: Duration = Duration::from_secs(20);
/// The largest answer that is read, in bytes: a configuration holds whole keysets.
const ANSWER: u64 = 512 << 20;

/// An Envoy, as its admin interface shows it.
#[derive(Debug, Default)]
pub(super) struct EnvoyAdmin {
    /// `1.40.0`.
    pub version: String,
    /// Its node id.
    pub node: String,
    /// The clock of its machine, in seconds, as HTTP's `Date` has it.
    pub clock: Option<u64>,
    /// Names and values.
    pub stats: Vec<(String, u64)>,
    /// Its chains of HTTP filters.
    pub chains: Vec<Chain>,
    /// Names of its clusters.
    pub clusters: Vec<String>,
    /// The least number of days until one of its certificates expires.
    pub certificate_days: Option<u64>,
    /// Why its certificates could not be read.
    pub unread: Option<String>,
}

impl EnvoyAdmin {
    /// Asks.
    ///
    /// # Errors
    /// Why there is no answer, in a few words.
    pub(super) fn read(url: &str) -> Result<Self, String> {
        let base = url.trim_end_matches('/');
        let base = match base.contains("://") {
            true => base.to_owned(),
            false => format!("http://{base}"),
        };
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            // A configuration is nothing for a proxy, or for where a redirect leads.
            .proxy(None)
            .max_redirects(0)
            .build()
            .new_agent();
        let get = |path: &str| -> Result<(Value, Option<u64>), String> {
            let answer = agent.get(format!("{base}{path}")).call();
            let mut answer = answer.map_err(|e| format!("{path}: {e}"))?;
            let date = answer.headers().get("date").and_then(|d| d.to_str().ok());
            let clock = date.and_then(keystile_model::when::http_date);
            let body = answer.body_mut().with_config().limit(ANSWER).read_to_vec();
            let body = body.map_err(|e| format!("{path}: {e}"))?;
            let json = serde_json::from_slice(&body);
            let json = json.map_err(|_| format!("{path}: not the JSON of an Envoy"))?;
            Ok((json, clock))
        };
        let (info, clock) = get("/server_info")?;
        let (stats, _) = get("/stats?format=json&filter=keystile")?;
        let (dump, _) = get("/config_dump")?;
        let (certificates, unread) = match get("/certs") {
            Ok((json, _)) => (json, None),
            Err(why) => (Value::Null, Some(why)),
        };
        Ok(Self {
            clock,
            unread,
            ..Self::from_json(&info, &stats, &dump, &certificates)
        })
    }

    pub(super) fn from_json(info: &Value, stats: &Value, dump: &Value, certs: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // `hash/1.40.0/Clean/RELEASE/BoringSSL`
        let version = text(below(info, "/version"));
        let stats = below(stats, "/stats").as_array().into_iter().flatten();
        let numbers =
            stats.filter_map(|s| Some((below(s, "/name").as_str()?, below(s, "/value").as_u64()?)));
        Self {
            version: version.split('/').nth(1).unwrap_or_default().to_owned(),
            node: text(below(info, "/node/id")),
            clock: None,
            unread: None,
            stats: numbers.map(|(name, n)| (name.to_owned(), n)).collect(),
            chains: chains(dump),
            clusters: clusters(dump),
            certificate_days: days(certs),
        }
    }

    /// Values of the statistics with this name, whatever their labels.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = u64> {
        let ours = self.stats.iter().filter(move |(n, _)| n.contains(name));
        ours.map(|(_, value)| *value)
    }

    pub(super) fn sum(&self, name: &str) -> u64 {
        self.values(name).fold(0, u64::saturating_add)
    }
}

fn clusters(dump: &Value) -> Vec<String> {
    let Some(all) = part(dump, ".ClustersConfigDump") else {
        return Vec::new();
    };
    let lists = ["static_clusters", "dynamic_active_clusters"];
    let each = lists
        .iter()
        .filter_map(|list| all.get(list)?.as_array())
        .flatten();
    let names = each.filter_map(|c| below(c, "/cluster/name").as_str());
    names.map(str::to_owned).collect()
}

fn days(certs: &Value) -> Option<u64> {
    let all = below(certs, "/certificates").as_array()?.iter();
    let own = all
        .filter_map(|c| below(c, "/cert_chain").as_array())
        .flatten();
    // Envoy writes 64-bit numbers as text.
    own.filter_map(|c| below(c, "/days_until_expiration").as_str()?.parse().ok())
        .min()
}
