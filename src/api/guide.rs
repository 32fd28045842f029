//! What callers of the API behind Envoy need to know, derived from the policy.

use keystile_core::decide::Denial;
use keystile_core::policy::{Auth, RawCredential, RawLimit, RawRoute};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ANYBODY, Endpoint, Operation};
use keystile_model::error::Result;
use keystile_model::record::limit_words;
use keystile_model::rules;
use keystile_model::world::World;
use keystile_registry as registry;
use keystile_store::Store;

/// Shows what callers need to know: how to send a key, what each route requires, and which errors
/// there are.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GuideShow)]
pub struct Show {}

/// What callers need to know.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Guide {
    /// Name of the API, as in `WWW-Authenticate`.
    pub realm: String,
    /// The prefix of keys.
    pub prefix: String,
    /// Environments whose keys are accepted.
    pub environments: Vec<String>,
    /// Whether plain HTTP is refused.
    pub require_tls: bool,
    /// Where a key may be sent, in order of preference.
    pub credentials: Vec<KeyPlace>,
    /// Routes, as the policy has them.
    pub routes: Vec<Asks>,
    /// Whether a request that no route matches is refused; otherwise any key is let in.
    pub unmatched_denied: bool,
    /// Plans; for a client, its own and those that its token may grant.
    pub plans: Vec<Allowance>,
    /// The possible refusals.
    pub errors: Vec<GuideRefusal>,
}

/// Where a key may be sent.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Place)]
pub struct KeyPlace {
    /// `header`, `query` or `cookie`.
    pub place: String,
    /// Name of the header, the parameter or the cookie.
    pub name: String,
    /// The scheme before the key: `Bearer`.
    pub scheme: Option<String>,
}

/// What a route requires.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Asks {
    /// The template.
    pub path: String,
    /// Methods; all if empty.
    pub methods: Vec<String>,
    /// Hosts; all if empty.
    pub hosts: Vec<String>,
    /// `required`, `optional` or `none`.
    pub auth: String,
    /// All of these are required.
    pub scopes: Vec<String>,
    /// One of these is required.
    pub any_scope: Vec<String>,
    /// How many tokens a request takes from each limit.
    pub cost: u64,
    /// Its own limit, in addition to the plan's.
    pub limit: Option<String>,
}

/// What a plan allows.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Allowance {
    /// The plan.
    pub plan: String,
    /// Its limits.
    pub limits: Vec<String>,
    /// Its quota, in words.
    pub quota: Option<String>,
}

/// A possible refusal.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = GuideRefusal)]
pub struct GuideRefusal {
    /// HTTP status.
    pub status: u16,
    /// `code` of the body.
    pub code: String,
    /// `detail` of the body.
    pub detail: String,
}

impl Operation for Show {
    type Output = Guide;
    const ENDPOINT: Endpoint = Endpoint::get(
        "guide.show",
        "/v1/guide",
        ANYBODY,
        "Show what callers of the guarded API need to know",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Guide> {
        let (file, own) = store.read(|tx| {
            let own = match world.caller.narrowed(None) {
                Some(name) => tx.client(name)?.and_then(|c| c.plan),
                None => None,
            };
            Ok((registry::policy(tx)?, own))
        })?;
        let told = |plan: &String| match world.caller.bound() {
            None => true,
            Some(ceilings) => own.as_ref() == Some(plan) || ceilings.plans.contains(plan),
        };
        let (raw, policy) = (file.raw, file.policy);
        Ok(Guide {
            realm: raw.realm,
            prefix: format!("{}_", raw.brand),
            environments: raw.environments,
            require_tls: raw.require_tls,
            credentials: raw
                .credentials
                .into_iter()
                .map(KeyPlace::from_credential)
                .collect(),
            routes: raw.routes.into_iter().map(Asks::from_route).collect(),
            unmatched_denied: raw.unmatched == keystile_core::policy::Unmatched::Deny,
            plans: policy
                .plans
                .iter()
                .filter(|(name, _)| told(name))
                .map(|(name, plan)| Allowance {
                    plan: name.clone(),
                    limits: limit_words(&plan.limits),
                    quota: plan.quota.as_ref().map(|q| {
                        format!("{} a {}", q.requests, keystile_model::wire::word_of(&q.per))
                    }),
                })
                .collect(),
            errors: Denial::CODES
                .iter()
                .map(GuideRefusal::from_denial)
                .collect(),
        })
    }
}

impl KeyPlace {
    fn from_credential(c: RawCredential) -> Self {
        let (place, name) = match (c.header, c.query, c.cookie) {
            (Some(name), _, _) => ("header", name),
            (_, Some(name), _) => ("query", name),
            (_, _, name) => ("cookie", name.unwrap_or_default()),
        };
        Self {
            place: place.to_owned(),
            name,
            scheme: c.scheme,
        }
    }
}

impl Asks {
    fn from_route(r: RawRoute) -> Self {
        let limit = |l: &RawLimit| rules::limit_word(l);
        Self {
            path: r.path,
            methods: r.methods,
            hosts: r.hosts,
            auth: match r.auth {
                Auth::Required => "required",
                Auth::Optional => "optional",
                Auth::None => "none",
            }
            .to_owned(),
            scopes: r.scopes,
            any_scope: r.any_scope,
            cost: r.cost.unwrap_or(1),
            limit: r.limit.as_ref().map(limit),
        }
    }
}

impl GuideRefusal {
    fn from_denial(denial: &Denial) -> Self {
        let answer = denial.answer();
        Self {
            status: answer.status,
            code: answer.code.to_owned(),
            detail: answer.detail.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_registry::bench::{Bench, NOON};
    use keystile_system as system;

    #[test]
    fn every_code_of_the_filter_is_told_with_its_status_and_what_to_do() {
        let mut b = Bench::new();
        let guide = Show {}.run(&mut b.store, &system::at(NOON)).unwrap();
        for denial in Denial::CODES {
            let answer = denial.answer();
            let told = guide.errors.iter().find(|e| e.code == answer.code);
            let told = told.unwrap_or_else(|| panic!("`{}` is missing", answer.code));
            assert_eq!(
                (told.status, told.detail.as_str()),
                (answer.status, answer.detail)
            );
        }
    }
}
