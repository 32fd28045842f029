//! How long keys may live. For the companion, which issues them; the filter gets only the result,
//! the expiry of each key.

use std::collections::BTreeMap;

use super::check::{Errors, longest};
use super::raw::RawLifetimes;

/// The longest lifetimes, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of every key.
    any: Option<u64>,
    secret: Option<u64>,
    publishable: Option<u64>,
    environments: BTreeMap<String, u64>,
}

impl Lifetimes {
    pub(super) fn new(raw: &RawLifetimes, e: &mut Errors) -> Self {
        let environments = raw.environments.iter().filter_map(|(name, text)| {
            let field = format!("max_lifetime.environments.{name}");
            Some((name.clone(), longest(&field, Some(text), e)?))
        });
        let environments = environments.collect();
        Self {
            environments,
            any: longest("max_lifetime.any", raw.any.as_ref(), e),
            secret: longest("max_lifetime.secret", raw.secret.as_ref(), e),
            publishable: longest("max_lifetime.publishable", raw.publishable.as_ref(), e),
        }
    }

    /// The shortest of those that apply to such a key.
    pub(super) fn shortest(&self, environment: &str, is_publishable: bool) -> Option<u64> {
        let of_type = match is_publishable {
            true => self.publishable,
            false => self.secret,
        };
        let own = self.environments.get(environment).copied();
        [self.any, of_type, own].into_iter().flatten().min()
    }
}
