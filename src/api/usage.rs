//! Usage: the requests that Envoys counted, anomalies, what is left of quotas, and how long all of
//! it is kept.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{ANYBODY, Method, OWNERS, Operation, Route, STAFF};
use keystile_model::error::{Code, Kind, Result, refuse};
use keystile_model::when::When;
use keystile_model::wire::{Id, Span, Time, TimeWords};
use keystile_model::world::World;
use keystile_registry as registry;
use keystile_registry::key;
use keystile_registry::policy;
use keystile_registry::usage::question::{self, By, Question};
use keystile_registry::usage::{Settings, Step, quotas, window};
use keystile_store::{Anomaly, Dimension, Store, Tx, UsageTx, Whose};

/// Groups in one answer: the default.
const GROUPS: u32 = 20;
const MOST_GROUPS: u32 = 200;
/// Anomalies in one answer at most.
const ANOMALIES: u32 = 1_000;
/// How far back an answer goes by default, in seconds.
const SINCE: u64 = 7 * 86_400;

/// Shows how many requests there were.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageShow)]
pub struct Show {
    /// Only requests of this client (by name) or key (by id).
    #[serde(default)]
    pub of: Option<String>,
    /// Only requests of this client.
    #[serde(default)]
    pub client: Option<String>,
    /// Only requests of this key.
    #[serde(default)]
    pub key: Option<Id>,
    /// Since this time: `24h` and `90d` are counted back from now. 7 days by default.
    #[serde(default)]
    pub since: Option<TimeWords>,
    /// Until this time; until now by default.
    #[serde(default)]
    pub until: Option<TimeWords>,
    /// In steps of a minute, an hour or a day; by default depending on the range.
    #[serde(default)]
    pub step: Option<Step>,
    /// Break the requests down by this.
    #[serde(default)]
    pub by: Option<By>,
    /// How many of the largest groups at most: 1 to 200; 20 by default.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// How many requests there were.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Only of this client.
    pub client: Option<String>,
    /// Only of this key.
    pub key: Option<Id>,
    /// The beginning of the first step.
    pub from: Time,
    /// The end of the last one.
    pub until: Time,
    /// How long a step is.
    pub step: Step,
    /// All requests.
    pub requests: u64,
    /// Those that were let through.
    pub allowed: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Each step.
    pub points: Vec<UsagePoint>,
    /// What the groups are.
    pub by: Option<By>,
    /// The largest groups, largest first.
    pub groups: Vec<UsageGroup>,
    /// The remaining groups, taken together.
    pub others: Option<UsageOthers>,
    /// Since when anything has been counted; null if nothing was.
    pub counted_since: Option<Time>,
    /// Requests of the whole store that are missing from the counts, because an Envoy had no room
    /// for them or reported them too late. Null for callers restricted to one client.
    pub uncounted: Option<u64>,
}

/// Requests of a step.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct UsagePoint {
    /// When the step begins.
    pub at: Time,
    /// All requests.
    pub requests: u64,
    /// Those that were let through.
    pub allowed: u64,
}

/// Requests of a group.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct UsageGroup {
    /// The route, the outcome, the key's id or the client's name; null if there is none.
    pub name: Option<String>,
    /// For a key: its client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// All requests.
    pub requests: u64,
    /// Those that were let through.
    pub allowed: u64,
    /// How many in each step.
    pub points: Vec<u64>,
}

/// Groups taken together.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct UsageOthers {
    /// How many groups.
    pub groups: u64,
    /// All their requests.
    pub requests: u64,
    /// Those that were let through.
    pub allowed: u64,
}

/// Lists anomalies in the use of keys, latest first.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageAnomalies)]
pub struct Anomalies {
    /// Only anomalies of this client's keys.
    #[serde(default)]
    pub client: Option<String>,
    /// Since this time: `24h` is counted back from now. 7 days by default.
    #[serde(default)]
    pub since: Option<TimeWords>,
}

/// Anomalies.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Anomalies)]
pub struct Found {
    /// Latest first; at most 1,000.
    pub anomalies: Vec<AnomalyView>,
}

/// An anomaly in the use of a key.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Anomaly)]
pub struct AnomalyView {
    /// When it was found.
    pub at: Time,
    /// The rule that found it.
    pub rule: String,
    /// Which key.
    pub key: Id,
    /// Its client; null for a key that is not in this store.
    pub client: Option<String>,
    /// The numbers behind it.
    #[schema(value_type = Object)]
    pub detail: Value,
}

impl AnomalyView {
    /// The numbers behind it: `requests 812, usual most 40`.
    pub fn words(&self) -> String {
        let words = self
            .detail
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, v)| {
                let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
                format!("{} {text}", name.replace('_', " "))
            });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Shows what is left of a key's quota.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageQuota)]
pub struct Quota {
    /// The key's id.
    pub id: Id,
}

/// What is left of a quota; all fields are null if there is none.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[schema(as = QuotaLeft)]
pub struct Left {
    /// The plan that the quota comes from; null if there is none.
    pub plan: Option<String>,
    /// Requests in each window; null if there is no quota.
    pub requests: Option<u64>,
    /// `day` or `month`.
    pub per: Option<String>,
    /// When the window began.
    pub window: Option<Time>,
    /// When it ends, and the next one begins.
    #[serde(default)]
    pub until: Option<Time>,
    /// Requests let through in it, of the key and those that it was rotated from, minus what was
    /// given back.
    pub used: u64,
    /// What is left.
    pub remaining: Option<u64>,
}

/// Shows how long usage is kept, and what counts as an anomaly.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageSettingsShow)]
pub struct ShowSettings {}

/// Changes how long usage is kept, and what counts as an anomaly; fields that are left out stay as
/// they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageConfigure)]
pub struct Configure {
    /// How long counts by minute are kept: at least 1 hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<Span>,
    /// How long counts by hour are kept: at least 1 day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Span>,
    /// How long counts by day, networks and anomalies are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Span>,
    /// `spike`: the factor by which an hour exceeds the highest hour of the previous 7 days; 0:
    /// off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spike_factor: Option<u64>,
    /// `spike`: the hour must also have more requests than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spike_minimum: Option<u64>,
    /// `new-network`: report none until this long after the first use of a key; 0: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_learning: Option<Span>,
    /// `scope-denials`: the number of requests in an hour; 0: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_denials: Option<u64>,
    /// `rotated-key-used`: the time left before the key stops working; 0: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_notice: Option<Span>,
    /// `revoked-key-tried`: the number of requests in an hour; 0: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_tries: Option<u64>,
}

/// Forgets the addresses and user agents that used keys; counts stay.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageForget)]
pub struct Forget {}

/// The result of forgetting.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = UsageForgotten)]
pub struct Forgotten {}

impl Operation for Show {
    type Output = Usage;
    const ROUTE: Route = Route::get(
        "usage.show",
        "/v1/usage",
        ANYBODY,
        "Show how many requests there were",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Usage> {
        let now = world.now.seconds();
        let most = self.limit.unwrap_or(GROUPS);
        if most == 0 || most > MOST_GROUPS {
            return Err(refuse(
                Code::OutOfRange,
                format_args!("{most} is not in 1..={MOST_GROUPS}"),
                "ask for less; the others are taken together",
            )
            .field("limit"));
        }
        let ago = |t: &Option<TimeWords>| t.as_ref().map(|t| t.0.ago(now));
        let since = ago(&self.since).unwrap_or(now.saturating_sub(SINCE));
        let until = ago(&self.until);
        let mut step = self.step;
        store.with_usage(|store, usage| {
            let whose = store.read(|tx| self.subject(tx, world))?;
            if self.by == Some(By::Key) && whose.client.is_none() {
                // There may be a million groups in each hour.
                step = match step {
                    None | Some(Step::Day) => Some(Step::Day),
                    Some(_) => {
                        return Err(refuse(
                            Code::FieldsConflict,
                            "everybody's keys are told apart by day",
                            "ask for steps of a day, or for one client",
                        )
                        .about("step"));
                    }
                };
            }
            usage.read(|tx| {
                let number = match &whose.key {
                    Some(id) => tx.key_usage(id.0)?.map_or(0, |(n, _)| n),
                    None => 0,
                };
                let settings = Settings::read(tx)?;
                let question = Question {
                    whose: whose.counted(number),
                    span: question::Span::new((since, until), step, &settings, now)?,
                    by: self.by,
                    most: usize::try_from(most).unwrap_or(1),
                };
                let answer = question::answer(tx, &question)?;
                let mut name = |number| store.read(|tx| tx.name_of_client(number));
                let mut groups = Vec::new();
                for group in &answer.groups {
                    let (named, client) = named(tx, self.by, group.number, &mut name)?;
                    groups.push(UsageGroup {
                        name: named,
                        client,
                        requests: group.sum.requests,
                        allowed: group.sum.allowed,
                        points: group.course.clone(),
                    });
                }
                self.shown(tx, world, whose, (question.span, answer, groups))
            })
        })
    }
}

/// Whose requests are queried.
struct Subject {
    client: Option<(u32, String)>,
    key: Option<Id>,
}

impl Subject {
    fn counted(&self, number: i64) -> Whose {
        match (&self.client, &self.key) {
            (Some((client, _)), Some(_)) => Whose::Key {
                client: i64::from(*client),
                // A key that was never used has no number; number 0 has no rows.
                key: number,
            },
            (Some((client, _)), None) => Whose::Client(i64::from(*client)),
            (None, _) => Whose::All,
        }
    }
}

impl Show {
    fn shown(
        &self,
        tx: &UsageTx<'_>,
        world: &World,
        whose: Subject,
        (span, answer, groups): (question::Span, question::Answer, Vec<UsageGroup>),
    ) -> Result<Usage> {
        let lost = tx.lost((span.from() / 3600, span.until() / 3600))?;
        let (n, others) = answer.others;
        let staff = world.caller.bound().is_none();
        let course = (span.first..).zip(&answer.course);
        let points = course.map(|(t, sum)| UsagePoint {
            at: Time(t * span.step.seconds()),
            requests: sum.requests,
            allowed: sum.allowed,
        });
        Ok(Usage {
            client: whose.client.map(|(_, name)| name),
            key: whose.key,
            from: Time(span.from()),
            until: Time(span.until()),
            step: span.step,
            requests: answer.sum.requests,
            allowed: answer.sum.allowed,
            refused: answer.sum.requests.saturating_sub(answer.sum.allowed),
            points: points.collect(),
            by: self.by,
            groups,
            others: (n > 0).then_some(UsageOthers {
                groups: n,
                requests: others.requests,
                allowed: others.allowed,
            }),
            counted_since: tx.began()?.map(Time),
            uncounted: staff.then_some(lost.dropped + lost.late),
        })
    }

    fn subject(&self, tx: &Tx<'_>, world: &World) -> Result<Subject> {
        let named = [self.of.is_some(), self.client.is_some(), self.key.is_some()];
        if named.iter().filter(|n| **n).count() > 1 {
            return Err(refuse(
                Code::FieldsConflict,
                "one client or one key is asked for at a time",
                "give one of `of`, `client` and `key`",
            ));
        }
        let of_client = |name: &str| -> Result<Subject> {
            let client = registry::client(tx, &world.caller, name)?;
            Ok(Subject {
                client: Some((client.number, client.name)),
                key: None,
            })
        };
        let of_key = |id: &Id| -> Result<Subject> {
            let key = key::find(tx, &world.caller, id.0)?;
            Ok(Subject {
                client: Some((key.client_number, key.client)),
                key: Some(id.clone()),
            })
        };
        if let Some(id) = &self.key {
            return of_key(id);
        }
        if let Some(of) = &self.of {
            // A client's name may look like a key's id; in that case the client is meant.
            return match (of_client(of), Id::read(of)) {
                (Err(e), Ok(id)) if e.kind() == Kind::NotFound => of_key(&id),
                (found, _) => found,
            };
        }
        match world.caller.narrowed(self.client.as_deref()) {
            Some(_) if self.client.is_some() => of_client(self.client.as_deref().unwrap_or("")),
            Some(own) => of_client(own),
            None => Ok(Subject {
                client: None,
                key: None,
            }),
        }
    }
}

/// The name of a group; for a key, also that of its client.
fn named(
    tx: &UsageTx<'_>,
    by: Option<By>,
    number: i64,
    client: impl FnOnce(i64) -> Result<Option<String>>,
) -> Result<(Option<String>, Option<String>)> {
    Ok(match by {
        None => (None, None),
        Some(By::Route) => (
            (number != 0)
                .then(|| tx.name_of(Dimension::Route, number))
                .transpose()?,
            None,
        ),
        Some(By::Outcome) => (Some(tx.name_of(Dimension::Outcome, number)?), None),
        Some(By::Client) => (client(number)?, None),
        Some(By::Key) => match tx.key_of(number)? {
            Some((id, of)) => (Some(id.to_string()), client(of)?),
            None => (None, None),
        },
    })
}

impl Operation for Anomalies {
    type Output = Found;
    const ROUTE: Route = Route::get(
        "usage.anomalies",
        "/v1/usage/anomalies",
        ANYBODY,
        "List anomalies in the use of keys",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Found> {
        let now = world.now.seconds();
        let ago = self.since.map(|t| t.0).unwrap_or(When::After(SINCE));
        let since = ago.ago(now);
        store.with_usage(|store, usage| {
            let client = store.read(|tx| {
                let asked = match world.caller.narrowed(self.client.as_deref()) {
                    _ if self.client.is_some() => self.client.as_deref(),
                    own => own,
                };
                let found = asked.map(|name| registry::client(tx, &world.caller, name));
                Ok(found.transpose()?.map(|c| i64::from(c.number)))
            })?;
            let found = usage.read(|tx| tx.anomalies(client, since, ANOMALIES))?;
            let named = |a: Anomaly, tx: &Tx<'_>| -> Result<AnomalyView> {
                Ok(AnomalyView {
                    at: Time(a.at),
                    rule: a.rule,
                    key: Id(a.key),
                    client: tx.name_of_client(a.client)?,
                    detail: serde_json::from_str(&a.detail).unwrap_or_default(),
                })
            };
            let anomalies = store.read(|tx| found.into_iter().map(|a| named(a, tx)).collect());
            Ok(Found {
                anomalies: anomalies?,
            })
        })
    }
}

impl Operation for Quota {
    type Output = Left;
    const ROUTE: Route = Route::get(
        "usage.quota",
        "/v1/keys/{id}/quota",
        ANYBODY,
        "Show what is left of a key's quota",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Left> {
        let mut left = left_of(&[self.id], store, world)?;
        Ok(left.pop().unwrap_or_default())
    }
}

/// What is left of the quotas of some keys, in their order.
///
/// # Errors
/// If a key does not exist, or usage cannot be read.
pub fn left_of(ids: &[Id], store: &mut Store, world: &World) -> Result<Vec<Left>> {
    let now = world.now.seconds();
    store.with_usage(|store, usage| {
        store.read(|tx| {
            // Read once for all keys: reading a policy takes longer than everything else here.
            let policy = policy(tx)?.raw;
            let quotas = quotas(&policy, now);
            let each = ids.iter().map(|id| {
                let key = key::find(tx, &world.caller, id.0)?;
                let plan = key.effective_plan().unwrap_or_default();
                let named = policy.plans.get(plan).and_then(|p| p.quota.as_ref());
                let (Some(quota), Some(named)) = (quotas.get(plan), named) else {
                    return Ok(Left::default());
                };
                let window = window(quota, now);
                let used = usage.read(|tx| tx.quota_taken(key.lineage, window))?;
                Ok(Left {
                    plan: Some(plan.to_owned()),
                    requests: Some(quota.requests),
                    per: Some(keystile_model::wire::word_of(&named.per)),
                    window: Some(Time(window)),
                    until: quota.window(now).map(|w| Time(w.end)),
                    used,
                    remaining: Some(quota.requests.saturating_sub(used)),
                })
            });
            each.collect()
        })
    })
}

impl Operation for ShowSettings {
    type Output = Settings;
    const ROUTE: Route = Route::get(
        "usage.settings",
        "/v1/usage/settings",
        STAFF,
        "Show how long usage is kept, and what counts as an anomaly",
    )
    .tagged();

    fn run(self, store: &mut Store, _: &World) -> Result<Settings> {
        store.with_usage(|_, usage| usage.read(Settings::read))
    }
}

impl Operation for Configure {
    type Output = Settings;
    const ROUTE: Route = Route::change(
        Method::Patch,
        "usage.configure",
        "/v1/usage/settings",
        OWNERS,
        "Change how long usage is kept, and what counts as an anomaly",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<Settings> {
        world.caller.owner("change the settings of usage")?;
        store.with_made_usage(|store, usage| {
            let before = usage.read(Settings::read)?;
            let after = self.applied(before.clone());
            after.check()?;
            if after == before {
                return Ok(after);
            }
            let shown = |s: &Settings| json!({ "settings": s });
            store.write(world, |tx| {
                tx.audit(
                    world,
                    "usage.configure",
                    "usage",
                    Some(&shown(&before)),
                    Some(&shown(&after)),
                )?;
                // Inside the transaction, so that a setting that cannot be stored leaves no record.
                let json = serde_json::to_string(&after).unwrap_or_default();
                usage.write(|tx| tx.set_usage_settings(&json))
            })?;
            Ok(after)
        })
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        super::shown(ShowSettings {}, store, world)
    }
}

impl Configure {
    fn applied(self, to: Settings) -> Settings {
        Settings {
            minutes: self.minutes.unwrap_or(to.minutes),
            hours: self.hours.unwrap_or(to.hours),
            days: self.days.unwrap_or(to.days),
            spike_factor: self.spike_factor.unwrap_or(to.spike_factor),
            spike_minimum: self.spike_minimum.unwrap_or(to.spike_minimum),
            network_learning: self.network_learning.unwrap_or(to.network_learning),
            scope_denials: self.scope_denials.unwrap_or(to.scope_denials),
            rotation_notice: self.rotation_notice.unwrap_or(to.rotation_notice),
            revoked_tries: self.revoked_tries.unwrap_or(to.revoked_tries),
        }
    }
}

impl Operation for Forget {
    type Output = Forgotten;
    const ROUTE: Route = Route::change(
        Method::Post,
        "usage.forget",
        "/v1/usage/forget",
        OWNERS,
        "Forget the addresses and user agents that used keys",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Forgotten> {
        world.caller.owner("forget where keys were used from")?;
        store.with_made_usage(|store, usage| {
            store.write(world, |tx| {
                tx.audit(world, "usage.forget", "usage", None, None)?;
                usage.write(|tx| tx.forget_places())
            })
        })?;
        Ok(Forgotten {})
    }
}
