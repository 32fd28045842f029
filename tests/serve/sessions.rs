//! Sessions of the console, listed and ended over the command line.

use serde_json::Value;

use crate::remote::through;
use crate::server::{Server, token};
use crate::support::{Home, text, word};

/// A browser without a window: a cookie.
pub struct Browser<'s> {
    server: &'s Server,
    agent: ureq::Agent,
    cookie: String,
}

impl<'s> Browser<'s> {
    /// Signs in with a token.
    pub fn sign_in(server: &'s Server, token: &str) -> Self {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .into();
        let answer = agent
            .post(format!("{}/console/sign-in", server.url()))
            .header("origin", server.url())
            .content_type("application/x-www-form-urlencoded")
            .send(format!("token={token}"))
            .unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Self {
            server,
            agent,
            cookie,
        }
    }

    /// Where a page leads, if it is not shown.
    fn led_to(&self) -> Option<String> {
        self.led_to_at(self.server)
    }

    /// The same at another server.
    pub fn led_to_at(&self, server: &Server) -> Option<String> {
        let page = self
            .agent
            .get(format!("{}/console/clients", server.url()))
            .header("cookie", &self.cookie)
            .call()
            .unwrap();
        let location = page.headers().get("location");
        location.map(|to| to.to_str().unwrap().to_owned())
    }
}

#[test]
fn a_session_is_listed_and_ended_over_the_command_line() {
    let home = Home::new();
    let (owner, issuer) = (token(&home, "owner"), token(&home, "issuer"));
    let server = Server::start(&home, &[]);
    let (one, two) = (
        Browser::sign_in(&server, &issuer),
        Browser::sign_in(&server, &owner),
    );
    assert_eq!((one.led_to(), two.led_to()), (None, None));

    let list = ["session", "list"];
    let json = [&list[..], &["--output", "json"]].concat();
    let listed = || -> Vec<Value> {
        let output = through(&home, &server, &owner, &json);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let all = listed();
    assert_eq!(all.len(), 2, "{all:?}");
    let of_issuer = |s: &&Value| word(s, "user").starts_with("token issuer (");
    let session = all.iter().find(of_issuer).unwrap();
    let id = word(session, "id");
    let table = text(&through(&home, &server, &owner, &list).stdout);
    let row = table.lines().find(|l| l.contains(&id)).unwrap();
    for shown in [&word(session, "user"), "127.0.0.1"] {
        assert!(row.contains(shown), "{table}");
    }
    assert!(!table.contains(one.cookie.split_once('=').unwrap().1));

    // Not by everybody, and only once.
    let end = ["session", "end", &id];
    assert_eq!(
        through(&home, &server, &issuer, &end).status.code(),
        Some(1)
    );
    assert_eq!(one.led_to(), None);
    let ended = through(&home, &server, &owner, &end);
    let words = format!("session {id} of {} ended\n", word(session, "user"));
    assert_eq!(text(&ended.stdout), words, "{}", text(&ended.stderr));
    let door = one.led_to().unwrap();
    assert!(door.starts_with("/console/sign-in"), "{door}");
    assert_eq!(two.led_to(), None, "nobody else's");
    assert_eq!(listed().len(), 1);
    let again = through(&home, &server, &owner, &end);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains(&id), "{}", text(&again.stderr));
}
