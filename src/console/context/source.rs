//! Where a request comes from: its origin, and the cookies that it is answered with.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use keystile_model::error::{Code, defect, refuse};
use keystile_server::listen::HttpPeer;
use keystile_server::log::RequestId;
use keystile_server::problem::Problem;
use keystile_server::request_connection::Presence;
use std::net::IpAddr;

use super::super::session::SessionId;

/// Where a request comes from.
pub struct RequestSource {
    /// The address of the browser, or of a proxy in front of us.
    pub address: IpAddr,
    /// Id of the request.
    pub request: String,
    /// The browser uses TLS.
    pub secure: bool,
    /// `keystile.example.com:8443`: our authority for the browser.
    pub authority: String,
    /// Its connection.
    pub presence: Presence,
}

impl RequestSource {
    /// Reads it from a request.
    ///
    /// # Errors
    /// If its origin is unknown.
    pub fn from_head(head: &Parts) -> Result<Self, Problem> {
        let peer = head
            .extensions
            .get::<HttpPeer>()
            .ok_or_else(|| defect("the origin of the request is unknown"))?;
        let authority = match head.uri.authority() {
            Some(authority) => authority.as_str(),
            None => text(&head.headers, header::HOST).unwrap_or_default(),
        };
        Ok(Self {
            address: peer.address.ip(),
            request: head
                .extensions
                .get::<RequestId>()
                .map_or(String::new(), |id| id.0.clone()),
            secure: secure(peer, &head.headers),
            authority: authority.to_owned(),
            presence: peer.presence.clone(),
        })
    }

    /// `https://keystile.example.com`.
    pub fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Checks that a form was sent by one of our own pages. Browsers report this for every form,
    /// and scripts of other sites cannot change it.
    ///
    /// # Errors
    /// 403.
    pub fn is_own(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let origin = text(headers, header::ORIGIN).unwrap_or_default();
        let host = origin.split_once("://").map(|(_, host)| host);
        if !self.authority.is_empty() && host == Some(self.authority.as_str()) {
            return Ok(());
        }
        Err(refuse(
            Code::FormForeign,
            "the form was not sent by a page of this server",
            "open the console again and submit the form from there; a proxy in front of the server has to pass on `Host`",
        )
        .into())
    }

    /// The cookie's name. With `__Host-`, neither another host of the domain nor a connection
    /// without TLS can set it.
    fn cookie(&self) -> &'static str {
        match self.secure {
            true => "__Host-keystile",
            false => "keystile",
        }
    }

    /// Sets the session cookie; an empty one deletes it.
    pub fn set_cookie(&self, session: Option<&SessionId>, response: &mut Response) {
        let (value, age) = match session {
            Some(id) => (id.expose_secret(), ""),
            None => ("", "; Max-Age=0"),
        };
        let cookie = self.made(self.cookie(), value, "Strict", age);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }

    /// The name of the cookie for sign-in through an identity provider.
    pub fn flow_name(&self) -> &'static str {
        match self.secure {
            true => "__Host-keystile-flow",
            false => "keystile-flow",
        }
    }

    /// That cookie, for this many seconds. It has to be sent after a redirect from another site, so
    /// it is `Lax`.
    pub fn flow_cookie(&self, value: Option<&str>, seconds: u64) -> HeaderValue {
        let age = format!("; Max-Age={seconds}");
        self.made(self.flow_name(), value.unwrap_or_default(), "Lax", &age)
    }

    pub(super) fn made(&self, name: &str, value: &str, site: &str, age: &str) -> HeaderValue {
        let secure = if self.secure { "; Secure" } else { "" };
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite={site}{secure}{age}");
        // Names and values are ours, and valid in a header.
        let cookie = HeaderValue::from_str(&cookie);
        let mut cookie = cookie.unwrap_or(HeaderValue::from_static(""));
        cookie.set_sensitive(true);
        cookie
    }

    /// The session that a browser shows.
    pub fn session(&self, headers: &HeaderMap) -> Option<SessionId> {
        self.shown(headers, self.cookie()).map(SessionId::new)
    }

    /// The value of a cookie.
    pub fn shown<'h>(&self, headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
        let pairs = headers.get_all(header::COOKIE).iter();
        pairs
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }
}

/// A proxy's claim is trusted: claiming TLS only makes cookies stricter.
fn secure(peer: &HttpPeer, headers: &HeaderMap) -> bool {
    let forwarded = headers
        .get("x-forwarded-proto")
        .and_then(|v| v.to_str().ok());
    peer.tls || forwarded == Some("https")
}

pub(super) fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
