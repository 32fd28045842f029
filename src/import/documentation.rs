//! What importers do with each field, for `moving.md`.

use super::fields::{Fate, ObjectKind};
use super::{System, apisix, envoy_gateway, higress, kong, table, tyk, unkey};

impl System {
    /// What happens to every field, as Markdown.
    pub fn fields(self) -> String {
        let kinds: &[&ObjectKind] = match self {
            Self::Kong => &kong::KINDS,
            Self::Apisix => &apisix::KINDS,
            Self::EnvoyGateway => &envoy_gateway::KINDS,
            Self::Unkey => &unkey::KINDS,
            Self::Higress => &higress::KINDS,
            Self::Tyk => &tyk::KINDS,
            Self::Csv => return format!("### csv\n\n{}", table::described()),
        };
        let mut out = format!("### {}\n\n", self.as_str());
        out.push_str("| object | field | carried over as |\n| --- | --- | --- |\n");
        let mut silent = Vec::new();
        for kind in kinds {
            for field in kind.fields {
                let names: Vec<String> = field.names.iter().map(|n| format!("`{n}`")).collect();
                let names = names.join(", ");
                let row = match field.fate {
                    Fate::Becomes(what) => what.to_owned(),
                    Fate::Lost(next) => format!("**not**: {next}"),
                    Fate::NoEffect => {
                        silent.push(format!("{}: {names}", kind.name));
                        continue;
                    }
                };
                out.push_str(&format!("| {} | {names} | {row} |\n", kind.name));
            }
        }
        out.push_str(&format!(
            "\nNo effect, and not listed: {}.\n",
            silent.join("; ")
        ));
        out
    }
}
