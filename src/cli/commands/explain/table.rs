//! An explanation as people read it.

use comfy_table::Color;
use keystile_api::explain::Explanation;

use crate::output::{self, cell};

/// Rule by rule, then the answer.
pub fn words(a: &Explanation) -> String {
    let rows = a.rules.iter().map(|n| {
        let (word, color) = if n.held {
            ("yes", Color::Green)
        } else {
            ("no", Color::Red)
        };
        [cell(&n.rule), cell(word).fg(color), cell(&n.text)]
    });
    let mut out = output::table(["rule", "held", "because"], rows);
    out.push('\n');
    if a.shadow && a.code != "ok" {
        out.push_str("shadow mode: counted, but let through\n");
    }
    if let Some(hint) = &a.hint {
        out.push_str(hint);
        out.push('\n');
    }
    out.push_str(&output::fields([
        ("code", a.code.clone()),
        ("status", a.status.to_string()),
        ("detail", a.detail.clone()),
    ]));
    out
}
