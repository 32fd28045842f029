//! `keystilectl keyset verify`, `inspect`, `diff`

use std::path::{Path, PathBuf};

use clap::Args;
use keystile_core::hex;
use keystile_core::key::Prefix;
use keystile_core::keyset::{Entry, Keyset, KeysetRefusal, Secrets, SigningKeyError, SigningKeys};
use serde_json::{Value, json};

use super::versions::{self, version_in_place_of};
use crate::commands::Context;
use crate::output::{self, cell};
use keystile_model::error::{Code, Result, refuse, refuse_all};
use keystile_model::plural;
use keystile_model::when;
use keystile_registry::inspect::{self, Change, Difference, Opened};
use keystile_registry::signing;
use keystile_render::ecds::{self, SIGNING_KEYS, VERIFY_KEYS};
use keystile_system as system;
use keystile_system::file;
use zeroize::Zeroizing;

/// Check the signature and every page of keyset files
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl keyset verify keyset.json
  KEYSTILE_SIGNING_KEYS=… keystilectl keyset verify /var/lib/keystile/ecds.pb

Takes files that `keyset build` or `push` wrote. Keys come from KEYSTILE_SIGNING_KEYS and
KEYSTILE_VERIFY_KEYS if one of them is set, as in Envoy, and otherwise from the store.")]
pub struct Verify {
    /// The keyset files
    #[arg(required = true)]
    file: Vec<PathBuf>,
}

/// Show what is in a keyset file
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl keyset inspect keyset.json
  keystilectl keyset inspect ecds.pb --keys --output json
  keystilectl --server URL keyset inspect 1795331554650     # from `keyset versions`")]
pub struct Inspect {
    /// A file that `keyset build` or `push` wrote or, with a server, a version
    file: PathBuf,
    /// List the keys too
    #[arg(long)]
    keys: bool,
    /// Include the first half of their digests, which the index holds
    #[arg(long, requires = "keys")]
    digests: bool,
}

/// Show what changed from one keyset file to another
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl keyset diff before.json after.json
  keystilectl --server URL keyset diff 1795331552484 1795331554650    # from `keyset versions`")]
pub struct Diff {
    /// The old file or version
    before: PathBuf,
    /// The new file or version
    after: PathBuf,
}

fn signing_keys(cx: &Context) -> Result<SigningKeys> {
    let [shared, public] = [SIGNING_KEYS, VERIFY_KEYS].map(system::secret_variable);
    if shared.is_none() && public.is_none() {
        return cx.store_as_it_is()?.read(signing::accepted);
    }
    let text = |found: &Option<Zeroizing<String>>| found.clone().unwrap_or_default();
    let bad = |variable: &str, e: SigningKeyError, how: &str| {
        refuse(
            Code::SettingInvalid,
            format_args!("the environment variable `{variable}` {e}"),
            format_args!(
                "set it to the output of `keystilectl signing-key export{how}`, or unset it to use those of the store"
            ),
        )
    };
    let secrets = Secrets::parse(&text(&shared), &text(&public), "").map_err(|e| match e {
        KeysetRefusal::SigningKeys(e) => bad(SIGNING_KEYS, e, ""),
        KeysetRefusal::VerifyKeys(e) => bad(VERIFY_KEYS, e, " --public"),
        e => refuse(Code::SettingInvalid, e, "unset both to use the store's"),
    })?;
    Ok(secrets.keys)
}

fn open(path: &Path, keys: &SigningKeys) -> Result<Opened> {
    let bytes = ecds::configuration_in(file::read(path)?).ok_or_else(|| {
        refuse(
            Code::KeysetInvalid,
            format_args!("`{}` holds no keyset", path.display()),
            "name a file that `keyset build` or `push` wrote",
        )
    })?;
    inspect::open(&bytes, keys).map_err(|e| match e {
        KeysetRefusal::UnknownKid(kid) => refuse(
            Code::KeysetInvalid,
            format_args!(
                "{}: signed with key `{}`, which is not one of the signing keys at hand",
                path.display(),
                kid.escape_default()
            ),
            "it belongs to another store, or its signing key is retired: build it again",
        ),
        KeysetRefusal::Overlay => refuse(
            Code::KeysetInvalid,
            format_args!("{}: {e}", path.display()),
            "name a file with a whole keyset, such as `keyset build` writes",
        ),
        e => refuse(
            Code::KeysetInvalid,
            format_args!("{}: {e}", path.display()),
            "build it again with `keystilectl keyset build`",
        ),
    })
}

impl Verify {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let keys = signing_keys(cx)?;
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for path in &self.file {
            let verified = open(path, &keys).and_then(|o| match (o.unreadable(), o.keyset.corrupt_pages()) {
                (0, 0) => Ok(o),
                (keys, pages) => Err(refuse(Code::KeysetInvalid, format_args!(
                        "{}: {pages} of {} pages are not those that were signed, so {keys} keys are refused",
                        path.display(),
                        o.keyset.pages()
                    ), "build it again with `keystilectl keyset build`")),
            });
            match verified {
                Ok(o) => good.push((path, o)),
                Err(e) => bad.extend(e.into_faults()),
            }
        }
        let json: Vec<Value> = good
            .iter()
            .map(|(path, o)| {
                json!({"file": path.display().to_string(), "version": o.keyset.version, "keys": o.keyset.len(), "pages": o.keyset.pages()})
            })
            .collect();
        cx.out.show_list(&Value::Array(json), || {
            let line = |(path, o): &(&PathBuf, Opened)| {
                format!(
                    "{}: valid: version {}, {}, {}\n",
                    path.display(),
                    o.keyset.version,
                    plural::count(o.keyset.len(), "key"),
                    plural::count(o.keyset.pages(), "page")
                )
            };
            good.iter().map(line).collect()
        })?;
        if bad.is_empty() {
            Ok(())
        } else {
            Err(refuse_all(bad))
        }
    }
}

/// What a keyset is, line by line; the counts are of revoked, disabled and imported keys.
fn summary(k: &Keyset, now: u64, (revoked, disabled, imported): (usize, usize, usize)) -> String {
    output::fields([
        ("store", k.store.to_string()),
        ("version", k.version.to_string()),
        (
            "issued",
            format!(
                "{} ({})",
                when::short(k.issued_at),
                when::relative(k.issued_at, now)
            ),
        ),
        (
            "valid until",
            k.not_after
                .map(|t| format!("{} ({})", when::short(t), when::relative(t, now)))
                .unwrap_or_default(),
        ),
        (
            "keys",
            format!(
                "{} ({revoked} revoked, {disabled} disabled, {imported} imported)",
                k.len()
            ),
        ),
        (
            "pages",
            format!("{} ({} corrupt)", k.pages(), k.corrupt_pages()),
        ),
        ("environments", k.environments.join(" ")),
        (
            "plans",
            k.policy.plans.keys().cloned().collect::<Vec<_>>().join(" "),
        ),
        ("routes", k.policy.routes.len().to_string()),
        ("scopes", k.policy.scopes.join(" ")),
    ])
}

impl Inspect {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        if let Some(version) = version_in_place_of(cx, &self.file) {
            return versions::inspect(cx, version);
        }
        let o = open(&self.file, &signing_keys(cx)?)?;
        let k = &o.keyset;
        let count = |f: fn(&Entry<'_>) -> bool| o.entries().filter(|(_, e)| f(e)).count();
        let (revoked, disabled, imported) = (
            count(|e| e.revoked),
            count(|e| e.disabled),
            count(|e| e.foreign),
        );
        let mut json = json!({
            "store": k.store.to_string(),
            "version": k.version,
            "issued_at": when::rfc3339(k.issued_at),
            "not_after": k.not_after.map(when::rfc3339),
            "keys": k.len(),
            "revoked": revoked,
            "disabled": disabled,
            "imported": imported,
            "unreadable": o.unreadable(),
            "pages": k.pages(),
            "corrupt_pages": k.corrupt_pages(),
            "bytes": k.pages_bytes(),
            "environments": k.environments,
            "scopes": k.policy.scopes,
            "policy": o.manifest.policy,
        });
        if self.keys
            && let Some(map) = json.as_object_mut()
        {
            let entry = |(prefix, e): (Prefix, Entry<'_>)| {
                let mut json = o.entry_json(&e);
                if self.digests
                    && let Some(map) = json.as_object_mut()
                {
                    map.insert("digest".to_owned(), json!(hex::text(prefix)));
                }
                json
            };
            map.insert("entries".to_owned(), o.entries().map(entry).collect());
        }
        cx.out.show(&json, || {
            let mut out = summary(k, cx.now(), (revoked, disabled, imported));
            if self.keys {
                out.push('\n');
                out.push_str(&self.table(&o));
            }
            out
        })
    }

    fn table(&self, o: &Opened) -> String {
        output::table(
            [
                "id",
                "client",
                "revoked",
                "disabled",
                "expires",
                if self.digests { "digest" } else { "" },
            ],
            o.entries().map(|(prefix, e)| {
                [
                    cell(e.id),
                    cell(e.client),
                    cell(if e.revoked { "revoked" } else { "" }),
                    cell(if e.disabled { "disabled" } else { "" }),
                    cell(e.expires.map(when::short).unwrap_or_default()),
                    cell(if self.digests {
                        hex::text(prefix)
                    } else {
                        String::new()
                    }),
                ]
            }),
        )
    }
}

impl Diff {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let version = |file| version_in_place_of(cx, file);
        if let (Some(from), Some(to)) = (version(&self.before), version(&self.after)) {
            return versions::diff(cx, from, to);
        }
        let keys = signing_keys(cx)?;
        let (a, b) = (open(&self.before, &keys)?, open(&self.after, &keys)?);
        let d = Difference::between(&a, &b);
        let changes = |list: &[Change]| -> Value {
            list.iter()
                .map(|c| json!({"field": c.field, "before": c.before, "after": c.after}))
                .collect()
        };
        let json = json!({
            "versions": [a.keyset.version, b.keyset.version],
            "added": d.added.iter().map(|(_, v)| v).collect::<Vec<_>>(),
            "removed": d.removed.iter().map(|(_, v)| v).collect::<Vec<_>>(),
            "changed": d.changed.iter().map(|(id, c)| json!({"id": id.to_string(), "changes": changes(c)})).collect::<Vec<_>>(),
            "policy": changes(&d.policy),
        });
        cx.out.show_list(&json, || words(&a, &b, &d))
    }
}

fn words(a: &Opened, b: &Opened, d: &Difference) -> String {
    let mut out = format!("version {} -> {}\n", a.keyset.version, b.keyset.version);
    if d.is_empty() {
        out.push_str("the same keys and the same policy\n");
    }
    let client = |v: &Value| {
        v.get("client")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    for (id, v) in &d.added {
        out.push_str(&format!("+ key {id} of {}\n", client(v)));
    }
    for (id, v) in &d.removed {
        out.push_str(&format!("- key {id} of {}\n", client(v)));
    }
    let change = |c: &Change| format!("{}: {} -> {}", c.field, c.before, c.after);
    for (id, changes) in &d.changed {
        for c in changes {
            out.push_str(&format!("~ key {id}  {}\n", change(c)));
        }
    }
    for c in &d.policy {
        out.push_str(&format!("~ policy  {}\n", change(c)));
    }
    out
}
