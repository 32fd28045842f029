//! The results of the cases, as XML for build servers.

use std::fmt::Write as _;

use super::CaseResult;

/// One test suite, one test case for each case.
pub fn junit(outcomes: &[CaseResult]) -> String {
    let failed = outcomes.iter().filter(|o| !o.passed).count();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"keystilectl policy test\" tests=\"{}\" failures=\"{failed}\">\n",
        outcomes.len()
    );
    for o in outcomes {
        let _ = write!(
            out,
            "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\"",
            escaped(&o.file),
            escaped(&o.name),
            escaped(&o.file),
            o.line
        );
        if o.passed {
            out.push_str("/>\n");
            continue;
        }
        let _ = writeln!(
            out,
            ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
            escaped(&format!("expected {}, got {}", o.wanted(), o.got())),
            escaped(&o.because)
        );
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

impl CaseResult {
    /// What was expected, in a word or two.
    pub fn wanted(&self) -> String {
        match &self.expected_route {
            Some(route) => format!("{} by {route}", self.expected),
            None => self.expected.clone(),
        }
    }

    /// What was answered, in a word or two.
    pub fn got(&self) -> String {
        match (&self.expected_route, &self.route) {
            (None, _) => self.code.clone(),
            (Some(_), Some(route)) => format!("{} by {route}", self.code),
            (Some(_), None) => format!("{} by no route", self.code),
        }
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(' '),
            // No XML may hold these, escaped or not.
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
