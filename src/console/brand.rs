//! The operator's name, logo and colour, for what their clients see: the portal and the way in.

mod colour;

use axum::response::Html;
use maud::{Markup, html};
use sha2::{Digest as _, Sha256};

use super::document::{mark, named};
use colour::Rgb;
use keystile_core::hex;
use keystile_model::error::{Code, Result, refuse};

/// Our own name.
const OURS: &str = "Keystile";
/// The longest name, in characters: it stands beside the logo on a telephone.
const LONGEST: usize = 40;
/// The largest logo, in bytes: every page shows it.
const LARGEST: usize = 256 * 1024;

/// A document in the operator's name.
pub fn document(brand: &Brand, title: &str, version: &str, body: Markup) -> Html<String> {
    named(title, brand.name(), version, brand.head(), body)
}

/// What the portal looks like.
#[derive(Clone, Default)]
pub struct Brand {
    name: Option<String>,
    logo: Option<Logo>,
    style: Option<String>,
    /// Of logo and style, so that browsers cache them until they change.
    version: String,
}

#[derive(Clone)]
struct Logo {
    kind: &'static str,
    bytes: Vec<u8>,
}

impl Brand {
    /// From the operator's name, the bytes of a logo, and a colour such as `#17594f`.
    ///
    /// # Errors
    /// If the name does not fit, the logo is neither PNG nor SVG, or text in the colour could not be
    /// read.
    pub fn new(name: Option<&str>, logo: Option<Vec<u8>>, colour: Option<&str>) -> Result<Self> {
        let name = name.map(checked_name).transpose()?;
        let logo = logo.map(Logo::new).transpose()?;
        let style = colour.map(Rgb::for_portal).transpose()?;
        let mut digest = Sha256::new();
        if let Some(logo) = &logo {
            digest.update(&logo.bytes);
        }
        digest.update(style.as_deref().unwrap_or_default());
        Ok(Self {
            version: hex::start(digest.finalize(), 6),
            name,
            logo,
            style,
        })
    }

    /// The operator's name, or ours.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(OURS)
    }

    /// Logo and name.
    pub fn mark(&self) -> Markup {
        html! {
            @match &self.logo {
                Some(_) => img.logo src={ "/console/logo?v=" (self.version) } alt="" height="26";
                None => (mark()),
            }
            (self.name())
        }
    }

    /// The logo: its type and its bytes.
    pub fn logo(&self) -> Option<(&'static str, &[u8])> {
        self.logo.as_ref().map(|l| (l.kind, l.bytes.as_slice()))
    }

    /// The colours.
    pub fn style(&self) -> Option<&str> {
        self.style.as_deref()
    }

    /// What the head of a page needs for it.
    pub fn head(&self) -> Markup {
        html! {
            @if self.style.is_some() { link rel="stylesheet" href={ "/console/brand.css?v=" (self.version) }; }
        }
    }
}

impl Logo {
    fn new(bytes: Vec<u8>) -> Result<Self> {
        let refused = |fact: &str| {
            let next = "name a PNG or SVG file of at most 256 KiB";
            refuse(Code::SettingInvalid, fact, next).about("portal_logo")
        };
        if bytes.len() > LARGEST {
            return Err(refused("the logo is too large"));
        }
        let start = String::from_utf8_lossy(bytes.get(..1024).unwrap_or(&bytes)).into_owned();
        let kind = match bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            true => "image/png",
            false if start.contains("<svg") => "image/svg+xml",
            false => return Err(refused("the logo is neither PNG nor SVG")),
        };
        Ok(Self { kind, bytes })
    }
}

fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    let fits = !name.is_empty() && name.chars().count() <= LONGEST;
    match fits && !name.contains(char::is_control) {
        true => Ok(name.to_owned()),
        false => Err(refuse(
            Code::SettingInvalid,
            "the name of the portal is empty, too long or holds control characters",
            format_args!("write at most {LONGEST} characters"),
        )
        .about("portal_name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_a_logo_and_a_colour_are_taken_or_refused() {
        let png = b"\x89PNG\r\n\x1a\nrest".to_vec();
        let brand = Brand::new(Some(" Acme API "), Some(png), Some("#7a1f5c")).unwrap();
        assert_eq!(brand.name(), "Acme API");
        assert!(brand.mark().into_string().contains("/console/logo?v="));
        assert_eq!(Brand::default().name(), "Keystile");
        let refused = |name, logo: Option<&[u8]>, colour| {
            let logo = logo.map(<[u8]>::to_vec);
            Brand::new(name, logo, colour).err().unwrap().to_string()
        };
        assert!(refused(Some(""), None, None).contains("name of the portal"));
        assert!(refused(None, Some(b"GIF89a"), None).contains("neither PNG nor SVG"));
        assert!(refused(None, Some(&[0; LARGEST + 1]), None).contains("too large"));
        assert!(refused(None, None, Some("#ffd400")).contains("contrast"));
        assert!(refused(None, None, Some("teal")).contains("`#17594f`"));
    }
}
