//! The rules of a new key.

use keystile_core::policy::Policy;

use keystile_model::error::{Code, Result, refuse};
use keystile_model::key::{KeyDraft, Rules};
use keystile_model::rules;

/// The rules that a draft makes, checked against a policy. `admit` is asked first, so that a
/// refusal reveals to a bound caller no plan or scope that is not its own.
pub fn checked(
    mut draft: KeyDraft,
    policy: &Policy,
    now: u64,
    admit: impl FnOnce(&Rules) -> Result<()>,
) -> Result<Rules> {
    let environment = match (draft.environment.take(), policy.environments.first()) {
        (Some(e), _) => e,
        (None, Some(first)) => first.clone(),
        (None, None) => {
            return Err(refuse(
                Code::NoEnvironment,
                "the policy accepts no environment",
                "list one in `environments`",
            )
            .about("environment"));
        }
    };
    let any_scope = draft.any_scope;
    let rules = draft.rules(environment);
    admit(&rules)?;
    rules::check(&rules, policy, now, any_scope)?;
    rules.check_words(None)?;
    Ok(rules)
}
