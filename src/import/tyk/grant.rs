//! What a session or a policy of Tyk grants.

use keystile_core::policy::By;

use super::tables::RIGHT;
use crate::fields::Object;
use crate::found::Found;
use crate::limits::ReadLimits;
use crate::node::{Data, Node, same_name};
use crate::printable;
use keystile_model::error::Result;

#[derive(Default)]
pub struct TykGrant {
    pub limits: ReadLimits,
    pub scopes: Vec<String>,
    pub off: bool,
    pub out: Option<String>,
    /// Whether it says which APIs may be called.
    pub gives: bool,
    /// A policy lets its keys end.
    pub expires: bool,
}

/// Which parts of a policy are in force; all of a session are.
#[derive(Clone, Copy)]
pub struct PartsInForce {
    pub rights: bool,
    pub rate: bool,
    pub quota: bool,
}

impl PartsInForce {
    pub const ALL: Self = Self {
        rights: true,
        rate: true,
        quota: true,
    };
}

/// What makes a session one of something else than an API key.
const OTHER_SESSIONS: [&str; 7] = [
    "basic_auth_data",
    "jwt_data",
    "hmac_enabled",
    "enable_http_signature_validation",
    "rsa_enabled",
    "certificate",
    "mtls_static_certificate_bindings",
];

/// Whether a flag is set to this in any of its spellings.
pub fn says(object: &Object<'_>, name: &str, wanted: bool) -> Result<bool> {
    let exact = object.flag(name)? == Some(wanted);
    Ok(exact
        || spellings(object, name)
            .any(|node| !node.is_null() && node.flag().is_none_or(|flag| flag == wanted)))
}

/// A field in all of its spellings.
fn spellings<'n>(object: &Object<'n>, name: &str) -> impl Iterator<Item = &'n Node> {
    let pairs = object.node.pairs().into_iter().flatten();
    pairs
        .filter(move |(n, _)| same_name(n, name))
        .map(|(_, node)| node)
}

/// Whether anything in it is set.
fn holds(node: &Node) -> bool {
    match &node.data {
        Data::List(items) => items.iter().any(holds),
        // How a password is hashed is said where there is none, too.
        Data::Map(pairs) => pairs
            .iter()
            .any(|(name, node)| !same_name(name, "hash_type") && holds(node)),
        Data::Bool(set) => *set,
        _ => !node.is_empty() && node.flag() != Some(false),
    }
}

/// Why this is no session of an API key.
fn other_session(object: &Object<'_>) -> Option<String> {
    let mut out = None;
    for name in OTHER_SESSIONS {
        if let Some(node) = object.get(name) {
            node.pass();
        }
        for node in spellings(object, name).filter(|node| holds(node)) {
            node.pass();
            out.get_or_insert_with(|| {
                format!("`{name}`: it is not a session of an API key alone; issue a new key")
            });
        }
    }
    out
}

/// A number above zero, as it is written.
pub fn positive(object: &Object<'_>, name: &str) -> Result<Option<String>> {
    let text = object.text(name)?;
    let text = text.filter(|t| !t.starts_with('-') && *t != "0");
    Ok(text.map(str::to_owned))
}

/// Limits and scopes of a session or a policy.
pub fn grant(object: &Object<'_>, counts: PartsInForce, found: &mut Found) -> Result<TykGrant> {
    let place = object.place.as_str();
    let mut grant = TykGrant {
        out: object.closed().or_else(|| other_session(object)),
        ..TykGrant::default()
    };
    let positive = |name: &str| positive(object, name);
    let whole = |text: &str| {
        let number = text.parse::<f64>().ok().filter(|n| n.fract() == 0.0)?;
        format!("{number:.0}").parse::<u64>().ok()
    };
    match (positive("rate")?, positive("per")?) {
        _ if !counts.rate => {}
        (Some(rate), Some(per)) => match (whole(&rate), whole(&per)) {
            (Some(rate), Some(per)) => grant.limits.add(rate, per, None, By::Key),
            _ => grant
                .limits
                .lose("a limit that is not a whole number of requests and seconds"),
        },
        (Some(_), None) => grant.limits.lose("a limit without a period"),
        _ => {}
    }
    if let Some(quota) = positive("quota_max")?.filter(|_| counts.quota) {
        grant.limits.lose(&format!(
            "a quota of {}: write one by month or day into a plan",
            printable(&quota, 20)
        ));
    }
    let rights = object.entries("access_rights")?;
    grant.gives = !rights.is_empty();
    if !counts.rights {
        object.get("access_rights").into_iter().for_each(Node::pass);
        return Ok(grant);
    }
    if let Some(node) = object.node.peek("graphql_access_rights") {
        node.pass();
        if holds(node) {
            let problem = "`graphql_access_rights` narrows it within an API; give it a scope of its own by hand";
            grant.out.get_or_insert_with(|| problem.to_owned());
        }
    }
    for (api, node) in rights {
        let right = Object::open(node.see(), &RIGHT, place, found)?;
        one_right(&right, api, &mut grant, found)?;
    }
    Ok(grant)
}

/// A right to an API.
fn one_right(right: &Object<'_>, api: &str, grant: &mut TykGrant, found: &mut Found) -> Result<()> {
    let place = right.place.as_str();
    let api = right.text("api_id")?.unwrap_or(api);
    let off = says(right, "disabled", true)?;
    if let Some(closed) = right.closed() {
        let api = printable(api, 80);
        grant.out = Some(format!("right to API `{api}`: {closed}"));
    }
    for field in [
        "allowed_urls",
        "restricted_types",
        "allowed_types",
        "field_access_rights",
    ] {
        if let Some(narrow) = right.get(field) {
            narrow.pass();
            if !narrow.is_empty() {
                let api = printable(api, 80);
                grant.out = Some(format!(
                    "`{field}` narrows it within API `{api}`; give it a scope of its own by hand"
                ));
            }
        }
    }
    if says(right, "disable_introspection", true)? {
        let api = printable(api, 80);
        grant.out = Some(format!(
            "`disable_introspection` narrows it within API `{api}`; give it a scope of its own by hand"
        ));
    }
    let versions = right.words("versions")?;
    if off {
        return Ok(());
    }
    if versions.iter().all(|v| *v == "Default") {
        grant.scopes.push(api.to_owned());
        return Ok(());
    }
    for version in versions {
        found.leave(
            place,
            format!(
                "it may call version `{0}` of API `{1}`, and not all: it gets scope `{1}/{0}`; ask for it there (`any_scope`)",
                printable(version, 40),
                printable(api, 80)
            ),
        );
        grant.scopes.push(format!("{api}/{version}"));
    }
    Ok(())
}
