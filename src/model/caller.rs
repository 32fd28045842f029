//! Callers, and what they may do.
//!
//! Which role may use which operation is a table of the API. The rules here apply to every
//! operation: a token that is bound to a client sees only the keys of that client, and issues none
//! beyond its ceilings.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use keystile_core::key::KeyId;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result, named, refuse};
use crate::key::Rules;
use crate::record;
use crate::when;

/// The role of a token; each may do what those before it may, except that `client` is bound to its
/// client.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Manages the keys of one client, within ceilings
    Client,
    /// Reads everything
    Auditor,
    /// Manages clients and keys
    Issuer,
    /// Everything
    Owner,
}

impl Role {
    /// All roles, lowest first.
    pub const ALL: [Self; 4] = [Self::Client, Self::Auditor, Self::Issuer, Self::Owner];

    /// The outcome, state or kind as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Auditor => "auditor",
            Self::Issuer => "issuer",
            Self::Owner => "owner",
        }
    }

    /// The role with this name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who can read the store and its master key on this machine. May do everything.
    Local,
    /// The holder of a token.
    Token(Grant),
}

/// What a valid token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Public id of the token.
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The client that it is bound to; only for the role `client`.
    pub client: Option<String>,
    /// What its keys may be; only for the role `client`.
    pub ceilings: Ceilings,
    /// Address ranges from which it may be used; any if empty.
    pub networks: Vec<IpNet>,
    /// Seconds; to the minute.
    pub last_used: Option<u64>,
}

impl Grant {
    /// For an unknown caller: sees nothing and may do nothing.
    pub fn nothing() -> Self {
        let Ok(id) = KeyId::random(|digits: &mut [u8]| {
            digits.fill(0);
            Ok::<(), Infallible>(())
        });
        Self {
            id,
            name: String::new(),
            role: Role::Client,
            client: None,
            ceilings: Ceilings::default(),
            networks: Vec::new(),
            last_used: None,
        }
    }

    /// Whether it may be used from an address.
    pub fn admits(&self, address: IpAddr) -> bool {
        let mut networks = self.networks.iter().copied().map(record::network);
        self.networks.is_empty() || networks.any(|n| n.allows(address))
    }
}

/// The limits for keys that a client issues for itself. The default admits keys without scopes and
/// without plans of their own, in any number and for any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// The scopes that they may hold.
    pub scopes: Vec<String>,
    /// The plans that they may have, including the client's for keys without a plan of their own.
    /// If empty: only the client's.
    pub plans: Vec<String>,
    /// The longest lifetime, in seconds from now.
    pub max_expiry: Option<u64>,
    /// How many may be valid at once.
    pub max_keys: Option<u32>,
}

impl Caller {
    /// The ceilings of a caller that is bound to a client.
    pub fn bound(&self) -> Option<&Ceilings> {
        match self {
            Self::Token(g) if g.role == Role::Client => Some(&g.ceilings),
            Self::Local | Self::Token(_) => None,
        }
    }

    /// The role of its token; for local callers, owner.
    pub fn role(&self) -> Role {
        match self {
            Self::Local => Role::Owner,
            Self::Token(g) => g.role,
        }
    }

    /// Identifies the caller: `local`, or the id of the token.
    pub fn mark(&self) -> String {
        match self {
            Self::Local => "local".to_owned(),
            Self::Token(g) => g.id.to_string(),
        }
    }

    /// The same as a number.
    pub fn number(&self) -> u64 {
        match self {
            Self::Local => u64::MAX,
            Self::Token(g) => g.id.as_u64(),
        }
    }

    /// Whether it may see a client.
    pub fn sees(&self, client: &str) -> bool {
        match self {
            Self::Token(g) if g.role == Role::Client => g.client.as_deref() == Some(client),
            Self::Local | Self::Token(_) => true,
        }
    }

    /// The client that a listing is restricted to: its own, or the requested one.
    pub fn narrowed<'a>(&'a self, asked: Option<&'a str>) -> Option<&'a str> {
        match self {
            // Without a client: a name that no client can have.
            Self::Token(g) if g.role == Role::Client => Some(g.client.as_deref().unwrap_or("")),
            Self::Local | Self::Token(_) => asked,
        }
    }

    /// Checks that it is not bound to a client, for operations that concern more than one.
    ///
    /// # Errors
    /// If it is bound; `what` (such as `change clients`) names the purpose.
    pub fn unbound(&self, what: &str) -> Result<()> {
        match self.bound() {
            None => Ok(()),
            Some(_) => Err(forbidden(format_args!(
                "a token of the role `client` may not {what}"
            ))),
        }
    }

    /// Checks that it is an owner.
    ///
    /// # Errors
    /// If it is not an owner.
    pub fn owner(&self, what: &str) -> Result<()> {
        match self.role() {
            Role::Owner => Ok(()),
            role => Err(forbidden(format_args!(
                "a token of the role `{role}` may not {what}"
            ))),
        }
    }
}

impl Ceilings {
    /// Checks that a new key of a client with that plan is within the ceilings.
    ///
    /// # Errors
    /// The first ceiling that it exceeds.
    pub fn admit(&self, rules: &Rules, client_plan: Option<&str>, now: u64) -> Result<()> {
        if let Some(scope) = rules.scopes.iter().find(|s| !self.scopes.contains(s)) {
            return Err(exceeded(
                format_args!("this token may not give a key scope `{scope}`"),
                "scopes",
                &self.scopes,
            )
            .about("scopes"));
        }
        self.admit_plan(rules.plan.as_deref(), client_plan)?;
        if !rules.limits.is_empty() {
            return Err(
                forbidden("this token may not give a key limits of its own").about("limits")
            );
        }
        self.admit_expiry(rules.expires, now)
    }

    fn admit_plan(&self, own: Option<&str>, client_plan: Option<&str>) -> Result<()> {
        let within = |plan: &str| self.plans.iter().any(|p| p == plan);
        let fact = match (own, client_plan) {
            (Some(own), _) if within(own) => return Ok(()),
            (Some(own), _) => format!("this token may not give a key plan `{own}`"),
            (None, _) if self.plans.is_empty() => return Ok(()),
            (None, Some(plan)) if within(plan) => return Ok(()),
            (None, Some(plan)) => format!(
                "without a plan of its own the key would be on its client's plan `{plan}`, which this token may not give"
            ),
            (None, None) => "without a plan the key would have no limits".to_owned(),
        };
        Err(exceeded(fact, "plans", &self.plans).about("plan"))
    }

    /// Checks that the successor of a key may have its scopes and plan. The key's own limits carry
    /// over, because both draw on the same buckets.
    ///
    /// # Errors
    /// Those of [`Ceilings::admit`].
    pub fn admit_successor(
        &self,
        rules: &Rules,
        client_plan: Option<&str>,
        now: u64,
    ) -> Result<()> {
        let rules = Rules {
            limits: Vec::new(),
            ..rules.clone()
        };
        self.admit(&rules, client_plan, now)
    }

    /// The latest expiry for a key that replaces one that expires at `expires`.
    pub fn nearest_end(&self, expires: Option<u64>, now: u64) -> Option<u64> {
        let most = self.max_expiry.map(|most| now.saturating_add(most));
        match (expires, most) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Checks that an expiry is early enough.
    ///
    /// # Errors
    /// If it is not.
    pub fn admit_expiry(&self, expires: Option<u64>, now: u64) -> Result<()> {
        let Some(most) = self.max_expiry else {
            return Ok(());
        };
        if expires.is_some_and(|t| t <= now.saturating_add(most)) {
            return Ok(());
        }
        let most = when::duration(most);
        Err(refuse(
            Code::BeyondCeiling,
            format_args!("keys that this token issues have to expire within {most}"),
            crate::next!["give ", named("expires").value(&most), " or less"],
        )
        .about("expires"))
    }

    /// Checks that a change of rules is within the ceilings. What others have granted beyond them
    /// may stay, but such a key may not be widened, neither in its rights nor in its expiry.
    ///
    /// # Errors
    /// If it is not.
    pub fn admit_change(
        &self,
        before: &Rules,
        after: &Rules,
        client_plan: Option<&str>,
        now: u64,
    ) -> Result<()> {
        if self.admit(after, client_plan, now).is_ok() && self.admit_rights(before, client_plan) {
            return Ok(());
        }
        let named = Rules {
            name: before.name.clone(),
            labels: before.labels.clone(),
            expires: before.expires,
            ..after.clone()
        };
        let ends_later = match (before.expires, after.expires) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(before), Some(after)) => after > before,
        };
        if named == *before && !ends_later {
            return Ok(());
        }
        self.admit(after, client_plan, now)?;
        Err(beyond())
    }

    /// Checks that a key may be rotated to one that expires at `expires`.
    ///
    /// # Errors
    /// Those of [`Ceilings::admit_change`].
    pub fn admit_rotation(
        &self,
        before: &Rules,
        after: &Rules,
        client_plan: Option<&str>,
        now: u64,
    ) -> Result<()> {
        self.admit_change(before, after, client_plan, now)?;
        self.admit_expiry(after.expires, now)
    }

    /// Whether existing rights are within the ceilings.
    fn admit_rights(&self, rules: &Rules, client_plan: Option<&str>) -> bool {
        let endless = Self {
            max_expiry: None,
            ..self.clone()
        };
        endless.admit(rules, client_plan, 0).is_ok()
    }
}

/// A refusal for lack of rights.
pub fn forbidden(fact: impl fmt::Display) -> Error {
    refuse(
        Code::NotPermitted,
        fact,
        "ask somebody whose token may do this",
    )
}

fn beyond() -> Error {
    forbidden(
        "the key holds more than this token may give, so only its name and labels can be changed, and its expiry only be made earlier",
    )
}

fn exceeded(fact: impl fmt::Display, what: &str, those: &[String]) -> Error {
    if those.is_empty() {
        refuse(
            Code::BeyondCeiling,
            fact,
            format_args!("it may give no {what}; ask somebody whose token may"),
        )
    } else {
        refuse(
            Code::BeyondCeiling,
            fact,
            format_args!("it may give {}", those.join(", ")),
        )
    }
}
