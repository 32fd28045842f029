//! A provider, a console behind it, and somebody who visits.

use serde_json::Value;
use std::net::TcpListener;

use crate::idp::{CLIENT, Idp};
use crate::oidc::SECRET;
use crate::server::Server;
use crate::support::Home;

/// A server that lets people in over a provider.
pub(super) struct Site {
    pub(super) home: Home,
    pub(super) server: Server,
    pub(super) idp: Idp,
    /// How people are let in, but for the port.
    sign_in: Vec<String>,
}

impl Site {
    pub(super) fn new() -> Self {
        Self::of(Home::new())
    }

    pub(super) fn of(home: Home) -> Self {
        // The provider has to know beforehand where it sends people back to.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let console = format!("http://{address}");
        let idp = Idp::start(&format!("{console}/console/oidc/callback"));
        std::fs::write(home.path("oidc.secret"), format!("{SECRET}\n")).unwrap();
        let sign_in = [
            "--console-url",
            &console,
            "--oidc-issuer",
            idp.issuer(),
            "--oidc-client-id",
            CLIENT,
            "--oidc-secret-file",
            "oidc.secret",
            "--oidc-role",
            "groups:platform=owner",
            "--oidc-role",
            "groups:audit=auditor",
            "--oidc-role",
            "email:bob@example.com=issuer",
        ];
        let server = Server::start(&home, &[&["--listen", &address], &sign_in[..]].concat());
        let sign_in = sign_in.map(str::to_owned).to_vec();
        Self {
            home,
            server,
            idp,
            sign_in,
        }
    }

    /// Another server of its store, on another machine and behind the same address.
    pub(super) fn another(&self, home: &Home) -> Server {
        self.another_for(home, &[])
    }

    /// The same, with these arguments instead of the ones that are `from`.
    pub(super) fn another_for(&self, home: &Home, instead: &[(&str, &str)]) -> Server {
        std::fs::write(home.path("oidc.secret"), format!("{SECRET}\n")).unwrap();
        let args = self.sign_in.iter().map(String::as_str);
        let args = args.map(|arg| {
            let found = instead.iter().find(|(from, _)| *from == arg);
            found.map_or(arg, |(_, to)| to)
        });
        Server::start(home, &args.collect::<Vec<_>>())
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// What the audit log holds of sign-ins, the latest first.
    pub(super) fn log(&self) -> Vec<Value> {
        let listed = self
            .home
            .json(&["audit", "list", "--action", "console.sign_in"]);
        listed.as_array().unwrap().clone()
    }
}

/// A browser without a window: it keeps cookies and follows nothing by itself.
#[derive(Default)]
pub(super) struct Visitor {
    pub(super) cookies: Vec<(String, String)>,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: String,
    pub(super) cookies: Vec<String>,
    pub(super) text: String,
}

impl Answer {
    /// Whether somebody was let in by it.
    pub(super) fn lets_in(&self) -> bool {
        self.cookies.iter().any(|c| c.starts_with("keystile="))
    }

    pub(super) fn is_refused(&self, status: u16, words: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(!self.lets_in(), "{:?}", self.cookies);
        assert!(self.text.contains(words), "no `{words}` in {}", self.text);
    }
}

impl Visitor {
    pub(super) fn get(&mut self, url: &str) -> Answer {
        self.send(ureq::http::Request::get(url), url, "")
    }

    pub(super) fn post(&mut self, url: &str, form: &str) -> Answer {
        let origin = url.split('/').take(3).collect::<Vec<_>>().join("/");
        let request = ureq::http::Request::post(url)
            .header("origin", origin)
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request, url, form)
    }

    pub(super) fn send(
        &mut self,
        request: ureq::http::request::Builder,
        url: &str,
        body: &str,
    ) -> Answer {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .into();
        let shown: Vec<String> = self
            .cookies
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        let request = request.header("cookie", shown.join("; "));
        let mut answer = agent.run(request.body(body.to_owned()).unwrap()).unwrap();
        let all = |name: &str| {
            let values = answer.headers().get_all(name).iter();
            values
                .map(|v| v.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let (cookies, location) = (all("set-cookie"), all("location"));
        for cookie in &cookies {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(n, _)| n != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        Answer {
            status: answer.status().as_u16(),
            location: location.first().cloned().unwrap_or_default(),
            cookies,
            text: answer
                .body_mut()
                .read_to_string()
                .unwrap_or_else(|e| panic!("{url}: {e}")),
        }
    }

    /// Sets out, and clicks at the provider; gives where that leads.
    pub(super) fn go_and_click(&mut self, site: &Site, from: &str, link: &str) -> String {
        let there = self.get(&site.url(from));
        assert_eq!(there.status, 303, "{}", there.text);
        let page = Visitor::default().get(&there.location);
        assert_eq!(page.status, 200, "{}", page.text);
        let (_, rest) = page
            .text
            .split_once(&format!("id=\"{link}\" href=\""))
            .unwrap();
        rest.split_once('"').unwrap().0.replace("&amp;", "&")
    }

    /// The whole way.
    pub(super) fn sign_in(&mut self, site: &Site) -> Answer {
        let back = self.go_and_click(site, "/console/oidc", "in");
        self.get(&back)
    }
}

/// One field of a URL's query.
pub(super) fn of(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').unwrap();
    let mut pairs = query.split('&').filter_map(|p| p.split_once('='));
    pairs.find(|(n, _)| *n == name).unwrap().1.to_owned()
}

pub(super) fn with(url: &str, name: &str, value: &str) -> String {
    url.replace(
        &format!("{name}={}", of(url, name)),
        &format!("{name}={value}"),
    )
}
