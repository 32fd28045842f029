//! Clients, plans and keys of another system in one transaction.

use std::collections::BTreeMap;

use keystile_core::policy::{QuotaPeriod, RawPlan, RawPolicy, RawQuota, RollOver};

use super::Ground;
use super::ImportOptions;
use super::Line;
use super::digest;
use super::key;
use crate::client::ClientDraft;
use crate::policy;
use keystile_model::error::{Code, Complaints, Result, named, refuse};
use keystile_model::import_lines::ClientLine;
use keystile_model::import_lines::Done;
use keystile_model::import_lines::Import;
use keystile_model::import_lines::KeyLine;
use keystile_model::record::Client;
use keystile_model::rules::check_plan;
use keystile_model::world::World;
use keystile_policy::file::{self as policy_file, PolicyFile};
use keystile_store::Store;

/// Imports everything, or nothing.
pub fn take(store: &mut Store, world: &World, import: Import) -> Result<Done> {
    Ground::run(store, world, import.dry_run, |ground| {
        take_in(ground, world, import)
    })
}

fn take_in(mut tx: Ground<'_, '_>, world: &World, import: Import) -> Result<Done> {
    world.caller.unbound("import from another system")?;
    let mut done = Done {
        dry_run: import.dry_run,
        ..Done::default()
    };
    let mut plans: BTreeMap<String, RawPlan> = BTreeMap::new();
    for (name, limits) in import.plans {
        plans.entry(name).or_default().limits = limits.into_iter().map(|l| l.0).collect();
    }
    for (name, quota) in import.quotas {
        plans.entry(name).or_default().quota = Some(RawQuota {
            requests: quota.requests_per_month,
            per: QuotaPeriod::Month,
            time_zone: "UTC".to_owned(),
            rolls_over: RollOver::default(),
        });
    }
    let may_add = import.add_plans || import.dry_run;
    let file = take_plans(&mut tx, world, plans, may_add, &mut done)?;
    let mut clients = tx.clients_by_name()?;
    let mut bad = Complaints::default();
    for line in import.clients {
        tx.go_on()?;
        let place = format!("client `{}`", line.name);
        take_client(&mut tx, world, &file, line, &mut clients, &mut done)
            .or_else(|e| bad.take(e, &place))?;
    }
    let how = ImportOptions {
        create_clients: false,
        any_scope: import.allow_unknown_scope,
        dry_run: import.dry_run,
    };
    for line in import.keys {
        tx.go_on()?;
        let place = line.place.clone();
        take_key(&mut tx, world, &file, &clients, line, how, &mut done)
            .or_else(|e| bad.take(e, &place))?;
    }
    bad.none()?;
    if done.keys_imported > 0 {
        tx.keyset_changed();
    }
    Ok(done)
}

fn take_plans(
    tx: &mut Ground<'_, '_>,
    world: &World,
    mut plans: BTreeMap<String, RawPlan>,
    may_add: bool,
    done: &mut Done,
) -> Result<PolicyFile> {
    let file = policy(tx)?;
    plans.retain(|name, plan| match file.raw.plans.get(name) {
        None => true,
        Some(there) => {
            if there.limits != plan.limits || there.quota != plan.quota {
                done.plans_kept.push(name.clone());
                done.kept.push(format!(
                    "plan {} of the policy stays as it is: its clients get that, and not {}",
                    plan_line(name, there),
                    plan_line(name, plan)
                ));
            }
            false
        }
    });
    if plans.is_empty() {
        return Ok(file);
    }
    if !may_add {
        let names: Vec<String> = plans.keys().map(|p| format!("`{p}`")).collect();
        return Err(refuse(
            Code::UnknownPlan,
            format_args!("the policy has no plan {}", names.join(", ")),
            keystile_model::next![
                "add the plans that the dry run shows to the policy, or give ",
                named("add_plans")
            ],
        ));
    }
    let text = with_plans(&file, &plans).ok_or_else(|| {
        refuse(
            Code::PolicyInvalid,
            "plans cannot be added to the policy as it is written",
            "add those that the dry run shows to `plans` by hand, and apply the policy",
        )
    })?;
    tx.apply(world, &text)?;
    done.plans_added = plans.into_keys().collect();
    Ok(text)
}

/// The text of a policy with more plans and nothing else changed; none if that is not possible.
fn with_plans(file: &PolicyFile, plans: &BTreeMap<String, RawPlan>) -> Option<PolicyFile> {
    let mut wanted: RawPolicy = file.raw.clone();
    wanted.plans.extend(plans.clone());
    let lines: Vec<String> = plans.iter().map(|(n, p)| plan_line(n, p)).collect();
    let text = match file.text.lines().position(|l| l.starts_with("plans:")) {
        None => {
            let end = if file.text.ends_with('\n') { "" } else { "\n" };
            let lines: String = lines.iter().map(|l| format!("  {l}\n")).collect();
            format!("{}{end}plans:\n{lines}", file.text)
        }
        Some(at) => {
            let next = file.text.lines().skip(at + 1).find(|l| {
                let l = l.trim_start();
                !l.is_empty() && !l.starts_with('#')
            });
            let indent = next.map_or(0, |l| l.len() - l.trim_start().len());
            let indent = " ".repeat(if indent == 0 { 2 } else { indent });
            let mut text = String::new();
            for (n, line) in file.text.lines().enumerate() {
                text.push_str(line);
                text.push('\n');
                if n == at {
                    text.extend(lines.iter().map(|l| format!("{indent}{l}\n")));
                }
            }
            text
        }
    };
    // However the plans are written, nothing else may have changed.
    let changed = policy_file::parse("the policy with the plans added", text).ok()?;
    (changed.raw == wanted).then_some(changed)
}

/// A plan as a line of the policy.
pub fn plan_line(name: &str, plan: &RawPlan) -> String {
    let limits: Vec<String> = plan
        .limits
        .iter()
        .map(|l| {
            let burst = l.burst.map(|b| format!(", burst: {b}")).unwrap_or_default();
            let by = match l.by {
                keystile_core::policy::By::Client => ", by: client",
                keystile_core::policy::By::Key => "",
            };
            format!("{{requests: {}, per: {}{burst}{by}}}", l.requests, l.per)
        })
        .collect();
    let quota = plan.quota.as_ref().map(|q| {
        let per = match q.per {
            QuotaPeriod::Day => "day",
            QuotaPeriod::Month => "month",
        };
        format!(", quota: {{requests: {}, per: {per}}}", q.requests)
    });
    let quota = quota.unwrap_or_default();
    format!("\"{name}\": {{limits: [{}]{quota}}}", limits.join(", "))
}

fn take_client(
    tx: &mut Ground<'_, '_>,
    world: &World,
    file: &PolicyFile,
    line: ClientLine,
    clients: &mut BTreeMap<String, Client>,
    done: &mut Done,
) -> Result<()> {
    if let Some(there) = clients.get(&line.name) {
        done.clients_known += 1;
        if line.plan.is_some() && line.plan != there.plan {
            done.kept.push(format!(
                "client `{}` already exists on plan `{}`, and stays on it",
                line.name,
                there.plan.as_deref().unwrap_or("-")
            ));
        }
        return Ok(());
    }
    check_plan(&file.policy, line.plan.as_deref())?;
    let draft = ClientDraft {
        name: line.name,
        plan: line.plan,
        description: line.description,
        ..ClientDraft::default()
    };
    let client = tx.add_client(world, draft)?;
    done.clients_created.push(client.name.clone());
    clients.insert(client.name.clone(), client);
    Ok(())
}

fn take_key(
    tx: &mut Ground<'_, '_>,
    world: &World,
    file: &PolicyFile,
    clients: &BTreeMap<String, Client>,
    line: KeyLine,
    how: ImportOptions,
    done: &mut Done,
) -> Result<()> {
    let client = clients.get(&line.client).ok_or_else(|| {
        refuse(
            Code::ClientNotFound,
            format_args!("there is no client `{}`", line.client),
            "list it in `clients`, or create it first",
        )
        .about("client")
    })?;
    let digest = digest(&line.sha256)?;
    if let Some(known) = tx.key_of_digest(&digest)? {
        if known.client != client.name {
            return Err(refuse(
                Code::KeyExists,
                format_args!(
                    "this key is in the store already, as {} of client `{}`",
                    known.id, known.client
                ),
                "leave it out, or revoke that one first",
            )
            .about("sha256"));
        }
        done.keys_known += 1;
        return Ok(());
    }
    let disabled = line.disabled;
    let line = Line::from_key_line(&line);
    let mut key = key(tx, world, &file.policy, client, digest, &line, how)?;
    key.disabled = disabled;
    tx.add_key(world, &key)?;
    done.keys_imported += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_model::rules::limit;

    fn added(text: &str) -> Option<String> {
        let file = policy_file::parse("policy", format!("version: 1\n{text}")).unwrap();
        let plan = RawPlan {
            limits: vec![limit("5/1m:9@client").unwrap()],
            ..RawPlan::default()
        };
        let plans = BTreeMap::from([("new".to_owned(), plan)]);
        with_plans(&file, &plans).map(|f| f.text)
    }

    #[test]
    fn plans_are_added_where_plans_stand_and_comments_stay() {
        let line = "\"new\": {limits: [{requests: 5, per: 1m, burst: 9, by: client}]}";
        assert_eq!(
            added("plans:  # ours\n    free: {}\nroutes: []\n").unwrap(),
            format!("version: 1\nplans:  # ours\n    {line}\n    free: {{}}\nroutes: []\n")
        );
        assert_eq!(
            added("realm: a # b").unwrap(),
            format!("version: 1\nrealm: a # b\nplans:\n  {line}\n")
        );
    }

    #[test]
    fn a_policy_that_is_written_otherwise_is_left_to_its_author() {
        assert_eq!(added("plans: {free: {}}\n"), None);
    }
}
