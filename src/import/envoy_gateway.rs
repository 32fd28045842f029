//! Envoy Gateway: SecurityPolicies with `apiKeyAuth`, and the Secrets that they name. Each
//! entry of such a Secret is a client's id and its key.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::{Found, How, Plain};
use keystile_model::error::{Result, refuse};

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    data: Option<BTreeMap<String, Plain>>,
    #[serde(default, rename = "stringData")]
    string_data: Option<BTreeMap<String, Plain>>,
    #[serde(default)]
    spec: Option<Spec>,
    /// Of a `List`, as `kubectl get -o yaml` writes it.
    #[serde(default)]
    items: Vec<Resource>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    api_key_auth: Option<ApiKeyAuth>,
    authorization: Option<IgnoredAny>,
    basic_auth: Option<IgnoredAny>,
    cors: Option<IgnoredAny>,
    ext_auth: Option<IgnoredAny>,
    jwt: Option<IgnoredAny>,
    oidc: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiKeyAuth {
    #[serde(default)]
    credential_refs: Vec<Metadata>,
    #[serde(default)]
    extract_from: Vec<Places>,
    #[serde(default, rename = "forwardClientIDHeader")]
    forward_client_id_header: Option<String>,
}

#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    params: Vec<String>,
    #[serde(default)]
    cookies: Vec<String>,
}

pub fn read(name: &str, text: &str, how: &How, found: &mut Found) -> Result<()> {
    let resources: Vec<Resource> = if text.trim_start().starts_with('{') {
        vec![super::parse(name, text, WHAT)?]
    } else {
        serde_saphyr::from_multiple(text).map_err(|e| {
            let line = e.without_snippet().location().map_or(1, |l| l.line());
            refuse(
                format_args!("{name}:{line}: does not have the form that was expected"),
                format_args!("name {WHAT}"),
            )
        })?
    };
    let mut flat: Vec<Resource> = Vec::new();
    for mut r in resources {
        flat.append(&mut r.items);
        flat.push(r);
    }
    let mut wanted: BTreeSet<(String, String)> = BTreeSet::new();
    for r in flat.iter().filter(|r| r.kind == "SecurityPolicy") {
        if let Some(spec) = &r.spec {
            of_policy(name, &r.metadata, spec, &mut wanted, found);
        }
    }
    if wanted.is_empty() {
        return Err(refuse(
            format_args!("{name}: holds no SecurityPolicy with `apiKeyAuth`"),
            format_args!("name {WHAT}"),
        ));
    }
    for r in flat.iter().filter(|r| r.kind == "Secret") {
        let space = r.metadata.namespace.as_deref().unwrap_or("default");
        let place = format!("{name}: Secret {space}/{}", r.metadata.name);
        if wanted.remove(&(space.to_owned(), r.metadata.name.clone())) {
            of_secret(r, &place, how, found);
        } else {
            found.leave(&place, "no `apiKeyAuth` of this file names it");
        }
    }
    for (space, secret) in wanted {
        found.leave(
            &format!("{name}: Secret {space}/{secret}"),
            "is named by a SecurityPolicy and not in this file",
        );
    }
    Ok(())
}

const WHAT: &str =
    "what `kubectl get securitypolicies,secrets -o yaml` writes, with the Secrets of `apiKeyAuth`";

fn of_policy(
    file: &str,
    metadata: &Metadata,
    spec: &Spec,
    wanted: &mut BTreeSet<(String, String)>,
    found: &mut Found,
) {
    let own = metadata.namespace.as_deref().unwrap_or("default");
    let place = format!("{file}: SecurityPolicy {own}/{}", metadata.name);
    for (there, what) in [
        (spec.authorization.is_some(), "authorization"),
        (spec.basic_auth.is_some(), "basicAuth"),
        (spec.cors.is_some(), "cors"),
        (spec.ext_auth.is_some(), "extAuth"),
        (spec.jwt.is_some(), "jwt"),
        (spec.oidc.is_some(), "oidc"),
    ] {
        if there {
            found.leave(
                &place,
                format!("`{what}`: only `apiKeyAuth` is carried over"),
            );
        }
    }
    let Some(auth) = &spec.api_key_auth else {
        return;
    };
    for r in &auth.credential_refs {
        let space = r.namespace.as_deref().unwrap_or(own);
        wanted.insert((space.to_owned(), r.name.clone()));
    }
    let mut places = Vec::new();
    for from in &auth.extract_from {
        places.extend(from.headers.iter().map(|n| format!("header {n}")));
        places.extend(from.params.iter().map(|n| format!("query {n}")));
        places.extend(from.cookies.iter().map(|n| format!("cookie {n}")));
    }
    if !places.is_empty() {
        found.leave(
            &place,
            format!(
                "keys stand in {}: list these in `credentials` of the policy",
                places.join(", ")
            ),
        );
    }
    if let Some(header) = &auth.forward_client_id_header {
        found.leave(
            &place,
            format!("`{header}` tells the upstream who calls: write it as `identity.client` of the policy"),
        );
    }
}

fn of_secret(secret: &Resource, place: &str, how: &How, found: &mut Found) {
    for (client, value) in secret.data.iter().flatten() {
        let place = format!("{place}, `{client}`");
        let decoded = STANDARD
            .decode(value.expose_secret().trim())
            .map(Zeroizing::new)
            .ok();
        let key = decoded.as_ref().and_then(|d| std::str::from_utf8(d).ok());
        match key {
            Some(key) => of_entry(client, key, &place, how, found),
            None => found.leave(&place, "is no base64 of a text"),
        }
    }
    for (client, value) in secret.string_data.iter().flatten() {
        let place = format!("{place}, `{client}`");
        of_entry(client, value.expose_secret(), &place, how, found);
    }
}

fn of_entry(client: &str, key: &str, place: &str, how: &How, found: &mut Found) {
    let client = found.client(client);
    // `kubectl create secret --from-file` keeps the line feed of the file.
    found.plain_key(place, &client, key.trim_end_matches(['\r', '\n']), how);
}
