//! Labels as they are typed and as they are shown.

use keystile_model::record::Labels;

/// Labels in one cell.
pub fn label_words(labels: &Labels) -> String {
    let words: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    words.join(" ")
}

/// Pairs as they were typed.
pub fn words(labels: &[(String, String)]) -> Vec<String> {
    labels.iter().map(|(k, v)| format!("{k}={v}")).collect()
}
