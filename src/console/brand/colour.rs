//! A colour for links and buttons, and whether text in it can be read: the contrast of WCAG 2.2.

use keystile_model::error::{Code, Result, refuse};

/// The least contrast of text, by WCAG 2.2 (1.4.3).
const LEAST: f64 = 4.5;
/// The darkest background of light pages: the wash behind the current line of the menu.
const WASH: f64 = 0.10;
/// The backgrounds of dark pages, as in `style.css`.
const DARK_PAPER: Rgb = Rgb(0x1a, 0x21, 0x1f);
const DARK_INK: Rgb = Rgb(0x0d, 0x1a, 0x17);
const DARK_WASH: f64 = 0.15;
const WHITE: Rgb = Rgb(255, 255, 255);
/// The background of light pages.
const GROUND: Rgb = Rgb(0xf6, 0xf6, 0xf3);
/// Steps in which a colour is made lighter or darker.
const STEPS: u32 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rgb(u8, u8, u8);

impl Rgb {
    /// The style of the portal in a colour.
    pub(super) fn for_portal(text: &str) -> Result<String> {
        let Some(own) = Self::parse(text) else {
            return Err(refuse(
                Code::SettingInvalid,
                format_args!("`{text}` is not a colour"),
                "write it as `#17594f`",
            )
            .about("portal_color"));
        };
        if own.on_light() < LEAST {
            let better = own.toward(Self(0, 0, 0), |c| c.on_light() >= LEAST);
            return Err(refuse(
                Code::SettingInvalid,
                format_args!(
                    "text in `{text}` could not be read: its contrast to the page is {:.1}, and {LEAST} is the least",
                    own.on_light()
                ),
                format_args!("use a darker one, such as `{}`", better.text()),
            )
            .about("portal_color"));
        }
        let light = own.toward(WHITE, |c| c.on_dark() >= LEAST);
        Ok(format!(
            ":root {{ --accent: {}; --accent-ink: #ffffff; --accent-wash: {}; }}\n\
             @media (prefers-color-scheme: dark) {{ :root {{ --accent: {}; --accent-ink: {}; --accent-wash: {}; }} }}\n",
            own.text(),
            own.mixed(WHITE, 1.0 - WASH).text(),
            light.text(),
            DARK_INK.text(),
            light.mixed(DARK_PAPER, 1.0 - DARK_WASH).text(),
        ))
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|d| d.len() == 6)?;
        let part = |i| u8::from_str_radix(digits.get(i..i + 2)?, 16).ok();
        Some(Self(part(0)?, part(2)?, part(4)?))
    }

    fn text(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }

    /// The least contrast that it has on a light page, where buttons are white on it.
    fn on_light(self) -> f64 {
        let wash = self.mixed(WHITE, 1.0 - WASH);
        let grounds = [WHITE, GROUND, wash];
        grounds
            .map(|g| self.contrast(g))
            .into_iter()
            .fold(f64::MAX, f64::min)
    }

    /// The least contrast that it has on a dark page, where buttons are dark on it.
    fn on_dark(self) -> f64 {
        let wash = self.mixed(DARK_PAPER, 1.0 - DARK_WASH);
        let grounds = [DARK_PAPER, DARK_INK, wash];
        grounds
            .map(|g| self.contrast(g))
            .into_iter()
            .fold(f64::MAX, f64::min)
    }

    /// The nearest colour on the way to another that is good enough.
    fn toward(self, end: Self, is_good: impl Fn(Self) -> bool) -> Self {
        let mut steps = (0..=STEPS).map(|n| self.mixed(end, f64::from(n) / f64::from(STEPS)));
        steps.find(|c| is_good(*c)).unwrap_or(end)
    }

    /// With a share of another.
    fn mixed(self, other: Self, share: f64) -> Self {
        let one = |a: u8, b: u8| {
            let mixed = f64::from(a) * (1.0 - share) + f64::from(b) * share;
            // Between two bytes.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is rounded and between 0 and 255"
            )]
            let byte = mixed.round() as u8;
            byte
        };
        Self(
            one(self.0, other.0),
            one(self.1, other.1),
            one(self.2, other.2),
        )
    }

    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn luminance(self) -> f64 {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            match c <= 0.040_45 {
                true => c / 12.92,
                false => ((c + 0.055) / 1.055).powf(2.4),
            }
        };
        0.2126 * linear(self.0) + 0.7152 * linear(self.1) + 0.0722 * linear(self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_that_of_the_standard() {
        // The values of the WCAG working group and of the usual checkers.
        let contrast = |a: &str, b: &str| Rgb::parse(a).unwrap().contrast(Rgb::parse(b).unwrap());
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 0.001);
        assert!((contrast("#777777", "#ffffff") - 4.48).abs() < 0.01);
        assert!((contrast("#767676", "#ffffff") - 4.54).abs() < 0.01);
    }

    #[test]
    fn a_colour_can_be_read_on_light_and_dark_pages_or_is_refused_with_one_that_can() {
        let (mut taken, mut refused) = (0, 0);
        let parts = || (0..=255).step_by(15).map(|n: u16| u8::try_from(n).unwrap());
        for (r, g) in parts().flat_map(|r| parts().map(move |g| (r, g))) {
            for b in parts() {
                let own = Rgb(r, g, b);
                match Rgb::for_portal(&own.text()) {
                    Ok(style) => {
                        taken += 1;
                        let (_, dark) = style.split_once("dark").unwrap();
                        let (_, accent) = dark.split_once("--accent: ").unwrap();
                        let accent = Rgb::parse(&accent[..7]).unwrap();
                        assert!(accent.contrast(DARK_PAPER) >= LEAST, "{style}");
                        assert!(own.contrast(WHITE) >= LEAST, "{style}");
                    }
                    Err(e) => {
                        refused += 1;
                        let words = e.to_string();
                        let (_, better) = words.rsplit_once("such as `").unwrap();
                        assert!(Rgb::for_portal(&better[..7]).is_ok(), "{words}");
                    }
                }
            }
        }
        assert!(taken > 1_000 && refused > 1_000, "{taken} {refused}");
    }
}
