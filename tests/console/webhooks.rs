//! What an owner does about a receiver that fails, on both screens.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::browser::{Browser, DESK, PHONE, Screen};
use crate::pages::sign_in;
use crate::server::{Server, token};
use crate::support::{Home, word};

/// A receiver that answers with the status of the moment, and keeps the events that it was sent.
struct Receiver {
    url: String,
    answer: Arc<AtomicU16>,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn new(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let answer = Arc::new(AtomicU16::new(status));
        let events = Arc::new(Mutex::new(Vec::new()));
        let (status, kept) = (Arc::clone(&answer), Arc::clone(&events));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) < 3 {
                        break;
                    }
                    if let Some((name, value)) = line.split_once(':')
                        && name.eq_ignore_ascii_case("content-length")
                    {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() || length == 0 {
                    continue;
                }
                kept.lock()
                    .unwrap()
                    .push(serde_json::from_slice(&body).unwrap());
                let status = status.load(Ordering::SeqCst);
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                let _ = reader.get_mut().write_all(head.as_bytes());
            }
        });
        Self {
            url,
            answer,
            events,
        }
    }

    fn kinds(&self) -> Vec<String> {
        let all = self.events.lock().unwrap();
        all.iter().map(|e| word(e, "type")).collect()
    }
}

fn a_receiver_in_trouble(screen: Screen) {
    let home = Home::new();
    let receiver = Receiver::new(500);
    let allowed = ["--webhook-allow", "127.0.0.0/8"];
    let owner = token(&home, "owner");
    let server = Server::start(&home, &allowed);
    let browser = Browser::start(screen);
    let b = &browser;
    sign_in(b, &server, &owner);
    let page = format!("{}/console/webhooks", server.url());
    b.go(&page);

    // An event that does not exist is refused, with the one that was meant.
    b.write("#f-name", "siem");
    b.write("#f-url", &receiver.url);
    b.write("#f-events", "key.revoked");
    b.follow("section[aria-labelledby=new] button");
    let fault = b.text("#f-events-fault");
    assert!(
        fault.contains("Did you mean key.revoke?") || fault.contains("did you mean key.revoke?"),
        "{fault}"
    );
    b.judge("webhook-event-refused");
    b.write("#f-events", "key.revoke");
    b.follow("section[aria-labelledby=new] button");
    b.follow("main .button");
    assert!(b.text("tbody").contains("nothing sent yet"));

    b.follow("tbody th a");
    assert!(b.text(".empty").contains("A test event shows"));
    b.judge("webhook-new");
    b.follow("form[action$='/test'] button");
    assert!(b.text(".note.good").contains("on its way"));
    b.until("the answer", || {
        b.go(&format!("{page}/siem"));
        b.count("section[aria-labelledby=attempts] tbody tr") > 0
    });
    assert_eq!(receiver.kinds(), ["webhook.test"]);
    let row = b.text("section[aria-labelledby=attempts] tbody tr");
    assert!(
        row.contains("webhook.test") && row.contains("answered 500"),
        "{row}"
    );
    b.judge("webhook-failed");

    // The receiver is mended, and gets the same message again before its time.
    receiver.answer.store(204, Ordering::SeqCst);
    b.follow("section[aria-labelledby=attempts] tbody tr button");
    b.until("the second answer", || {
        b.go(&format!("{page}/siem"));
        b.text("section[aria-labelledby=attempts] tbody tr")
            .contains("accepted, 204")
    });
    let kinds = receiver.kinds();
    assert!(
        kinds.len() >= 2 && kinds.iter().all(|k| k == "webhook.test"),
        "{kinds:?}"
    );
    b.judge("webhook-delivered");

    paused(b, &home, &receiver, &page);
}

/// Paused, it is sent nothing; what happened meanwhile arrives afterwards.
fn paused(b: &Browser, home: &Home, receiver: &Receiver, page: &str) {
    let before = receiver.kinds().len();
    b.follow("form[action$='/pause'] button");
    assert!(b.text(".note.good").contains("Webhook paused"));
    let id = word(&home.json(&["key", "issue", "acme"]), "id");
    home.ok(&["key", "revoke", &id]);
    b.until("a message that waits", || {
        b.go(&format!("{page}/siem"));
        b.text(".note.warn").contains("1 message waits")
    });
    assert_eq!(receiver.kinds().len(), before);
    b.judge("webhook-paused");
    b.follow("form[action$='/resume'] button");
    b.until("the message", || receiver.kinds().len() > before);
    assert_eq!(receiver.kinds().last().unwrap(), "key.revoke");
    b.until("it to be noted", || {
        b.go(page);
        b.text("tbody").contains("accepted, 204")
    });
    b.judge("webhooks-with-answers");
}

#[test]
fn an_owner_finds_out_why_a_receiver_gets_nothing_at_a_desk() {
    a_receiver_in_trouble(DESK);
}

#[test]
fn an_owner_finds_out_why_a_receiver_gets_nothing_on_a_telephone() {
    a_receiver_in_trouble(PHONE);
}
