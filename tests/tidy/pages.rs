//! Pages: links that lead somewhere, and files that exist.

use crate::*;

/// Pages at the top level, and those below these folders.
fn pages() -> Vec<(String, String)> {
    let at_the_top = fs::read_dir(root()).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = name.ends_with(".md").then(|| root().join(&name))?;
        Some((name, fs::read_to_string(text).unwrap()))
    });
    let below = ["src", "envoy"].into_iter().flat_map(files);
    at_the_top
        .chain(below.filter(|(name, _)| name.ends_with(".md")))
        .collect()
}

/// What a heading is called in a link, as GitHub makes it.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|l| l.starts_with('#'));
    let letters = |h: &str| -> String {
        let h = h.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        h.chars().filter(kept).collect()
    };
    headings.map(|h| letters(h).replace(' ', "-")).collect()
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    for (name, page) in pages() {
        let here = root().join(&name);
        for link in page.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = match file {
                "" => here.clone(),
                file => here.parent().unwrap().join(file),
            };
            assert!(file.exists(), "{name}: {link}");
            if !anchor.is_empty() {
                let there = fs::read_to_string(&file).unwrap();
                assert!(
                    anchors(&there).contains(&anchor.to_owned()),
                    "{name}: {link}"
                );
            }
        }
    }
}

/// The threat model promises nothing that is not shown.
#[test]
fn every_row_of_the_threat_model_names_a_test() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let (_, model) = text.split_once("## Threat model").unwrap();
    let model = model.split("\n## ").next().unwrap();
    let rows = model.lines().filter(|l| l.starts_with("| ")).skip(2);
    let mut seen = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        let shown = cells[4];
        let tests = shown.split('`').skip(1).step_by(2);
        let tests = tests.filter(|path| path.ends_with(".rs") && root().join(path).exists());
        assert!(cells.len() == 6 && tests.count() > 0, "{}", cells[1]);
        seen += 1;
    }
    assert!(seen >= 14, "{seen} rows");
}

/// So that who follows it finds what it names.
#[test]
fn the_files_that_contributors_are_sent_to_exist() {
    for page in ["CONTRIBUTING.md", "SECURITY.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let mut seen = 0;
        for path in text.split('`').skip(1).step_by(2) {
            let folders = ["src/", "tests/", "scripts/", "envoy/"];
            let is_path = folders.iter().any(|f| path.starts_with(f)) && !path.contains(' ');
            // `NOUN.rs` and the like stand for any.
            if is_path && !path.contains(|c: char| c.is_ascii_uppercase()) {
                assert!(root().join(path).exists(), "{page}: `{path}`");
                seen += 1;
            }
        }
        assert!(seen > 10, "{page}: only {seen} paths");
    }
}
