//! Parameters that some readers let be empty, and names that Windows shortens.

use super::readings::{code, routes};
use super::*;

#[test]
fn no_empty_parameter_passes_by_a_rule_that_asks_for_more() {
    let w = routes(
        r#"[{"path":"/{id}.json","scopes":["admin"]},{"path":"/c/{a}...{b}"},{"path":"/jobs/{id}:cancel"},
            {"path":"/v{n}/{id}.Xml"},{"path":"/open/{id}.txt","auth":"none"},{"path":"/p/.csv","auth":"none"},
            {"path":"/p/{id}.csv"},{"path":"/files/{all+}"},{"path":"/{*rest}","auth":"none"}]"#,
    );
    for path in [
        "/.json",
        "/.json/",
        "/%2ejson",
        "/x/../.json",
        "/.JSON",
        "/c/...",
        "/c/a...",
        "/c/...b",
        "/jobs/:cancel",
        "/v/7.Xml",
        "/v1/.Xml",
        "/v/.xml",
        "/files/",
        "/files//",
    ] {
        assert_eq!(code(&w, "h", "GET", path), "ambiguous_path", "{path}");
    }
    for path in [
        "/open/.txt",
        "/json",
        "/p/.csv",
        "/jobs/cancel",
        "/x/.json",
        "/files",
    ] {
        assert_eq!(code(&w, "h", "GET", path), "ok", "{path}");
    }
    for path in ["/a.json", "/c/a...b", "/v1/a.Xml", "/p/a.csv"] {
        assert_eq!(code(&w, "h", "GET", path), "missing_api_key", "{path}");
    }
}

#[test]
fn an_empty_parameter_is_no_matter_where_the_other_rule_asks_for_no_more() {
    let w = routes(
        r#"[{"path":"/{id}.json","scopes":["read"]},{"path":"/{*rest}","scopes":["read"]}]"#,
    );
    assert_eq!(call("GET", "/.json").keyed(&w).code(&w), "ok");
    let w = routes(r#"[{"path":"/{id}.json","scopes":["read"]}]"#);
    assert_eq!(code(&w, "h", "GET", "/.json"), "route_denied");
    // A reader that takes nothing for a parameter stops at the open pattern; one that does not,
    // and minds no case, finds the strict rule behind it.
    let w = routes(
        r#"[{"path":"/{x}.b","auth":"none"},{"path":"/.B/{*rest}"},{"path":"/{*rest}","auth":"none"}]"#,
    );
    assert_eq!(code(&w, "h", "GET", "/.b"), "ambiguous_path");
}

#[test]
fn no_name_that_windows_shortens_passes_by_a_rule() {
    let w = routes(
        r#"[{"path":"/admin/{*rest}","scopes":["admin"]},{"path":"/web.config"},{"path":"/{*rest}","auth":"none"}]"#,
    );
    for path in [
        "/admin.",
        "/admin./x",
        "/admin%20",
        "/admin%20/x",
        "/admin.%20.",
        "/admin%2E",
        "/admin%2520",
        "/ADMIN.",
        "/web.config.",
        "/web.config::$DATA",
        "/web.config::$data",
        "/web.config:x:$DATA",
        "/web.config%3A%3A%24DATA",
        "/admin:$I30:$INDEX_ALLOCATION/x",
        "/x/..%20/admin",
    ] {
        assert_eq!(code(&w, "h", "GET", path), "ambiguous_path", "{path}");
    }
    for path in [
        "/Acme%20Inc.",
        "/a.%20b",
        "/jobs/7:cancel",
        "/x/$count",
        "/...",
    ] {
        assert_eq!(code(&w, "h", "GET", path), "ok", "{path}");
    }
    assert_eq!(code(&w, "h", "GET", "/admin/Inc."), "missing_api_key");
}
