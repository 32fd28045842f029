//! The guide, as `keystilectl serve` shows it at `/docs/guide/`. `build.rs` makes it from `pages/`.

/// A file of the guide.
#[derive(Debug)]
pub struct GuideFile {
    /// Below `/docs/guide/`.
    pub name: &'static str,
    /// Its `ETag`, which changes with its content.
    pub tag: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
}

/// All of them, by name.
pub static FILES: &[GuideFile] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

impl GuideFile {
    /// The one with this name; the first page, if it is empty.
    pub fn find(name: &str) -> Option<&'static GuideFile> {
        let name = if name.is_empty() { "index.html" } else { name };
        let at = FILES.binary_search_by(|file| file.name.cmp(name)).ok()?;
        FILES.get(at)
    }

    /// What it is, for `Content-Type`.
    pub fn kind(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        }
    }

    /// Whether its name changes with its content, so that browsers need not ask again.
    pub fn is_named_by_content(&self) -> bool {
        self.name.ends_with(".css") || self.name.ends_with(".js")
    }
}

#[cfg(test)]
mod tests;
