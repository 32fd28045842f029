//! Makes the book with mdBook, and lists what is served of it. Everything else that mdBook writes
//! (its own scripts, styles and fonts) stays behind: `theme/` takes their place.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use mdbook_driver::MDBook;

/// Pages outside of this folder that a chapter includes.
const INCLUDED: [&str; 1] = ["../../SECURITY.md"];

fn main() -> Result<(), Box<dyn Error>> {
    for path in ["build.rs", "book.toml", "pages", "theme"]
        .iter()
        .chain(&INCLUDED)
    {
        tell_cargo(path);
    }
    let (here, out) = (folder("CARGO_MANIFEST_DIR")?, folder("OUT_DIR")?);
    let made = out.join("guide");
    // mdBook does not say which file it misses.
    let summary = fs::read_to_string(here.join("pages/SUMMARY.md"))?;
    for page in summary
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        if !here.join("pages").join(page).exists() {
            return Err(format!("SUMMARY.md lists {page}, which does not exist").into());
        }
    }
    let mut book = MDBook::load(&here)?;
    book.config.build.build_dir.clone_from(&made);
    book.build()?;

    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&made)?.chain(fs::read_dir(made.join("theme"))?) {
        let path = entry?.path();
        let name = path
            .strip_prefix(&made)?
            .to_str()
            .ok_or("a name is not UTF-8")?;
        if is_served(name) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    let mut table = String::from("&[\n");
    for name in &names {
        let path = made.join(name);
        if name.ends_with(".html") {
            fs::write(&path, finished(name, &fs::read_to_string(&path)?))?;
        }
        let tag = digest(&fs::read(&path)?);
        let place = path.display().to_string();
        writeln!(
            table,
            "    GuideFile {{ name: {name:?}, tag: {tag:?}, bytes: include_bytes!({place:?}) }},"
        )?;
    }
    fs::write(out.join("files.rs"), table + "]\n")?;
    Ok(())
}

fn tell_cargo(path: &str) {
    println!("cargo::rerun-if-changed={path}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "how Cargo speaks to a build script"
)]
fn folder(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    Ok(Path::new(&std::env::var_os(name).ok_or(name)?).to_owned())
}

/// Pages, pictures, our own style and script, and what the search needs: its index, and
/// `elasticlunr.min.js`, whose licence (MIT) stands in its first lines.
fn is_served(name: &str) -> bool {
    let page = name.ends_with(".html") && name != "toc.html";
    let ours =
        name.starts_with("theme/guide-") || name.ends_with(".svg") && !name.starts_with("favicon");
    page || ours || name.starts_with("searchindex-") || name.starts_with("elasticlunr-")
}

/// With the links of included pages as they are here, without inline styles, which the policy of the pages forbids, and with the page marked in the
/// list of contents.
fn finished(name: &str, page: &str) -> String {
    page.replace("href=\"src/book/pages/", "href=\"")
        .replace(" style=\"text-align: right\"", " class=\"right\"")
        .replace(" style=\"text-align: center\"", " class=\"middle\"")
        .replace(" style=\"text-align: left\"", "")
        // mdBook puts the name of a part into an item of its own inside of an item.
        .replace(
            "<li class=\"chapter-item expanded \"><li class",
            "<li class",
        )
        .replace("</li></li>", "</li>")
        .replacen(
            &format!("<a href=\"{name}\">"),
            &format!("<a href=\"{name}\" aria-current=\"page\">"),
            1,
        )
}

fn digest(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}
