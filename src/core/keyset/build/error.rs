//! Why a keyset cannot be built.

use core::fmt;

use crate::key::KeyId;
use crate::policy::PolicyError;

/// Why a keyset cannot be built from the content. Each surface adds the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The policy has mistakes.
    Policy(Vec<PolicyError>),
    /// A key's plan is not in the policy.
    UnknownPlan {
        /// The key.
        key: KeyId,
        /// The plan that it asks for.
        plan: String,
    },
    /// The clocks of a plan's time zone are not known.
    UnknownZone {
        /// The plan.
        plan: String,
        /// The time zone of its quota.
        zone: String,
    },
    /// Two keys have the same digest.
    SameDigest(KeyId, KeyId),
    /// A key's rules take more than 65,535 bytes.
    TooManyRules(KeyId),
    /// More than four gigabytes, or more environments than one byte counts.
    TooLarge,
    /// A changed key refers to something that the base's tables lack, so a new base is needed.
    NeedsBase {
        /// The key.
        key: KeyId,
        /// What is missing: scope, environment or plan, and its name.
        lacks: String,
    },
    /// The base is of another store, has another policy or a later version.
    OtherBase(&'static str),
    /// Not a base: an overlay, or something else.
    NotABase,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(errors) => {
                for (i, e) in errors.iter().enumerate() {
                    write!(f, "{}{e}", if i == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::UnknownPlan { key, plan } => write!(
                f,
                "key {key} is on plan `{plan}`, which the policy does not have"
            ),
            Self::UnknownZone { plan, zone } => write!(
                f,
                "the quota of plan `{plan}` follows time zone `{zone}`, which is not known"
            ),
            Self::SameDigest(a, b) => write!(f, "keys {a} and {b} have the same digest"),
            Self::TooManyRules(id) => write!(
                f,
                "key {id} has more address ranges, origins and certificates than fit"
            ),
            Self::TooLarge => f.write_str("the keyset is larger than its format allows"),
            Self::NeedsBase { key, lacks } => {
                write!(f, "key {key} needs {lacks}, which the base does not have")
            }
            Self::OtherBase(what) => {
                write!(f, "the base has another {what} than the changes")
            }
            Self::NotABase => f.write_str("an overlay needs a keyset as its base"),
        }
    }
}

impl std::error::Error for BuildError {}
