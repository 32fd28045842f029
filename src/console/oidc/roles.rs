//! The role of a person, by the claims of the identity provider.

use std::str::FromStr;

use serde_json::{Map, Value};

use keystile_model::caller::Role;
use keystile_model::error::{Act, Code, Error, Result, refuse};

/// Claims by name.
pub type Claims = Map<String, Value>;

/// `groups:platform=owner`: people whose claim has a value get a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRule {
    claim: String,
    value: String,
    role: Role,
}

impl FromStr for RoleRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |fact: &str| {
            refuse(
                Code::SettingInvalid,
                format_args!("`{text}` {fact}"),
                "write `CLAIM:VALUE=ROLE`, such as `groups:platform=owner` or `email:ana@example.com=auditor`",
            )
        };
        let (condition, word) = text
            .rsplit_once('=')
            .ok_or_else(|| wrong("names no role"))?;
        let (claim, value) = parted(condition).ok_or_else(|| wrong("names no claim and value"))?;
        if claim.is_empty() || value.is_empty() {
            return Err(wrong("leaves claim or value empty"));
        }
        let role = match Role::from_word(word) {
            Some(Role::Client) => {
                return Err(refuse(
                    Code::SettingInvalid,
                    format_args!("`{text}` maps to the role `client`"),
                    keystile_model::next![
                        "people of a client are invited with ",
                        Act::TokenCreate,
                        ", role `client`; map to owner, issuer or auditor"
                    ],
                ));
            }
            Some(role) => role,
            None => {
                return Err(refuse(
                    Code::SettingInvalid,
                    format_args!("`{word}` is not a role"),
                    "use owner, issuer or auditor",
                ));
            }
        };
        Ok(Self {
            claim: claim.to_owned(),
            value: value.to_owned(),
            role,
        })
    }
}

/// Splits at the first colon that is not part of a URL: some providers name their claims
/// `https://example.com/roles`.
fn parted(condition: &str) -> Option<(&str, &str)> {
    let mut colons = condition.match_indices(':').map(|(at, _)| at);
    let at = colons.find(|at| {
        let after = condition.get(at + 1..).unwrap_or_default();
        !after.starts_with("//")
    })?;
    Some((condition.get(..at)?, condition.get(at + 1..)?))
}

impl RoleRule {
    fn matches(&self, claims: &Claims) -> bool {
        if self.claim == "email" && !is_verified(claims) {
            return false;
        }
        let held = found(claims, &self.claim);
        match held {
            Some(Value::String(text)) => *text == self.value,
            Some(Value::Array(all)) => all.iter().any(|v| v.as_str() == Some(&self.value)),
            _ => false,
        }
    }
}

/// The role of a person: the highest of those that match.
pub fn role(rules: &[RoleRule], claims: &Claims) -> Option<Role> {
    let given = rules.iter().filter(|rule| rule.matches(claims));
    given.map(|rule| rule.role).max()
}

/// The email address of a person, if the provider has verified it.
pub fn email(claims: &Claims) -> Option<&str> {
    let email = claims.get("email")?.as_str()?;
    is_verified(claims).then_some(email)
}

/// An address that people can write into their own profile identifies nobody.
fn is_verified(claims: &Claims) -> bool {
    match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        // Some providers write it as text.
        Some(Value::String(text)) => text == "true",
        _ => false,
    }
}

/// A claim by its name, or by a path through objects: `realm_access.roles`.
fn found<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    found(claims.get(first)?.as_object()?, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(all: &[&str]) -> Vec<RoleRule> {
        all.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn role_of(all: &[&str], claims: Value) -> Option<Role> {
        role(&rules(all), claims.as_object().unwrap())
    }

    #[test]
    fn a_role_is_given_by_a_value_and_the_greatest_of_several_counts() {
        let all = [
            "groups:staff=auditor",
            "groups:platform=owner",
            "groups:support=issuer",
        ];
        let of = |groups: Value| role_of(&all, json!({ "groups": groups }));
        assert_eq!(of(json!(["staff"])), Some(Role::Auditor));
        assert_eq!(of(json!("support")), Some(Role::Issuer));
        assert_eq!(of(json!(["staff", "platform"])), Some(Role::Owner));
        for none in [
            json!([]),
            json!(["platform2", "Platform", "platform "]),
            json!("staff platform"),
            json!({ "platform": true }),
            json!(null),
            json!([["platform"]]),
        ] {
            assert_eq!(of(none.clone()), None, "{none}");
        }
        assert_eq!(role_of(&all, json!({})), None);
        assert_eq!(role_of(&[], json!({ "groups": ["platform"] })), None);
    }

    #[test]
    fn claims_are_found_by_names_of_every_provider() {
        let keycloak = json!({ "realm_access": { "roles": ["ops"] } });
        assert_eq!(
            role_of(&["realm_access.roles:ops=issuer"], keycloak),
            Some(Role::Issuer)
        );
        let named = json!({ "https://example.com/roles": ["a:b"] });
        assert_eq!(
            role_of(&["https://example.com/roles:a:b=owner"], named),
            Some(Role::Owner)
        );
        // The name as it stands goes before the way.
        let both = json!({ "a.b": "x", "a": { "b": "y" } });
        assert_eq!(role_of(&["a.b:y=owner"], both), None);
    }

    #[test]
    fn an_address_counts_if_the_provider_vouches_for_it() {
        let all = ["email:ana@example.com=owner"];
        for (verified, given) in [
            (json!(true), true),
            (json!("true"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!(1), false),
            (json!(null), false),
        ] {
            let claims = json!({ "email": "ana@example.com", "email_verified": verified });
            assert_eq!(email(claims.as_object().unwrap()).is_some(), given);
            assert_eq!(role_of(&all, claims).is_some(), given, "{verified}");
        }
        assert_eq!(role_of(&all, json!({ "email": "ana@example.com" })), None);
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_to_write() {
        for (text, fact) in [
            ("groups:platform", "names no role"),
            ("platform=owner", "names no claim and value"),
            (":platform=owner", "leaves claim or value empty"),
            ("groups:=owner", "leaves claim or value empty"),
            ("groups:platform=admin", "`admin` is not a role"),
            ("groups:acme=client", "maps to the role `client`"),
        ] {
            let e = text.parse::<RoleRule>().unwrap_err();
            assert!(e.to_string().contains(fact), "{text}: {e}");
        }
    }
}
