//! Envoy Gateway: SecurityPolicies with `apiKeyAuth`, and the Secrets that they name. Each
//! entry of such a Secret is a client's id and its key.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Object, ObjectKind};
use super::found::Found;
use super::node::{ExportDocument, Node, wrong_form};
use super::{How, printable};
use keystile_model::error::{Code, Result, refuse};

mod merge;
mod parts;
mod tables;

use merge::{Grants, Merge};
use parts::{Name, Secret, close, named, of_entry, of_places, refused, target};

/// The file that holds an export.
pub const WRITTEN: &str = "what `kubectl get securitypolicies,referencegrants,secrets -A -o yaml` writes, with the Secrets of `apiKeyAuth`";

/// Every kind of object that this importer knows.
pub const KINDS: [&ObjectKind; 7] = [
    &tables::RESOURCE,
    &tables::METADATA,
    &tables::SPEC,
    &tables::AUTH,
    &tables::REFERENCE,
    &tables::PLACES,
    &tables::TARGET,
];

struct Policy {
    name: String,
    place: String,
    refs: Vec<Name>,
    targets: String,
    /// Why its clients are left out.
    shut: Option<String>,
    merge: Merge,
}

/// Which Secrets count for which clients.
#[derive(Default)]
struct Order<'w> {
    policies_of: BTreeMap<(&'w Name, &'w str), Vec<&'w Policy>>,
    /// Secrets that a policy names and may name.
    wanted: BTreeSet<&'w Name>,
    /// Secrets that a policy names, and may not.
    refused: BTreeSet<&'w Name>,
    /// Entries of which it cannot be said whether they are in force.
    unsure: BTreeSet<(&'w Name, &'w str)>,
}

/// What a policy may require beside a key, all at once.
const BESIDE: [&str; 5] = ["authorization", "basicAuth", "extAuth", "jwt", "oidc"];

#[derive(Default)]
struct World<'n> {
    policies: Vec<Policy>,
    /// What every policy asks beside a key, and with which others it is merged.
    merges: Vec<Merge>,
    grants: Grants<'n>,
    /// Why what stands in the list that is read is left out.
    shut: Option<String>,
    secrets: BTreeMap<Name, Secret<'n>>,
}

pub fn read(documents: &[ExportDocument], how: &How, found: &mut Found) -> Result<()> {
    let mut world = World::default();
    for document in documents {
        world.resource(document, &document.root, found)?;
    }
    if world.policies.is_empty() {
        let file = documents.first().map_or("", |d| d.file.as_str());
        return Err(refuse(
            Code::FileInvalid,
            format_args!("{file}: holds no SecurityPolicy with `apiKeyAuth`"),
            format_args!("name {WRITTEN}"),
        ));
    }
    world.settle(how, found)
}

impl<'n> World<'n> {
    fn resource(
        &mut self,
        document: &'n ExportDocument,
        node: &'n Node,
        found: &mut Found,
    ) -> Result<()> {
        let kind = node.peek("kind").and_then(Node::text).unwrap_or_default();
        if kind.is_empty() {
            return Err(wrong_form(
                &document.file,
                "kind",
                "that of a Kubernetes resource",
            ));
        }
        let place = Object::at(&document.file, node, format!("`{}`", printable(kind, 60)));
        if !matches!(kind, "SecurityPolicy" | "Secret") {
            return self.other(document, node, kind, place, found);
        }
        let object = Object::open(node.see(), &tables::RESOURCE, place.as_str(), found)?;
        object.get("kind");
        let metadata = object.get("metadata");
        if metadata.is_some_and(|m| m.peek("deletionTimestamp").is_some_and(|at| !at.is_empty())) {
            node.pass();
            found.meet(&document.file);
            found.leave(&place, "is being deleted, so its keys are left out");
            return Ok(());
        }
        let mut shut = self.shut.clone().or_else(|| object.closed());
        let name = match metadata {
            Some(metadata) => named(
                metadata,
                &tables::METADATA,
                "default",
                &place,
                &mut shut,
                found,
            )?,
            None => return Err(wrong_form(&place, "metadata", "given")),
        };
        if let Some(status) = object.get("status") {
            status.pass();
            shut = shut.or_else(|| refused(status));
        }
        let what = format!("{kind} {}/{}", name.0, name.1);
        let place = Object::at(&document.file, node, what);
        match (kind, object.get("spec")) {
            ("SecurityPolicy", Some(spec)) => {
                self.policy(document, name, spec, (place, shut), found)
            }
            ("Secret", _) => self.secret(document, name, &object, (place, shut), found),
            _ => Ok(()),
        }
    }

    /// Lists of resources, and resources of other kinds.
    fn other(
        &mut self,
        document: &'n ExportDocument,
        node: &'n Node,
        kind: &str,
        place: String,
        found: &mut Found,
    ) -> Result<()> {
        if kind.ends_with("List") {
            let list = Object::open(node.see(), &tables::RESOURCE, place, found)?;
            list.get("kind");
            list.get("metadata").into_iter().for_each(Node::pass);
            let before = self.shut.clone();
            self.shut = before.clone().or_else(|| list.closed());
            for item in list.list("items")? {
                self.resource(document, item, found)?;
            }
            self.shut = before;
            return Ok(());
        }
        node.pass();
        match kind {
            "Namespace" => {}
            "ReferenceGrant" => self.grants.take(node),
            _ => found.leave(
                &place,
                "only SecurityPolicies with `apiKeyAuth` and their Secrets are carried over",
            ),
        }
        Ok(())
    }

    fn policy(
        &mut self,
        document: &ExportDocument,
        name: Name,
        spec: &'n Node,
        (place, mut shut): (String, Option<String>),
        found: &mut Found,
    ) -> Result<()> {
        let spec = Object::open(spec, &tables::SPEC, place.as_str(), found)?;
        let mut targets = Vec::new();
        for field in ["targetRef", "targetRefs", "targetSelectors"] {
            let Some(node) = spec.get(field) else {
                continue;
            };
            let nodes = node.list().unwrap_or(std::slice::from_ref(node));
            for node in nodes {
                targets.push(target(node, &place, &mut shut, found)?);
            }
        }
        let mut asks = None;
        for field in BESIDE {
            if let Some(node) = spec.get(field) {
                node.pass();
                asks = asks.or(Some(field));
            }
        }
        shut = shut.or_else(|| spec.closed()).or_else(|| spec.strange());
        let merge = Merge::read(&place, &spec, &targets, asks, shut.as_deref())?;
        self.merges.push(merge.clone());
        let Some(auth) = spec.get("apiKeyAuth") else {
            merge.name_alone(found);
            return Ok(());
        };
        found.meet(&document.file);
        let auth = Object::open(auth, &tables::AUTH, place.as_str(), found)?;
        shut = shut.or_else(|| auth.closed());
        let mut refs = Vec::new();
        for node in auth.list("credentialRefs")? {
            refs.push(named(
                node.see(),
                &tables::REFERENCE,
                &name.0,
                &place,
                &mut shut,
                found,
            )?);
        }
        of_places(&auth, &place, &mut shut, found)?;
        self.policies.push(Policy {
            name: format!("{}/{}", name.0, name.1),
            place,
            refs,
            targets: targets.join(", "),
            shut: asks
                .map(|what| {
                    format!(
                        "its SecurityPolicy asks for `{what}` beside a key; give it keys by hand"
                    )
                })
                .or(shut),
            merge,
        });
        Ok(())
    }

    fn secret(
        &mut self,
        document: &ExportDocument,
        name: Name,
        object: &Object<'n>,
        (place, shut): (String, Option<String>),
        found: &mut Found,
    ) -> Result<()> {
        found.meet(&document.file);
        let mut entries = BTreeMap::new();
        // `stringData` overrides `data`.
        for (field, encoded) in [("data", true), ("stringData", false)] {
            for (client, value) in object.entries(field)? {
                if value.text().is_none() && !value.is_null() {
                    return Err(wrong_form(&place, field, "a mapping of texts"));
                }
                entries.insert(client, (encoded, value));
            }
        }
        if let Some(first) = self.secrets.get_mut(&name) {
            first.shut = first.shut.take().or(shut);
            found.leave(
                &place,
                "appears in the export twice: clients whose key is not the same in both are left out",
            );
            first.join(entries);
            return Ok(());
        }
        self.secrets.insert(
            name,
            Secret {
                place,
                entries,
                unsure: BTreeSet::new(),
                shut,
            },
        );
        Ok(())
    }

    /// Why the clients of a policy are left out.
    fn shut(&self, policy: &Policy) -> Option<String> {
        let merged = || policy.merge.shut_by(&self.merges);
        policy.shut.clone().or_else(merged)
    }

    /// Lists what the policies protect.
    fn name_routes(&self, several: bool, found: &mut Found) {
        for policy in &self.policies {
            let at = match policy.targets.as_str() {
                "" => "what it targets",
                targets => targets,
            };
            let scope = match several {
                true => format!(
                    ", and ask for scope `{}` there (`any_scope`): its keys have it, those of other policies have not",
                    policy.name
                ),
                false => String::new(),
            };
            found.leave(
                &policy.place,
                format!("it protects {at}: write these as routes of the policy{scope}"),
            );
        }
    }

    /// For each policy, the first Secret that names a client counts.
    fn order(&self, found: &mut Found) -> Order<'_> {
        let mut order = Order::default();
        for policy in &self.policies {
            let mut named: BTreeSet<&str> = BTreeSet::new();
            // Which clients a Secret names that is not read cannot be said.
            let mut gap = false;
            for name in &policy.refs {
                let at = || format!("{}, Secret {}/{}", policy.place, name.0, name.1);
                if !self.grants.allow(&policy.name, name) {
                    found.leave(
                        &at(),
                        "is in another namespace, and no ReferenceGrant of this file allows that: its keys are left out",
                    );
                    order.refused.insert(name);
                    gap = true;
                    continue;
                }
                order.wanted.insert(name);
                let Some(secret) = self.secrets.get(name) else {
                    found.leave(&at(), "is named by a SecurityPolicy but not in this file");
                    gap = true;
                    continue;
                };
                for client in secret.entries.keys() {
                    let first = named.insert(client);
                    if gap || secret.unsure.contains(client) {
                        order.unsure.insert((name, client));
                    } else if first {
                        let policies = order.policies_of.entry((name, client));
                        policies.or_default().push(policy);
                    }
                }
            }
        }
        order
    }

    fn settle(self, how: &How, found: &mut Found) -> Result<()> {
        let order = self.order(found);
        let several = self.policies.len() > 1;
        self.name_routes(several, found);
        for (name, secret) in &self.secrets {
            if !order.wanted.contains(name) {
                let problem = match order.refused.contains(name) {
                    true => "no ReferenceGrant of this file allows the SecurityPolicy to name it",
                    false => "no `apiKeyAuth` of this file names it",
                };
                found.leave(&secret.place, problem);
                continue;
            }
            for (client, (encoded, value)) in &secret.entries {
                let place = format!("{}, `{}`", secret.place, printable(client, 100));
                let Some(policies) = order.policies_of.get(&(name, *client)) else {
                    let problem = match order.unsure.contains(&(name, *client)) {
                        true => {
                            "it is unclear which key of this client is in force, because a Secret is missing, may not be named, or appears here twice: export all of them, or issue a new key"
                        }
                        false => {
                            "an earlier Secret of `credentialRefs` names this client too, and that one counts"
                        }
                    };
                    found.leave(&place, problem);
                    continue;
                };
                let of_policy = |p: &&Policy| Some((p.place.clone(), self.shut(p)?));
                let shut = policies.iter().find_map(of_policy);
                let of_secret = || Some((place.clone(), secret.shut.clone()?));
                if let Some((at, problem)) = shut.or_else(of_secret) {
                    found.leave(
                        &at,
                        format!("`{}` is left out: {problem}", printable(client, 100)),
                    );
                    found.leave(&place, format!("is left out: {problem}"));
                    close(*encoded, value, &place, found);
                    continue;
                }
                let scopes = policies.iter().filter(|_| several);
                let scopes: Vec<String> = scopes.map(|p| p.name.clone()).collect();
                of_entry(client, *encoded, value, &place, scopes, how, found);
            }
        }
        Ok(())
    }
}
