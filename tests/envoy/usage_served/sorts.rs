//! The requests that are sent.

use crate::support::{Request, get};

/// One kind of request: which key it carries, and the route that it matches.
pub(super) struct Sort {
    pub(super) request: Request,
    pub(super) key: Option<String>,
    pub(super) route: Option<&'static str>,
}

/// One request of each sort, the key that it counts under, and the route.
pub(super) fn sorts(
    [plain, admin, small, dead, stranger]: [&str; 5],
    [plain_id, admin_id, small_id, dead_id]: [&str; 4],
) -> Vec<Sort> {
    let v1 = Some("GET /v1/{*rest}");
    [
        (get("/v1/a").bearer(plain), Some(plain_id), v1),
        (
            get("/closed").bearer(plain),
            Some(plain_id),
            Some("/closed"),
        ),
        (
            get("/closed").bearer(admin),
            Some(admin_id),
            Some("/closed"),
        ),
        (get("/v1/b?c=d").bearer(admin), Some(admin_id), v1),
        (get("/v1/a").bearer(small), Some(small_id), v1),
        (get("/v1/a").bearer(dead), Some(dead_id), v1),
        (get("/v1/a").bearer(stranger), None, v1),
        (get("/v1/a"), None, v1),
        (get("/healthz"), None, Some("/healthz")),
        (get("/nowhere"), None, None),
    ]
    .into_iter()
    .map(|(request, key, route)| Sort {
        request,
        key: key.map(str::to_owned),
        route,
    })
    .collect()
}
