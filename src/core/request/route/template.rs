//! Path templates as they are written.

use core::fmt;

use super::comparison::has_capitals;
use super::pattern::Pattern;
use crate::advice::Advice;
use crate::request::path;

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(String),
    Pattern(Pattern),
    Parameter,
}

/// What may end a template and match everything that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Nothing,
    /// `{*rest}`: any number of segments, none included.
    Any,
    /// `{rest+}`: one segment or more.
    Some,
}

/// A path template such as `/v1/users/{id}`, `/reports/{id}.json` or `/static/{*rest}`.
///
/// `{name}` takes one segment, or one character or more of a segment with text around it.
/// `{*rest}`, at the end only, takes any number of segments, none included, so that a protected
/// subtree includes its own root. `{rest+}`, at the end only, takes one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) segments: Vec<Segment>,
    pub(super) tail: Tail,
    /// Written with a slash at its end.
    pub(super) slash: bool,
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// It does not begin with `/`.
    NotAbsolute,
    /// A literal segment with several readings, or with none.
    NotCanonical(String),
    /// `{` or `}` that do not hold the name of a parameter.
    Brace(String),
    /// Two parameters without text between them.
    Adjacent(String),
    /// `{*rest}` or `{rest+}` stands before the end.
    RestNotLast(String),
}

impl TemplateError {
    /// The fact and the next step.
    pub fn advice(&self) -> Advice {
        match self {
            Self::NotAbsolute => "a path begins with `/`".into(),
            Self::NotCanonical(s) => Advice::new(
                format!(
                    "segment `{s}` could be read in several ways, and requests for it would be refused"
                ),
                "write it without `.`/`..` segments, empty segments, `;`, `?`, `\\`, escapes of those, `:$` and dots or blanks at its end",
            ),
            Self::Brace(s) => Advice::new(
                format!(
                    "segment `{s}`: braces hold the name of a parameter, of letters, digits and `_`"
                ),
                "write `/users/{id}` or `/reports/{id}.json`; `{*rest}` and `{rest+}` have to be alone in the last segment",
            ),
            Self::Adjacent(s) => Advice::new(
                format!(
                    "segment `{s}`: it is unclear where one parameter ends and the next begins"
                ),
                "write text between them, as in `{from}-{to}`, or one parameter for both",
            ),
            Self::RestNotLast(s) => {
                format!("`{s}` takes all that follows, so it has to come last").into()
            }
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.advice().fmt(f)
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`], naming the segment.
    #[inline(never)]
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let body = text.strip_prefix('/').ok_or(TemplateError::NotAbsolute)?;
        let (body, slash) = match body.strip_suffix('/') {
            Some(body) => (body, true),
            None => (body, false),
        };
        let mut template = Self {
            segments: Vec::new(),
            tail: Tail::Nothing,
            slash,
        };
        if body.is_empty() {
            return Ok(template);
        }
        let mut taken = "";
        for segment in body.split('/') {
            if template.tail != Tail::Nothing {
                return Err(TemplateError::RestNotLast(taken.to_owned()));
            }
            taken = segment;
            match tail(segment) {
                Tail::Nothing => template.segments.push(parsed(segment)?),
                tail => template.tail = tail,
            }
        }
        Ok(template)
    }

    /// Whether its text has a capital letter.
    pub(super) fn has_capitals(&self) -> bool {
        self.segments.iter().any(|segment| match segment {
            Segment::Literal(text) => has_capitals(text),
            Segment::Pattern(pattern) => pattern.texts().any(has_capitals),
            Segment::Parameter => false,
        })
    }

    /// Whether it has a parameter that some readers let be empty.
    pub(super) fn may_be_empty(&self) -> bool {
        let mut segments = self.segments.iter();
        self.tail == Tail::Some || segments.any(|segment| matches!(segment, Segment::Pattern(_)))
    }
}

impl fmt::Display for Template {
    /// The shape, parameter names left out: equal shapes match the same paths.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for s in &self.segments {
            match s {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Pattern(pattern) => write!(f, "/{pattern}")?,
                Segment::Parameter => f.write_str("/{}")?,
            }
        }
        match self.tail {
            Tail::Any => f.write_str("/{*}"),
            Tail::Some => f.write_str("/{+}"),
            Tail::Nothing if self.segments.is_empty() => f.write_str("/"),
            Tail::Nothing => Ok(()),
        }
    }
}

#[inline(never)]
fn tail(segment: &str) -> Tail {
    let inner = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
    let is_name = |name: Option<&str>| name.is_some_and(is_parameter_name);
    match inner {
        Some(inner) if is_name(inner.strip_prefix('*')) => Tail::Any,
        Some(inner) if is_name(inner.strip_suffix('+')) => Tail::Some,
        _ => Tail::Nothing,
    }
}

fn is_parameter_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A segment that takes no more than one.
#[inline(never)]
fn parsed(segment: &str) -> Result<Segment, TemplateError> {
    let not_canonical = || TemplateError::NotCanonical(segment.to_owned());
    let texts = texts(segment)?;
    let Some((before, behind)) = texts.split_first() else {
        return Err(not_canonical());
    };
    let Some((after, between)) = behind.split_last() else {
        let literal = path::literal(before).ok_or_else(not_canonical)?;
        return Ok(Segment::Literal(literal));
    };
    if between.is_empty() && before.is_empty() && after.is_empty() {
        return Ok(Segment::Parameter);
    }
    if between.iter().any(|text| text.is_empty()) {
        return Err(TemplateError::Adjacent(segment.to_owned()));
    }
    // Read as a whole, with a letter for each parameter, so that a dot does not count as a segment.
    path::literal(&texts.join("x")).ok_or_else(not_canonical)?;
    let text = |text: &&str| path::literal_text(text).ok_or_else(not_canonical);
    Ok(Segment::Pattern(Pattern {
        before: text(before)?,
        between: between.iter().map(text).collect::<Result<_, _>>()?,
        after: text(after)?,
    }))
}

/// What stands before, between and behind the parameters of a segment.
#[inline(never)]
fn texts(segment: &str) -> Result<Vec<&str>, TemplateError> {
    let brace = || TemplateError::Brace(segment.to_owned());
    let mut out = Vec::new();
    let mut rest = segment;
    while let Some((text, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or_else(brace)?;
        if !is_parameter_name(name) {
            return Err(brace());
        }
        out.push(text);
        rest = behind;
    }
    out.push(rest);
    match out.iter().any(|text| text.contains('}')) {
        true => Err(brace()),
        false => Ok(out),
    }
}
