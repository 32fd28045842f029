//! A person who reads the pages of the console all the time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::judge::Breach;
use crate::load::Ground;
use crate::wire::Api;

const PAGES: [&str; 6] = [
    "/console",
    "/console/clients",
    "/console/keys",
    "/console/clients/c0",
    "/console/fleet",
    "/console/audit",
];
/// A page is read that long.
const PACE: Duration = Duration::from_secs(2);

/// How long each page took, in milliseconds.
pub type Pages = BTreeMap<&'static str, Vec<f64>>;

/// Signs in and reads, until told to stop.
pub fn read(ground: &Ground, api: &Api, stop: &AtomicBool) -> Pages {
    let site = format!("http://{}", api.address);
    let agent = ureq::Agent::config_builder()
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(api.patience))
        .build();
    let agent = ureq::Agent::from(agent);
    let answer = agent
        .post(format!("{site}/console/sign-in"))
        .header("origin", &site)
        .send_form([("token", &api.token)]);
    let answer = answer.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let mut pages = Pages::new();
    for page in PAGES.iter().cycle() {
        let began = Instant::now();
        let asked = agent.get(format!("{site}{page}")).header("cookie", &cookie);
        let read = asked.call().map(|mut answer| {
            let status = answer.status().as_u16();
            (status, answer.body_mut().read_to_string().is_ok())
        });
        let took = began.elapsed();
        match read {
            Ok((200, true)) => pages
                .entry(page)
                .or_default()
                .push(took.as_secs_f64() * 1e3),
            other => ground
                .recorder
                .breach(Breach::Failed, format!("{page}: {other:?}")),
        }
        while began.elapsed() < PACE {
            if stop.load(Ordering::Relaxed) {
                return pages;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    pages
}
