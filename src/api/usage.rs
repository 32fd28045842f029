//! Usage: the requests that Envoys counted, anomalies, what is left of quotas, and how long all of
//! it is kept.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ANYBODY, Endpoint, Operation};
use keystile_model::error::{Code, Kind, Result, refuse};
use keystile_model::wire::{Id, Time, TimeWords};
use keystile_model::world::World;
use keystile_registry as registry;
use keystile_registry::key;
use keystile_registry::usage::question::{self, Breakdown, UsageQuestion};
use keystile_registry::usage::{Step, UsageSettings};
use keystile_store::{Dimension, OnlyThese, Store, Tx, UsageTx, Whose};

mod anomalies;
mod left;
mod settings;

pub use anomalies::{Anomalies, AnomalyView, AnomalyViews};
pub use left::{QuotaLeft, ShowQuota, left_of};
pub use settings::{Configure, Forget, ForgottenUse, ShowSettings};

/// Groups in one answer: the default.
const GROUPS: u32 = 20;
const MOST_GROUPS: u32 = 200;
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
    /// Only requests that matched this route.
    #[serde(default)]
    pub route: Option<String>,
    /// Only requests with this outcome: `ok`, or the code of the refusal.
    #[serde(default)]
    pub outcome: Option<String>,
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
    pub by: Option<Breakdown>,
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
    pub by: Option<Breakdown>,
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

impl Operation for Show {
    type Output = Usage;
    const ENDPOINT: Endpoint = Endpoint::get(
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
                "ask for fewer; the others are added up",
            )
            .field("limit"));
        }
        let ago = |t: &Option<TimeWords>| t.as_ref().map(|t| t.0.ago(now));
        let since = ago(&self.since).unwrap_or(now.saturating_sub(SINCE));
        let until = ago(&self.until);
        let mut step = self.step;
        store.with_usage(|store, usage| {
            let whose = store.read(|tx| self.subject(tx, world))?;
            if self.by == Some(Breakdown::Key) && whose.client.is_none() {
                // There may be a million groups in each hour.
                step = match step {
                    None | Some(Step::Day) => Some(Step::Day),
                    Some(_) => {
                        return Err(refuse(
                            Code::FieldsConflict,
                            "the keys of all clients are counted separately only by day",
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
                let settings = UsageSettings::read(tx)?;
                let question = UsageQuestion {
                    whose: whose.counted(number),
                    only: self.only(tx)?,
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
    /// What is counted of somebody's requests.
    fn only(&self, tx: &UsageTx<'_>) -> Result<OnlyThese> {
        let number = |by, name: &Option<String>| -> Result<Option<i64>> {
            let Some(name) = name else { return Ok(None) };
            let known = tx.number_of(by, name)?;
            Ok(Some(known.unwrap_or(OnlyThese::NEVER)))
        };
        Ok(OnlyThese {
            route: number(Dimension::Route, &self.route)?,
            outcome: number(Dimension::Outcome, &self.outcome)?,
        })
    }

    fn shown(
        &self,
        tx: &UsageTx<'_>,
        world: &World,
        whose: Subject,
        (span, answer, groups): (question::Span, question::UsageAnswer, Vec<UsageGroup>),
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
                "only one client or key can be asked for at a time",
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
    by: Option<Breakdown>,
    number: i64,
    client: impl FnOnce(i64) -> Result<Option<String>>,
) -> Result<(Option<String>, Option<String>)> {
    Ok(match by {
        None => (None, None),
        Some(Breakdown::Route) => (
            (number != 0)
                .then(|| tx.name_of(Dimension::Route, number))
                .transpose()?,
            None,
        ),
        Some(Breakdown::Outcome) => (Some(tx.name_of(Dimension::Outcome, number)?), None),
        Some(Breakdown::Client) => (client(number)?, None),
        Some(Breakdown::Key) => match tx.key_of(number)? {
            Some((id, of)) => (Some(id.to_string()), client(of)?),
            None => (None, None),
        },
    })
}
