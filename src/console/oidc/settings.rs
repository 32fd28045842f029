//! What an operator sets.

use axum::http::Uri;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::wire::Secret;
use std::path::PathBuf;

use super::roles::RoleRule;

/// Where the provider sends people back to.
const BACK: &str = "/console/oidc/callback";

/// Where sign-in starts.
pub const BEGIN: &str = "/console/oidc";

/// The settings of sign-in.
#[derive(Clone)]
pub struct SignInSettings {
    /// The provider, exactly as it calls itself.
    pub issuer: String,
    /// Our client id at the provider.
    pub client: String,
    /// Our client secret at the provider; none for a public client.
    pub secret: Option<Secret>,
    /// `https://keystile.example.com`: our address for browsers.
    pub console: String,
    /// The scopes to request besides `openid`.
    pub scopes: Vec<String>,
    /// The rules for roles.
    pub rules: Vec<RoleRule>,
    /// Authorities to trust in place of the public ones.
    pub ca: Option<PathBuf>,
    /// Hosts beside the issuer's own that its document may name.
    pub hosts: Vec<String>,
}

impl SignInSettings {
    /// Where the provider sends people back to, as it has to be registered there.
    pub fn redirect(&self) -> String {
        format!("{}{BACK}", self.console)
    }

    pub(super) fn scopes(&self) -> String {
        let asked = self.scopes.iter().filter(|s| *s != "openid");
        asked.fold("openid".to_owned(), |all, s| format!("{all} {s}"))
    }

    /// Checks an endpoint from the provider's document: it has to be on the issuer's own host, or
    /// on one that the operator listed, because codes and our secret are sent there.
    ///
    /// # Errors
    /// If it is elsewhere, or not over TLS although the issuer is.
    pub fn checked_endpoint(&self, field: &str, address: &str) -> Result<()> {
        let address = checked(address)?;
        let parsed = |text: &str| text.parse::<Uri>().unwrap_or_default();
        let (issuer, named) = (parsed(&self.issuer), parsed(&address));
        let host = named.host().unwrap_or_default();
        let listed = self.hosts.iter().map(String::as_str).chain(issuer.host());
        if !listed.into_iter().any(|h| h.eq_ignore_ascii_case(host)) {
            return Err(refuse(
                Code::SettingInvalid,
                format_args!("`{field}` is on `{host}`, which is not the issuer's host"),
                format_args!(
                    "if that host is the provider's, start the server with `--oidc-host {host}`"
                ),
            ));
        }
        if named.scheme_str() != Some("https") && issuer.scheme_str() == Some("https") {
            return Err(refuse(
                Code::SettingInvalid,
                format_args!("`{field}` does not use TLS although the issuer does"),
                "tell the administrator of the identity provider",
            ));
        }
        Ok(())
    }

    /// The provider's host, for the button.
    pub fn name(&self) -> String {
        let issuer: Option<Uri> = self.issuer.parse().ok();
        let host = issuer.as_ref().and_then(Uri::host);
        host.unwrap_or(&self.issuer).to_owned()
    }
}

/// An address over TLS, or on this machine.
///
/// # Errors
/// If it is something else.
pub fn checked(address: &str) -> Result<String> {
    let wrong = || {
        refuse(
            Code::InvalidAddress,
            format_args!("`{address}` does not use TLS"),
            "write it as `https://host/path`; `http://` is for providers on this machine",
        )
    };
    let parsed: Uri = address.parse().map_err(|_| wrong())?;
    let host = parsed.host().unwrap_or_default();
    let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let safe = match parsed.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => here,
        _ => false,
    };
    let plain = address.bytes().all(|b| b.is_ascii_graphic()) && !address.contains(['@', '#']);
    if !safe || !plain {
        return Err(wrong());
    }
    Ok(address.to_owned())
}

/// Our address for browsers, without a path.
///
/// # Errors
/// If it is something else.
pub fn checked_console(address: &str) -> Result<String> {
    let origin = checked(address)?;
    let origin = origin.strip_suffix('/').unwrap_or(&origin);
    if origin.matches('/').count() != 2 || origin.contains('?') {
        return Err(refuse(
            Code::InvalidAddress,
            format_args!("`{address}` has a path"),
            "write `https://host` or `https://host:port`: the console is at `/console` there",
        ));
    }
    Ok(origin.to_ascii_lowercase())
}
