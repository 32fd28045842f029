//! How operations and fields are called where a refusal is read.

use super::next::{ActStep, Next, NextField, Piece};

/// Where a refusal is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// The command line, and the log of a server: `keystilectl key list`, `--expires 90d`.
    CommandLine,
    /// The API: `GET /v1/keys`, `expires: 90d`.
    Rest,
    /// The console: the page *Keys*, the field *Expires*.
    Console,
}

impl Surface {
    /// A part of a next step in its words.
    fn words(self, piece: &Piece) -> String {
        match piece {
            Piece::Say { say } => say.clone(),
            Piece::Do(step) => self.step(step),
            Piece::Field(named) => self.field(named),
        }
    }

    fn step(self, step: &ActStep) -> String {
        let of = step.of.as_deref();
        match self {
            Self::Rest if !step.act.route().is_empty() => {
                let route = step.act.route();
                match (route.split_once('{'), of) {
                    (Some((before, after)), Some(of)) => {
                        let after = after.split_once('}').map_or("", |(_, after)| after);
                        format!("`{before}{of}{after}`")
                    }
                    _ => format!("`{route}`"),
                }
            }
            Self::Console if !step.act.page().is_empty() => format!("“{}”", step.act.page()),
            _ => {
                let of = of.map(|of| format!(" {of}")).unwrap_or_default();
                format!("`keystilectl {}{of}`", step.act.command())
            }
        }
    }

    fn field(self, named: &NextField) -> String {
        let (field, value) = (&*named.field, named.value.as_deref());
        match (self, value) {
            (Self::CommandLine, None) => format!("`{}`", option(field)),
            (Self::CommandLine, Some(value)) => format!("`{} {value}`", option(field)),
            (Self::Rest, None) => format!("`{field}`"),
            (Self::Rest, Some(value)) => format!("`{field}: {value}`"),
            (Self::Console, None) => format!("“{}”", label(field)),
            (Self::Console, Some(value)) => format!("`{value}` under “{}”", label(field)),
        }
    }
}

impl Next {
    /// In the words of a surface.
    pub fn words(&self, surface: Surface) -> String {
        self.pieces.iter().map(|p| surface.words(p)).collect()
    }
}

/// The option of a field. An option that may be repeated is named in the singular there.
fn option(field: &str) -> String {
    let field = match field {
        "cidrs" => "cidr",
        "deny_cidrs" => "deny-cidr",
        "origins" => "origin",
        "certificates" => "certificate",
        "scopes" => "scope",
        "limits" => "limit",
        "labels" => "label",
        "sure" => "yes",
        other => other,
    };
    format!("--{}", field.replace('_', "-"))
}

/// The label of a field.
fn label(field: &str) -> String {
    let mut chars = field.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    let rest = chars.map(|c| if c == '_' { ' ' } else { c });
    first.into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::Surface::{CommandLine, Console, Rest};
    use crate::next;
    use crate::refusal::{Act, Next, named};

    #[test]
    fn each_surface_words_a_step_for_its_own_readers() {
        let next: Next = next![
            "see ",
            Act::KeyList,
            ", or ",
            Act::KeyRotate.of("k_7"),
            " with ",
            named("allow_unknown_scope"),
            " and ",
            named("max_keys").value(3),
        ];
        assert_eq!(
            [CommandLine, Rest, Console].map(|s| next.words(s)),
            [
                "see `keystilectl key list`, or `keystilectl key rotate k_7` with `--allow-unknown-scope` and `--max-keys 3`",
                "see `GET /v1/keys`, or `POST /v1/keys/k_7/rotate` with `allow_unknown_scope` and `max_keys: 3`",
                "see “Keys”, or “Rotate” with “Allow unknown scope” and `3` under “Max keys”",
            ]
        );
        let command: Next = next!["run ", Act::Init];
        assert_eq!(command.words(Rest), "run `keystilectl init`");
    }

    #[test]
    fn a_step_travels_whole() {
        let next: Next = next![
            "see ",
            Act::KeyRotate.of("k"),
            " and ",
            named("grace").value("1h")
        ];
        let json = serde_json::to_value(&next).unwrap();
        assert_eq!(
            json,
            serde_json::json!([
                {"say": "see "},
                {"do": "key.rotate", "of": "k"},
                {"say": " and "},
                {"field": "grace", "value": "1h"},
            ])
        );
        assert_eq!(serde_json::from_value::<Next>(json).unwrap(), next);
    }
}
