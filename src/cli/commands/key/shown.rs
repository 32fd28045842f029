//! Keys as they are printed.

use crate::commands::Context;
use crate::output::{self, cell};
use keystile_api::key::{KeyUseView, KeyView};
use keystile_model::error::Result;
use keystile_model::when;
use keystile_model::wire::Time;

/// Keys as a table.
pub fn list_table(keys: &[KeyView], now: u64, with_client: bool) -> String {
    let row = |k: &KeyView| {
        [
            cell(k.id.0),
            output::status(k.status.0),
            cell(&k.environment.0),
            cell(k.kind.as_str()),
            cell(k.effective_plan.as_deref().unwrap_or("-")),
            cell(
                k.effective_expiry()
                    .map_or_else(|| "never".to_owned(), |t| when::relative(t, now)),
            ),
            cell(k.scopes.join(" ")),
            cell(&k.name),
        ]
    };
    let header = [
        "id", "status", "env", "type", "plan", "expires", "scopes", "name",
    ];
    if !with_client {
        return output::table(header, keys.iter().map(row));
    }
    let [a, b, c, d, e, f, g, h] = header;
    output::table(
        [a, "client", b, c, d, e, f, g, h],
        keys.iter().map(|k| {
            let [a, b, c, d, e, f, g, h] = row(k);
            [a, cell(&k.client), b, c, d, e, f, g, h]
        }),
    )
}

/// A key as a table of its fields.
pub fn fields(k: &KeyView, now: u64) -> String {
    let time = |t: &Option<Time>| {
        t.as_ref()
            .map(|Time(t)| format!("{} ({})", when::short(*t), when::relative(*t, now)))
            .unwrap_or_default()
    };
    let mut kind = k.kind.as_str().to_owned();
    if k.imported {
        kind.push_str(", imported");
    }
    let plan = match (&k.plan, &k.effective_plan) {
        (None, Some(client)) => Some(format!("{client} (its client's)")),
        (None, None) => Some("-".to_owned()),
        (Some(_), _) => None,
    };
    let mut all = vec![
        ("id", k.id.0.to_string()),
        ("client", k.client.clone()),
        ("name", k.name.clone()),
        ("status", k.status.0.to_string()),
        ("reason", k.reason.clone()),
        ("environment", k.environment.0.to_string()),
        ("type", kind),
    ];
    for (property, text) in k.texts(now).filter(|(p, _)| p.name != "name") {
        match (property.name, &plan) {
            ("plan", Some(plan)) => all.push((property.heading, plan.clone())),
            _ => all.push((property.heading, text)),
        }
        if property.name == "expires" {
            all.push(("works until", time(&k.works_until)));
            all.push(("revoked", time(&k.revoked)));
        }
    }
    let from = k.rotated_from.as_ref().map(|i| i.0.to_string());
    all.extend([
        ("rotated from", from.unwrap_or_default()),
        ("created", when::short(k.created.0)),
        ("exposed", time(&k.exposed)),
        ("first used", used(k.usage.as_ref(), now, true)),
        ("last used", used(k.usage.as_ref(), now, false)),
    ]);
    output::fields(all)
}

/// Time, address and user agent of a use.
fn used(usage: Option<&KeyUseView>, now: u64, first: bool) -> String {
    let Some(usage) = usage else {
        return String::new();
    };
    let (at, address, agent) = if first {
        (&usage.first_used, &usage.first_address, &None)
    } else {
        (&usage.last_used, &usage.last_address, &usage.last_agent)
    };
    let mut out = at.as_ref().map_or_else(String::new, |Time(t)| {
        format!("{} ({})", when::short(*t), when::relative(*t, now))
    });
    for (word, text) in [(" from ", address), (" by ", agent)] {
        if let Some(text) = text {
            out.push_str(word);
            out.push_str(text);
        }
    }
    out
}

pub(super) fn print(cx: &Context, key: &KeyView) -> Result<()> {
    cx.out.show(key, || fields(key, cx.now()))
}
