//! Which key a request carries: the entry of the keyset that its text names.

use super::decision::Decision;
use super::denial::{Denial, Unavailable};
use super::prior::Prior;
use super::trace::Trace;
use super::words::name_of;
use crate::key::{Digest, Malformed, Parsed, Prefix, safe_display};
use crate::keyset::{Entry, InForce, Lookup};
use crate::policy::Auth;
use crate::request::credential;
use crate::request::glance::Glance;
use crate::request::headers::Headers;

/// The entry of the key that a request presents, or that an earlier pass has taken out of it;
/// nothing where there is none and the route does not insist.
pub(super) fn presented<'k>(
    keyset: &'k InForce,
    (auth, alone): (Auth, Option<&[u8]>),
    headers: Headers<'_>,
    prior: impl FnOnce() -> Option<Prior>,
    trace: &mut impl Trace,
    decision: &mut Decision<'k>,
) -> Result<Option<Entry<'k>>, Denial> {
    let policy = keyset.policy();
    let presented = credential::presented(policy, decision.glance, alone, headers);
    if presented.several {
        trace.note("credential", false, || "several different keys".to_owned());
        return Err(Denial::MultipleKeys);
    }
    let prior = if presented.key.is_none() || policy.keys_stay() {
        prior()
    } else {
        None
    };
    decision.again = matches!(prior, Some(Prior::Admitted(_)));
    let entry = match (&presented.key, prior) {
        (_, Some(Prior::Refused(denial))) => {
            trace.note("credential", false, || {
                "already refused by an earlier check of this request".to_owned()
            });
            return Err(denial);
        }
        (_, Some(Prior::Admitted(prefix) | Prior::Presented(prefix))) => {
            let entry = known(keyset, &prefix, decision, trace)?;
            trace.note("credential", entry.is_some(), || {
                "already found by an earlier check of this request".to_owned()
            });
            entry.ok_or(Denial::UnknownKey)?
        }
        (Some(text), None) => identify(keyset, text, decision, trace)?,
        (None, None) if auth == Auth::Optional => {
            trace.note("credential", true, || {
                "none, and the route does not require one".to_owned()
            });
            return Ok(None);
        }
        (None, None) => {
            trace.note("credential", false, || {
                "none in any place that the policy lists".to_owned()
            });
            return Err(Denial::MissingKey);
        }
    };
    Ok(Some(entry))
}

/// Whether a text in a place where keys are sent could be a key of ours: one of its words has our
/// brand, or it has our checksum, or it was imported. Anything else is another party's credential.
pub fn could_be_ours(keyset: &InForce, text: &[u8]) -> bool {
    let branded = credential::names_a_key(keyset.policy().brand.as_str(), text);
    let imported = || {
        keyset.foreign()
            && (1..=crate::key::MAX_KEY_BYTES).contains(&text.len())
            && match keyset.lookup(&Digest::of_foreign(text).prefix()) {
                Lookup::Found(entry) => entry.foreign,
                Lookup::Unknown => false,
                // Unknown, so assume that it is ours.
                Lookup::Corrupt => true,
            }
    };
    branded || Parsed::parse(text).is_ok() || imported()
}

/// What to remember about keys that are removed from a request without being judged.
pub(super) fn unjudged(keyset: &InForce, glance: Glance, headers: Headers<'_>) -> Option<Prior> {
    let policy = keyset.policy();
    if policy.keys_stay() || !glance.has_places() {
        return None;
    }
    let ours = |text: &[u8]| could_be_ours(keyset, text);
    let presented = credential::find_ours(glance.places(policy), headers, &ours);
    let text = presented.key?;
    if presented.several {
        return Some(Prior::Refused(Denial::MultipleKeys));
    }
    let mut found = Decision::default();
    match identify(keyset, &text, &mut found, &mut ()) {
        Ok(_) => found.prefix.map(Prior::Presented),
        Err(denial) => Some(Prior::Refused(denial)),
    }
}

pub(super) fn identify<'k>(
    keyset: &'k InForce,
    text: &[u8],
    decision: &mut Decision<'k>,
    trace: &mut impl Trace,
) -> Result<Entry<'k>, Denial> {
    let refuse = |trace: &mut _, denial: Denial, why: &str| {
        Trace::note(trace, "key", false, || {
            format!("{}: {why}", safe_display(text))
        });
        Err(denial)
    };
    let parsed = Parsed::parse(text);
    let entry = match &parsed {
        Ok(key) => {
            decision.claimed = Some(key.id());
            known(keyset, &key.digest().prefix(), decision, trace)?.filter(|e| !e.foreign)
        }
        Err(_) => None,
    };
    let entry = match (entry, &parsed) {
        // The whole text must match what was issued, including brand and environment.
        (Some(entry), Ok(key)) => {
            let issued = key.brand == keyset.policy().brand.as_str()
                && key.environment
                    == name_of(keyset.environments(), usize::from(entry.environment));
            if issued { Some(entry) } else { None }
        }
        _ if keyset.foreign() && (1..=crate::key::MAX_KEY_BYTES).contains(&text.len()) => {
            known(keyset, &Digest::of_foreign(text).prefix(), decision, trace)?
                .filter(|e| e.foreign)
        }
        _ => None,
    };
    match (entry, parsed) {
        (Some(entry), _) => {
            decision.claimed = None;
            trace.note("key", true, || {
                format!("{} of client `{}`", entry.id, entry.client)
            });
            Ok(entry)
        }
        (None, Err(why @ Malformed::Length)) => {
            refuse(trace, Denial::MalformedKey(why), "too long for a key")
        }
        (None, Err(why @ Malformed::Checksum)) => refuse(
            trace,
            Denial::MalformedKey(why),
            "the checksum is wrong: mistyped or incomplete",
        ),
        (None, Err(why @ Malformed::Shape)) if !keyset.foreign() => refuse(
            trace,
            Denial::MalformedKey(why),
            "not in the format of a key",
        ),
        (None, _) => refuse(trace, Denial::UnknownKey, "no such key"),
    }
}

#[inline]
pub(super) fn known<'k>(
    keyset: &'k InForce,
    prefix: &Prefix,
    decision: &mut Decision<'k>,
    trace: &mut impl Trace,
) -> Result<Option<Entry<'k>>, Denial> {
    match keyset.lookup(prefix) {
        Lookup::Found(entry) => {
            decision.prefix = Some(*prefix);
            Ok(Some(entry))
        }
        Lookup::Unknown => Ok(None),
        Lookup::Corrupt => {
            trace.note("keyset", false, || {
                "the page where the key would be is not the one that was signed".to_owned()
            });
            Err(Denial::KeysetUnavailable(Unavailable::CorruptPage))
        }
    }
}
