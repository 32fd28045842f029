//! What the policies of a session say. Their rights replace those of the session, as in Tyk.

use std::collections::BTreeSet;

use super::World;
use super::grant::{PartsInForce, TykGrant, grant, says};
use super::tables::PARTS;
use crate::fields::Object;
use crate::found::Found;
use crate::printable;
use keystile_model::error::Result;

/// The parts of a policy that are in force.
struct Parts {
    counts: PartsInForce,
    /// It is split into parts, or by API: Tyk joins no policies of both kinds.
    split: bool,
    by_api: bool,
    closed: Option<String>,
}

/// What all policies of a session say together.
#[derive(Default)]
struct Together {
    /// Whether one of them says which APIs may be called.
    gives: bool,
    rights: BTreeSet<String>,
    split: bool,
    by_api: bool,
}

impl<'n> World<'n> {
    /// Adds what the policies of a session say.
    pub(super) fn apply_all(
        &self,
        session: &Object<'n>,
        grant: &mut TykGrant,
        found: &mut Found,
    ) -> Result<()> {
        let mut policies = session.words("apply_policies")?;
        let one = session.text("apply_policy_id")?.filter(|p| !p.is_empty());
        if policies.is_empty() {
            policies.extend(one);
        }
        let mut all = Together::default();
        for id in &policies {
            let Some(same) = self.policies.get(id) else {
                grant.out = Some(format!(
                    "its policy `{}` is not in the export",
                    printable(id, 80)
                ));
                continue;
            };
            // Of one that stands twice, only what both say is given.
            let mut rights: Option<BTreeSet<String>> = None;
            for policy in same {
                let theirs = self.apply(policy, session, grant, &mut all, found)?;
                rights = Some(match rights {
                    Some(before) => before.intersection(&theirs).cloned().collect(),
                    None => theirs,
                });
            }
            all.rights.extend(rights.unwrap_or_default());
        }
        if all.split && all.by_api {
            let problem = "its policies are split by part and by API, which Tyk refuses";
            grant.out.get_or_insert_with(|| problem.to_owned());
        }
        if all.gives {
            grant.scopes = all.rights.into_iter().collect();
        } else if !policies.is_empty() && grant.out.is_none() {
            found.note(
                &session.place,
                "none of its policies gives rights, so its own count; most versions of Tyk refuse such a key",
            );
        }
        Ok(())
    }

    /// Adds the limits and the state of a policy; gives its rights.
    fn apply(
        &self,
        policy: &Object<'n>,
        session: &Object<'n>,
        into: &mut TykGrant,
        all: &mut Together,
        found: &mut Found,
    ) -> Result<BTreeSet<String>> {
        let parts = parts(policy, found)?;
        let theirs = grant(policy, parts.counts, found)?;
        let state = policy.text("state")?;
        let off = says(policy, "active", false)?
            || says(policy, "is_inactive", true)?
            || state.is_some_and(|s| !s.is_empty() && s != "active");
        into.off |= off || theirs.off;
        into.limits.join(theirs.limits);
        into.out = into.out.take().or(theirs.out).or(parts.closed);
        if policy.number("key_expires_in")?.is_some_and(|n| n > 0) {
            into.expires = true;
        }
        let org = |object: &Object<'n>| -> Result<Option<&'n str>> {
            Ok(object.text("org_id")?.filter(|org| !org.is_empty()))
        };
        if let (Some(one), Some(other)) = (org(policy)?, org(session)?)
            && one != other
        {
            into.out = Some("its policy belongs to another organisation".to_owned());
        }
        all.split |= parts.split;
        all.by_api |= parts.by_api;
        if !parts.counts.rights {
            return Ok(BTreeSet::new());
        }
        all.gives |= theirs.gives;
        Ok(theirs.scopes.into_iter().collect())
    }
}

fn parts(policy: &Object<'_>, found: &mut Found) -> Result<Parts> {
    let mut out = Parts {
        counts: PartsInForce::ALL,
        split: false,
        by_api: false,
        closed: None,
    };
    let Some(node) = policy.get("partitions") else {
        return Ok(out);
    };
    let object = Object::open(node, &PARTS, policy.place.as_str(), found)?;
    let flag = |name: &str| -> Result<bool> { Ok(object.flag(name)? == Some(true)) };
    let (quota, rate, rights) = (flag("quota")?, flag("rate_limit")?, flag("acl")?);
    out.split = quota || rate || rights || flag("complexity")?;
    out.by_api = flag("per_api")?;
    out.closed = object.closed();
    if out.split {
        out.counts = PartsInForce {
            rights,
            rate,
            quota,
        };
    }
    Ok(out)
}
