//! The policies that are read.

/// Name, further settings, and a rule in each line.
pub(super) const SITES: [(&str, &str, &str); 31] = [
    (
        "admin beside an open catch-all",
        "",
        "key /admin/{*rest}\nopen /{*rest}",
    ),
    (
        "open paths beside a protected catch-all",
        "",
        "open /healthz\nopen /public/{*rest}\nkey /{*rest}",
    ),
    (
        "open paths, the rest denied",
        "",
        "open /healthz\nopen /public/{*rest}\nkey /v1/{*rest}",
    ),
    (
        "open paths, the rest authenticated",
        "unmatched: authenticated",
        "open /healthz\nopen /assets/{*rest}",
    ),
    (
        "open within private",
        "",
        "key /private/{*rest}\nopen /private/docs/{*rest}\nopen /healthz",
    ),
    (
        "open and closed in turn",
        "",
        "open /{*rest}\nkey /a/{*rest}\nopen /a/b/{*rest}\nkey /a/b/c/{*rest}",
    ),
    (
        "parameters that are open",
        "",
        "open /v1/users/{id}\nkey /v1/users/me\nkey /v1/users/{id}/keys/{*rest}\nopen /{*rest}",
    ),
    (
        "parameters, the rest protected",
        "",
        "open /v1/{kind}/public\nopen /v1/{kind}/{id}/thumb\nopen /v1/status\nkey /{*rest}",
    ),
    (
        "methods beside an open catch-all",
        "",
        "open GET /v1/items/{*rest}\nkey POST,DELETE,HEAD,OPTIONS /v1/items/{*rest}\nopen /{*rest}",
    ),
    (
        "open to read only",
        "",
        "key GET /admin/{*rest}\nopen GET,HEAD /{*rest}\nkey /{*rest}",
    ),
    (
        "one protected path",
        "",
        "key /admin\nkey /admin/login.html\nopen /{*rest}",
    ),
    (
        "a verb behind a colon",
        "",
        "key /v1/users:batch\nopen /v1/{*rest}\nkey /v2/{*rest}\nopen /v2/jobs:list",
    ),
    (
        "optional beside protected",
        "",
        "optional /{*rest}\nkey /internal/{*rest}\nkey /internal.html",
    ),
    (
        "names that begin with a dot",
        "",
        "open /.well-known/{*rest}\nkey /.well-known/private/{*rest}\nkey /{*rest}",
    ),
    (
        "two levels open",
        "unmatched: authenticated",
        "open /{a}/{b}\nkey /admin/{b}\nopen /x/y/{*rest}",
    ),
    (
        "corp protected, all else open",
        "",
        "key *.corp.example.com /{*rest}\nopen /{*rest}",
    ),
    (
        "www open, all else protected",
        "",
        "open www.example.com /{*rest}\nkey /{*rest}",
    ),
    (
        "www open, all else denied",
        "",
        "open www.example.com /{*rest}\nopen *.cdn.example.com /assets/{*rest}",
    ),
    (
        "www open, all else authenticated",
        "unmatched: authenticated",
        "open www.example.com /{*rest}",
    ),
    (
        "api protected, all else open",
        "",
        "key api.example.com /{*rest}\nopen /{*rest}",
    ),
    (
        "hosts within hosts",
        "",
        "key *.example.com /{*rest}\nopen *.pub.example.com /{*rest}\nkey secret.pub.example.com /{*rest}\nopen /{*rest}",
    ),
    (
        "hosts and paths",
        "",
        "key admin.example.com /{*rest}\nkey /admin/{*rest}\nopen www.example.com /admin/help\nopen /{*rest}",
    ),
    (
        "a host whose other paths fall to all hosts",
        "",
        "open www.example.com /healthz\nkey www.example.com /admin/{*rest}\nkey api.example.com /{*rest}\nopen /{*rest}",
    ),
    (
        "health of every host of corp",
        "",
        "open *.corp.example.com /healthz\nopen www.example.com,api.example.com GET /{*rest}\nkey /{*rest}",
    ),
    (
        "addresses as hosts",
        "",
        "key 127.0.0.1 /{*rest}\nkey [::1] /{*rest}\nopen /{*rest}",
    ),
    (
        "an address that is open",
        "",
        "open 127.0.0.1 /{*rest}\nopen [::1] /public/{*rest}\nkey /{*rest}",
    ),
    (
        "corp protected, ports ignored",
        "host_ports: ignore",
        "key *.corp.example.com /{*rest}\nopen /{*rest}",
    ),
    (
        "www open, ports ignored",
        "host_ports: ignore",
        "open www.example.com /{*rest}\nkey /{*rest}",
    ),
    (
        "hosts and paths, ports ignored",
        "host_ports: ignore",
        "key admin.example.com /{*rest}\nkey /admin/{*rest}\nopen www.example.com /admin/help\nopen /{*rest}",
    ),
    (
        "corp protected by Envoy's choice",
        "",
        "key vh:*.corp.example.com /{*rest}\nopen /{*rest}",
    ),
    (
        "www open by Envoy's choice",
        "",
        "open vh:www.example.com /{*rest}\nopen /healthz\nkey /{*rest}",
    ),
];
