//! What mdBook made of the pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{FILES, GuideFile};

fn pages() -> impl Iterator<Item = (&'static str, &'static str)> {
    let pages = FILES.iter().filter(|f| f.name.ends_with(".html"));
    pages.map(|f| (f.name, std::str::from_utf8(f.bytes).unwrap()))
}

/// The values of an attribute in a page.
fn values<'p>(page: &'p str, attribute: &str) -> Vec<&'p str> {
    let start = format!(" {attribute}=\"");
    let rest = page.split(start.as_str()).skip(1);
    rest.map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn every_link_in_the_guide_leads_somewhere_that_is_served() {
    let mut wrong = Vec::new();
    for (name, page) in pages() {
        let links = ["href", "src", "data-index", "data-elasticlunr"];
        for link in links.iter().flat_map(|a| values(page, a)) {
            let ours = ["../../docs", "../../console"].contains(&link);
            if ours || link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { name } else { file };
            let found = GuideFile::find(file);
            let there = found.is_some_and(|f| {
                let text = std::str::from_utf8(f.bytes).unwrap();
                anchor.is_empty() || text.contains(&format!(" id=\"{anchor}\""))
            });
            if !there {
                wrong.push(format!("{name}: {link}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// The policy of the pages forbids it, so it would be lost without a word.
#[test]
fn nothing_in_a_page_is_inline_or_from_elsewhere() {
    for (name, page) in pages() {
        assert_eq!(values(page, "style"), [""; 0], "{name}");
        for tag in page.split("<script").skip(1) {
            let (open, body) = tag.split_once('>').unwrap();
            assert!(open.contains(" src=\"theme/guide-"), "{name}: {open}");
            assert!(body.starts_with("</script>"), "{name}");
        }
        assert!(
            !page.contains("<style") && !page.contains("<iframe"),
            "{name}"
        );
        for source in values(page, "src") {
            assert!(!source.contains(':'), "{name}: {source}");
        }
    }
}

#[test]
fn every_page_is_in_the_contents_and_marks_itself_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pages");
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let mut written: BTreeSet<String> = entries
        .filter_map(|n| Some(n.to_str()?.strip_suffix(".md")?.to_owned()))
        .collect();
    written.remove("SUMMARY");
    let served: BTreeSet<String> = pages()
        .map(|(name, _)| name.strip_suffix(".html").unwrap().to_owned())
        .collect();
    assert_eq!(
        written, served,
        "a page that SUMMARY.md does not list is not made"
    );
    for (name, page) in pages().filter(|(name, _)| *name != "404.html") {
        let (_, contents) = page.split_once("id=\"contents\"").unwrap();
        let (contents, _) = contents.split_once("</nav>").unwrap();
        let marked = format!("<a href=\"{name}\" aria-current=\"page\">");
        assert_eq!(contents.matches("aria-current").count(), 1, "{name}");
        assert!(contents.contains(&marked), "{name}");
    }
}

#[test]
fn files_are_found_by_their_names_and_nothing_else_is() {
    for file in FILES {
        assert_eq!(GuideFile::find(file.name).unwrap().name, file.name);
    }
    assert_eq!(GuideFile::find("").unwrap().name, "index.html");
    for name in [
        "nothing.html",
        "toc.html",
        "book.js",
        "theme/guide.js",
        "../Cargo.toml",
    ] {
        assert!(GuideFile::find(name).is_none(), "{name}");
    }
    let tags: BTreeSet<&str> = FILES.iter().map(|f| f.tag).collect();
    assert_eq!(tags.len(), FILES.len());
}

/// The index of the search is the largest of all, and is read whole.
#[test]
fn the_guide_is_small_enough_to_be_carried_along() {
    let bytes: usize = FILES.iter().map(|f| f.bytes.len()).sum();
    assert!(bytes < 6 << 20, "{bytes}");
}
