//! Text around parameters, through Envoy: a template takes what it names and nothing else.

use crate::fixture::Keys;
use crate::support::{Upstream, get};
use serde_json::Value;

#[test]
fn a_template_with_text_takes_what_it_names_and_nothing_else() {
    let all: Value = serde_json::from_str(include_str!("../vectors/templates.json")).expect("JSON");
    let vectors = all["templates"].as_array().expect("a list");
    let mut policy = "version: 1\nroutes:\n- {path: \"/{*rest}\", auth: none}\n".to_owned();
    for vector in vectors {
        policy += &format!("- {{path: {}}}\n", vector["template"]);
    }
    let upstream = Upstream::start();
    let mut keys = Keys::new(&policy);
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);
    for vector in vectors {
        let paths = |list: &str| vector[list].as_array().expect("a list").clone();
        for path in paths("fits") {
            let path = path.as_str().expect("a path");
            assert_eq!(envoy.send(&get(path)).status, 401, "{path}");
            assert_eq!(envoy.send(&get(path).bearer(&key)).status, 200, "{path}");
        }
        for path in paths("others") {
            let path = path.as_str().expect("a path");
            assert_eq!(envoy.send(&get(path)).status, 200, "{path}");
        }
        for path in paths("doubtful") {
            let path = path.as_str().expect("a path");
            let status = envoy.send(&get(path)).status;
            assert!(status == 400 || status == 401, "{path}: {status}");
        }
    }
}
