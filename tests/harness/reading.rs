//! Numbers as they stand on the pages.

use serde_json::{Value, json};

use crate::browser::Browser;

/// Cells of the rows of tables, thousands not apart.
pub fn rows(browser: &Browser, css: &str) -> Value {
    browser.script(
        "return [...document.querySelectorAll(arguments[0] + ' tr')].map((row) =>
             [...row.cells].map((c) => c.textContent.replaceAll('\\u202f', '').trim()))",
        &[css],
    )
}

/// The parts of the chart, each with the sum of its numbers in the table behind it.
pub fn chart(browser: &Browser) -> Value {
    let rows = rows(browser, ".usage .chart table");
    let rows = rows.as_array().unwrap();
    let parts = rows[0].as_array().unwrap();
    let sum = |i: usize| -> u64 {
        let cells = rows[1..].iter().map(|r| r[i].as_str().unwrap());
        cells.map(|c| c.parse::<u64>().unwrap()).sum()
    };
    (1..parts.len())
        .map(|i| json!([parts[i], sum(i)]))
        .collect()
}

/// Reasons and numbers, or names and numbers, without the head.
pub fn table(browser: &Browser, name: &str) -> Value {
    rows(browser, &format!(".usage table.{name} tbody"))
}

pub fn figures(browser: &Browser) -> Vec<String> {
    let found = browser.script(
        "return [...document.querySelectorAll('.figure')].slice(0, 2).map((f) => f.textContent.replaceAll('\\u202f', ''))",
        &[],
    );
    let words = found.as_array().unwrap().iter();
    words.map(|w| w.as_str().unwrap().to_owned()).collect()
}
