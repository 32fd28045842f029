//! The parts of a plugin of Higress, and of its console's list.

use keystile_core::key::Digest;

use super::tables::CREDENTIAL;
use crate::closing::closes;
use crate::fields::Object;
use crate::found::Found;
use crate::node::{Data, Node};
use crate::printable;
use keystile_model::error::Result;

/// Why a resource is left out: what its own metadata say, and not what stands deeper.
pub fn of_metadata(metadata: &Node) -> Option<String> {
    let is_deep = |node: &Node| matches!(node.data, Data::Map(_) | Data::List(_));
    let mut pairs = metadata.pairs()?;
    let (name, _) = pairs.find(|(name, node)| !is_deep(node) && closes(name, node))?;
    let name = printable(name, 60);
    Some(format!(
        "`{name}` of its plugin may switch it off; if it does not, issue a key by hand"
    ))
}

/// Keys as texts, or as the console lists them.
pub fn of_credentials<'n>(node: &'n Node, place: &str, found: &mut Found) -> Result<Vec<&'n str>> {
    if let Some(words) = node.words() {
        return Ok(words);
    }
    let mut keys = Vec::new();
    for node in node.list().unwrap_or_default() {
        let credential = Object::open(node.see(), &CREDENTIAL, place, found)?;
        if let Some(problem) = credential.closed() {
            for field in ["values", "value"] {
                for key in credential.words(field)? {
                    found.dead(place, Digest::of_foreign(key.as_bytes()));
                }
            }
            credential.node.pass();
            found.leave(place, problem);
            continue;
        }
        let kind = credential.text("type")?.unwrap_or("key-auth");
        let mut values = credential.words("values")?;
        values.extend(credential.words("value")?);
        let source = (credential.text("source")?, credential.text("key")?);
        if kind != "key-auth" {
            found.leave(
                place,
                format!(
                    "{} credentials: only API keys are carried over",
                    printable(kind, 40)
                ),
            );
            continue;
        }
        if let (Some(source), name) = source {
            let name = name.map(|n| format!(" `{n}`")).unwrap_or_default();
            found.leave(
                place,
                format!(
                    "its key is expected in {source}{name}: list this in `credentials` of the policy"
                ),
            );
        }
        keys.extend(values);
    }
    Ok(keys)
}
