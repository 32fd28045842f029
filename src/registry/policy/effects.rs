//! The effects of a policy on existing keys.

use std::collections::BTreeMap;

use keystile_core::key::Name;
use keystile_core::policy::Policy;

use crate::key::{count, latest_end};
use keystile_model::error::{Code, Fault, Result, refuse};
use keystile_model::record::Key;
use keystile_store::Tx;

/// Counted key by key.
#[derive(Default)]
pub(super) struct Found {
    /// Keys on plans that it does not have.
    lost: BTreeMap<String, usize>,
    /// Valid keys that were issued here.
    ours: usize,
    /// Valid keys with scopes that no route asks for.
    unknown: BTreeMap<String, usize>,
    narrowed: usize,
    short: usize,
    elsewhere: usize,
    endless: usize,
    outlive: usize,
}

impl Found {
    pub(super) fn look(&mut self, policy: &Policy, key: &Key) {
        // Revoked keys too: they are in the keyset until they would have expired.
        if let Some(plan) = key.effective_plan()
            && !policy.plans.contains_key(plan)
        {
            *self.lost.entry(plan.to_owned()).or_default() += 1;
        }
        if key.revoked.is_some() {
            return;
        }
        let rules = &key.rules;
        self.ours += usize::from(!key.imported);
        for scope in &rules.scopes {
            if policy.scope_number(scope).is_none() {
                *self.unknown.entry(scope.clone()).or_default() += 1;
            }
        }
        let mut held = rules.scopes.iter();
        let loses = rules.publishable && held.any(|s| !policy.publishable_scopes.contains(s));
        self.narrowed += usize::from(loses);
        let cost = policy.greatest_cost();
        self.short += usize::from(rules.limits.iter().any(|l| l.burst < cost));
        self.elsewhere += usize::from(!policy.environments.contains(&rules.environment));
        let plan = key.client_plan.as_deref();
        if let Some(latest) = latest_end(policy, rules, plan, key.created) {
            self.endless += usize::from(rules.expires.is_none());
            self.outlive += usize::from(rules.expires.is_some_and(|end| end > latest));
        }
    }

    pub(super) fn refusals(
        &self,
        tx: &Tx<'_>,
        policy: &Policy,
        brand: &Name,
    ) -> Result<Vec<Fault>> {
        let mut refusals = Vec::new();
        if self.ours > 0 && *brand != policy.brand {
            let fact = format!(
                "brand `{}` would turn away {} that begin with `{brand}_`",
                policy.brand,
                count(self.ours)
            );
            let next = format_args!("keep `brand: {brand}`");
            let gone = refuse(Code::PolicyBreaksKeys, fact, next).about("brand");
            refusals.extend(gone.into_faults());
        }
        let mut lost: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (plan, keys) in &self.lost {
            lost.entry(plan).or_default().0 = *keys;
        }
        let on_plans = tx.clients_on_plans(None)?;
        for (plan, clients) in &on_plans {
            if !policy.plans.contains_key(plan) {
                lost.entry(plan).or_default().1 = usize::try_from(*clients).unwrap_or(usize::MAX);
            }
        }
        for (plan, (keys, clients)) in lost {
            let plural = if clients == 1 { "" } else { "s" };
            let fact = format!(
                "plan `{plan}` is gone, but {} and {clients} client{plural} are on it",
                count(keys)
            );
            let next = format_args!("move them to another plan first, or keep `{plan}`");
            let gone = refuse(Code::PolicyBreaksKeys, fact, next).about("plans");
            refusals.extend(gone.into_faults());
        }
        Ok(refusals)
    }

    pub(super) fn warnings(&self, policy: &Policy) -> Vec<String> {
        let mut warnings = Vec::new();
        for (scope, n) in &self.unknown {
            warnings.push(format!(
                "no route asks for scope `{scope}` any more, held by {}",
                count(*n)
            ));
        }
        if self.narrowed > 0 {
            warnings.push(format!(
                "{} that are publishable lose scopes that `publishable.scopes` does not list",
                count(self.narrowed)
            ));
        }
        if self.short > 0 {
            warnings.push(format!(
                "{} with limits of their own can never call the route that costs {}: their burst is smaller",
                count(self.short),
                policy.greatest_cost()
            ));
        }
        if self.elsewhere > 0 {
            warnings.push(format!(
                "{} of other environments will be refused: see `environments`",
                count(self.elsewhere)
            ));
        }
        if self.endless > 0 {
            warnings.push(format!(
                "{} without an expiry: never expire in spite of `max_lifetime`, until rotated",
                count(self.endless)
            ));
        }
        if self.outlive > 0 {
            warnings.push(format!(
                "{} with a later expiry than `max_lifetime` allows: kept until changed",
                count(self.outlive)
            ));
        }
        warnings
    }
}
