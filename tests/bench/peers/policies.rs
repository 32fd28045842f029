//! The policies under which cases of ours are measured.

use super::cases::Case;

impl Case {
    /// Its `policy.yaml`.
    pub fn policy(self) -> Option<String> {
        let silent =
            "identity: { client: \"\", key: \"\", scopes: \"\" }\nforward_credential: true\n";
        let none = "plans: { p: { limits: [] } }\n";
        let one = "plans: { p: { limits: [{ requests: 1000000, per: 1s }] } }\n";
        let two = "plans: { p: { limits: [{ requests: 1000000, per: 1s }, { requests: 50000000, per: 1m }] } }\n";
        let plain = "routes: [{ path: \"/v1/{*rest}\" }]\n";
        let scoped = "routes: [{ path: \"/v1/{*rest}\", scopes: [read] }]\n";
        let beside =
            "routes: [{ path: /healthz, auth: none }, { path: \"/v1/{*rest}\", scopes: [read] }]\n";
        let limited = "routes: [{ path: \"/v1/{*rest}\", scopes: [read], limit: { requests: 1000000, per: 1s, by: client } }]\n";
        let routes = |count: usize| {
            let route = |n| {
                format!(
                    "  - {{ path: \"/v1/r{n:03}/items/{{id}}\", methods: [GET], scopes: [read] }}\n"
                )
            };
            // The last one opens what is asked for at the start.
            let all: String = (1..count).map(route).collect();
            format!("routes:\n{all}  - {{ path: \"/v1/{{*rest}}\", scopes: [read] }}\n")
        };
        let (five, many) = (routes(5), routes(1000));
        let parts: &[&str] = match self {
            Self::Key => &[silent, none, plain],
            Self::Identity => &[none, plain],
            Self::Scopes => &[none, scoped],
            Self::OneLimit | Self::Unguarded => &[one, scoped],
            Self::ThreeLimits => &[two, limited],
            Self::Fields => &["rate_limit_fields: always\n", two, limited],
            Self::Usage => &["report: { cluster: control, every: 10s }\n", one, scoped],
            Self::FiveRoutes => &[one, &five],
            Self::ManyRoutes => &[one, &many],
            Self::Open | Self::Missing | Self::Unknown => &[one, beside],
            _ => return None,
        };
        Some(format!(
            "version: 1\ncredentials: [{{ header: x-api-key }}]\nnot_after: 1d\n{}",
            parts.concat()
        ))
    }
}
