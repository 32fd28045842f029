//! Names and words for what a decision is traced with.

use crate::policy::Auth;

pub(super) fn name_of(names: &[String], number: usize) -> &str {
    names.get(number).map_or("", String::as_str)
}

pub(super) fn auth_word(auth: Auth) -> &'static str {
    match auth {
        Auth::Required => "required",
        Auth::Optional => "optional",
        Auth::None => "none",
    }
}
