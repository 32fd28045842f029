//! How a reader compares paths with templates.

/// One of these ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// A trailing slash is ignored, and `/A` is not `/a`.
    Usual,
    /// `/a` is not `/a/` either.
    MindsSlash,
    /// `/A` is `/a`, unless another template is written that way: Express, ASP.NET, IIS.
    IgnoresCase,
    /// `/.json` fits `/{id}.json`, and `/a/` fits `/a/{rest+}`: readers whose parameters may be
    /// empty, such as `.*` in a regular expression, `*` in a file pattern, `{p:path}` of Starlette.
    TakesNothing,
    /// Both: `/.JSON` fits `/{id}.json`.
    IgnoresCaseAndTakesNothing,
}

impl Comparison {
    pub(super) fn ignores_case(self) -> bool {
        matches!(self, Self::IgnoresCase | Self::IgnoresCaseAndTakesNothing)
    }

    pub(super) fn takes_nothing(self) -> bool {
        matches!(self, Self::TakesNothing | Self::IgnoresCaseAndTakesNothing)
    }

    pub(super) fn minding_case(self) -> Self {
        match self {
            Self::IgnoresCase => Self::Usual,
            Self::IgnoresCaseAndTakesNothing => Self::TakesNothing,
            other => other,
        }
    }
}

/// Escapes are in upper case, and count as capitals: an unnecessary check does no harm.
pub(crate) fn has_capitals(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_uppercase())
}
