//! A table with a header: keys in full, or their digests.

use keystile_core::key::Digest;

use super::{Found, How};
use keystile_model::error::{Result, refuse};
use keystile_model::rules;

/// The fields that a column can hold.
const FIELDS: [&str; 15] = [
    "client",
    "key",
    "sha256",
    "name",
    "environment",
    "type",
    "scopes",
    "plan",
    "limits",
    "expires",
    "not_before",
    "cidrs",
    "origins",
    "certificates",
    "disabled",
];

pub fn read(name: &str, text: &str, how: &How, found: &mut Found) -> Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let unreadable = |line: u64| {
        refuse(
            format_args!("{name}:{line}: cannot be read as a row of the table"),
            "write UTF-8, with as many columns as the first line has",
        )
    };
    let header = reader.headers().map_err(|_| unreadable(1))?.clone();
    if let Some(field) = how.columns.keys().find(|f| !FIELDS.contains(&f.as_str())) {
        return Err(refuse(
            format_args!("there is no field `{field}`"),
            format_args!("known are {}", FIELDS.join(", ")),
        ));
    }
    let column = |field: &str| {
        let wanted = how.columns.get(field).map_or(field, String::as_str);
        header.iter().position(|h| h.eq_ignore_ascii_case(wanted))
    };
    let columns: Vec<(&str, Option<usize>)> = FIELDS.iter().map(|f| (*f, column(f))).collect();
    let known = |i: usize| columns.iter().any(|(_, at)| *at == Some(i));
    for (_, title) in header.iter().enumerate().filter(|(i, _)| !known(*i)) {
        let title = super::printable(title, 80);
        found.leave(
            &format!("{name}: column `{title}`"),
            "is none that is known; name it with `--column FIELD=HEADER`",
        );
    }
    if column("key").is_none() && column("sha256").is_none() {
        return Err(refuse(
            format_args!("{name}:1: there is neither a column `key` nor `sha256`"),
            "name it with `--column key=HEADER`",
        ));
    }
    for record in reader.records() {
        let record = record.map_err(|e| unreadable(e.position().map_or(0, csv::Position::line)))?;
        let place = format!(
            "{name}:{}",
            record.position().map_or(0, csv::Position::line)
        );
        let get = |field: &str| {
            let at = columns.iter().find(|(f, _)| *f == field)?.1?;
            record.get(at).filter(|v| !v.is_empty())
        };
        let words = |field: &str| -> Vec<String> {
            let split = get(field).unwrap_or_default().split([' ', ';']);
            split.filter(|w| !w.is_empty()).map(str::to_owned).collect()
        };
        // A restriction that says nothing must not come to restrict nothing.
        let restrictions = ["cidrs", "origins", "certificates"];
        let is_void = |f: &str| get(f).is_some() && words(f).is_empty();
        if let Some(field) = restrictions.into_iter().find(|f| is_void(f)) {
            found.leave(&place, format!("`{field}` holds separators alone"));
            continue;
        }
        let Some(owner) = get("client").or(how.client.as_deref()) else {
            found.leave(&place, "names no client; name one with `--client`");
            continue;
        };
        let client = found.client(owner);
        let scopes: Vec<String> = words("scopes")
            .iter()
            .filter_map(|s| found.scope(s, &place))
            .collect();
        let line = match (get("sha256"), get("key")) {
            (Some(hex), _) => match rules::hex_digest(hex) {
                Some(digest) => found.key(&place, &client, Digest(digest.0), how),
                None => {
                    found.leave(&place, "`sha256` is not 64 hexadecimal digits");
                    None
                }
            },
            (None, Some(key)) => found.plain_key(&place, &client, key, how),
            (None, None) => {
                found.leave(&place, "holds neither a key nor a digest");
                None
            }
        };
        let text = |field: &str| get(field).unwrap_or_default().to_owned();
        if let Some(line) = line {
            line.name = text("name");
            if let Some(environment) = get("environment") {
                environment.clone_into(&mut line.environment);
            }
            line.kind = text("type");
            line.scopes = scopes;
            line.plan = text("plan");
            line.limits = words("limits");
            line.expires = text("expires");
            line.not_before = text("not_before");
            line.cidrs = words("cidrs");
            line.origins = words("origins");
            line.certificates = words("certificates");
            line.disabled = get("disabled")
                .is_some_and(|w| !["false", "no", "0"].contains(&w.to_ascii_lowercase().as_str()));
        }
    }
    Ok(())
}
