//! For which nodes a certificate is valid, besides those that it names.

use std::str::FromStr;

/// Certificates with this name are valid for these nodes: `NAME=NODE`; a `*` at the end of either,
/// or alone, matches anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRule {
    pub(super) name: String,
    pub(super) node: String,
}

impl FromStr for NameRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not `NAME=NODE`; write the name in the certificate and the node id that it may have, such as `edge.example.com=edge-*`"
            )
        };
        // URIs hold no `=` before their query, and node ids rarely do.
        let (name, node) = text.split_once('=').ok_or_else(wrong)?;
        let holds = |t: &str| {
            let stars = t.matches('*').count();
            !t.is_empty() && (stars == 0 || stars == 1 && t.ends_with('*'))
        };
        if !holds(name) || !holds(node) {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            node: node.to_owned(),
        })
    }
}
