use super::*;
use proptest::prelude::*;

mod oracle;
mod patterns;

fn router(routes: &[(&str, &[&str], &[&str])]) -> Result<Router, Conflict> {
    let mut router = Router::default();
    for (i, (path, hosts, methods)) in routes.iter().enumerate() {
        let hosts: Vec<_> = hosts
            .iter()
            .map(|h| HostPattern::parse(h).unwrap())
            .collect();
        let methods: Vec<_> = methods.iter().map(|m| m.to_string()).collect();
        let places = Places {
            hosts: &hosts,
            virtual_hosts: &[],
        };
        router.insert(i, places, &Template::parse(path).unwrap(), &methods)?;
    }
    Ok(router)
}

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    let routes: [(&str, &[&str], &[&str]); 7] = [
        ("/{*rest}", &[], &[]),
        ("/v1/{any}/x", &[], &[]),
        ("/v1/users/{id}", &[], &["GET"]),
        ("/v1/users/me", &[], &[]),
        ("/v1/users/{id}", &[], &[]),
        ("/v1/users/{id}", &["api.example.com"], &[]),
        ("/v1/{*rest}", &["*.example.com"], &[]),
    ];
    let mut order: Vec<usize> = (0..routes.len()).collect();
    for _ in 0..routes.len() {
        order.rotate_left(1);
        let shuffled: Vec<_> = order.iter().map(|&i| routes[i]).collect();
        let router = router(&shuffled).unwrap();
        let find = |host: &str, method: &str, path: &str| {
            order[router.find(host, method.as_bytes(), path).unwrap()]
        };
        assert_eq!(find("h", "GET", "/v1/users/7"), 2);
        assert_eq!(find("h", "PUT", "/v1/users/7"), 4);
        assert_eq!(find("h", "GET", "/v1/users/me"), 3);
        assert_eq!(find("h", "GET", "/v1/users/x"), 2);
        assert_eq!(find("h", "GET", "/v1/jobs/x"), 1);
        assert_eq!(find("h", "GET", "/other"), 0);
        assert_eq!(find("api.example.com", "GET", "/v1/users/me"), 5);
        assert_eq!(find("www.example.com", "GET", "/v1/users/me"), 6);
        assert_eq!(find("example.com", "GET", "/v1/users/me"), 3);
    }
}

#[test]
fn of_several_suffixes_the_longest_wins_whatever_the_order() {
    let all: [&[&str]; 3] = [&["*.com"], &["*.a.example.com"], &["*.example.com"]];
    let find = |router: &Router, order: [usize; 3], host: &str| {
        let found = router.find(host, b"GET", "/");
        found.map(|at| all[order[at]][0])
    };
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let routes = order.map(|i| ("/", all[i], &[][..]));
        let router = router(&routes).unwrap();
        assert_eq!(find(&router, order, "x.a.example.com"), Some(all[1][0]));
        assert_eq!(find(&router, order, "a.example.com"), Some(all[2][0]));
        assert_eq!(find(&router, order, "example.com"), Some(all[0][0]));
        // One label or more stands before a suffix.
        assert_eq!(find(&router, order, ".com"), None);
    }
}

#[test]
fn names_of_parameters_are_letters_digits_and_underscores() {
    for name in ["id", "user_id", "_", "v2", "*rest", "*all_of_it"] {
        assert!(Template::parse(&format!("/{{{name}}}")).is_ok(), "{name}");
    }
    for name in ["", "*", "user-id", "a.b", "a b", "caf\u{e9}", "*a-b", "**"] {
        let segment = format!("{{{name}}}");
        let refused = Template::parse(&format!("/{segment}"));
        assert_eq!(refused, Err(TemplateError::Brace(segment)));
    }
}

#[test]
fn templates_and_hosts_are_shown_as_they_match() {
    for (text, shape) in [
        ("/", "/"),
        ("/users/{id}/x", "/users/{}/x"),
        ("/{*rest}", "/{*}"),
        ("/a/{*rest}", "/a/{*}"),
        ("/a/{rest+}", "/a/{+}"),
        ("/{id}.json", "/{}.json"),
        ("/c/{base}...{head}/x", "/c/{}...{}/x"),
        ("/v{n}/%7Eme-{id}%2e%3D:cancel", "/v{}/~me-{}.=:cancel"),
    ] {
        assert_eq!(Template::parse(text).unwrap().to_string(), shape);
    }
    for text in ["a.example.com", "*.example.com", "a.example.com:81"] {
        assert_eq!(HostPattern::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(HostPattern::Any.to_string(), "*");
}

#[test]
fn a_missing_method_falls_to_the_next_less_specific_route() {
    let r = router(&[
        ("/a/b", &[], &["GET"]),
        ("/a/{x}", &[], &["POST"]),
        ("/{*rest}", &[], &["PUT"]),
    ])
    .unwrap();
    assert_eq!(r.find("", b"GET", "/a/b"), Some(0));
    assert_eq!(r.find("", b"POST", "/a/b"), Some(1));
    assert_eq!(r.find("", b"PUT", "/a/b"), Some(2));
    assert_eq!(r.find("", b"DELETE", "/a/b"), None);
    assert_eq!(r.find("", b"get", "/a/b"), None);
}

#[test]
fn a_rest_parameter_includes_the_root_of_its_subtree() {
    let r = router(&[("/v1/reports/{*rest}", &[], &[])]).unwrap();
    assert_eq!(r.find("", b"GET", "/v1/reports"), Some(0));
    assert_eq!(r.find("", b"GET", "/v1/reports/a/b"), Some(0));
    assert_eq!(r.find("", b"GET", "/v1/report"), None);
    assert_eq!(
        router(&[("/{*all}", &[], &[])])
            .unwrap()
            .find("", b"GET", "/"),
        Some(0)
    );
}

#[test]
fn an_empty_segment_is_nothing_that_a_parameter_takes() {
    let r = router(&[("/a/{id}/b", &[], &[]), ("/a/{*rest}", &[], &[])]).unwrap();
    assert_eq!(r.find("", b"GET", "/a/x/b"), Some(0));
    assert_eq!(r.find("", b"GET", "/a//b"), Some(1));
    assert_eq!(r.find("", b"GET", "//a"), None);
    assert_eq!(r.find("", b"GET", "//"), None);
    let r = router(&[("/a/{id}", &[], &[])]).unwrap();
    assert_eq!(r.find("", b"GET", "/a//"), None);
    assert_eq!(r.find("", b"GET", "/a/"), None);
}

#[test]
fn a_slash_at_the_end_counts_only_where_that_is_asked() {
    let r = router(&[
        ("/a", &[], &[]),
        ("/b/", &[], &[]),
        ("/u/{id}", &[], &[]),
        ("/{*rest}", &[], &[]),
    ])
    .unwrap();
    for (path, loose, exact) in [
        ("/a", 0, 0),
        ("/a/", 0, 3),
        ("/b", 1, 3),
        ("/b/", 1, 1),
        ("/u/7", 2, 2),
        ("/u/7/", 2, 3),
        ("/", 3, 3),
    ] {
        assert_eq!(r.find("", b"GET", path), Some(loose), "{path}");
        assert_eq!(
            r.find_as(Comparison::MindsSlash, "", b"GET", path),
            Some(exact),
            "{path}"
        );
    }
}

#[test]
fn virtual_hosts_have_routes_of_their_own() {
    let mut r = Router::default();
    let corp = ["corp".to_owned()];
    let places = Places {
        hosts: &[],
        virtual_hosts: &corp,
    };
    let template = Template::parse("/a").unwrap();
    r.insert(0, places, &template, &[]).unwrap();
    r.insert(1, Places::default(), &template, &[]).unwrap();
    assert!(r.names_virtual_hosts() && !r.names_hosts());
    assert_eq!(r.find_in(Comparison::Usual, "corp", b"GET", "/a"), Some(0));
    assert_eq!(r.find_in(Comparison::Usual, "corp", b"GET", "/b"), None);
    assert_eq!(r.find_in(Comparison::Usual, "pub", b"GET", "/a"), None);
    assert_eq!(r.find("corp", b"GET", "/a"), Some(1));
    assert_eq!(
        r.find_in(Comparison::MindsSlash, "corp", b"GET", "/a/"),
        None
    );
}

#[test]
fn hosts_may_name_a_port() {
    let parsed = |text| HostPattern::parse(text);
    assert_eq!(
        parsed("API.example.com:81"),
        Some(HostPattern::Exact("api.example.com:81".into()))
    );
    assert_eq!(
        parsed("*.example.com:81"),
        Some(HostPattern::Suffix(".example.com:81".into()))
    );
    assert!(parsed("h:81").unwrap().has_port());
    assert!(!parsed("h").unwrap().has_port());
    assert!(!parsed("[::1]").unwrap().has_port());
    assert!(parsed("[::1]:81").unwrap().has_port());
    for text in ["", "*", "*.", "h:x", "a b", "x@h", "h:"] {
        assert_eq!(parsed(text), None, "{text}");
    }
}

#[test]
fn routes_that_no_request_could_tell_apart_are_refused() {
    for pair in [
        [
            ("/u/{id}", &[][..], &["GET"][..]),
            ("/u/{name}", &[], &["GET", "PUT"]),
        ],
        [("/u", &[], &[]), ("/u/", &[], &[])],
        [("/a/%41", &[], &[]), ("/a/A", &[], &[])],
        [
            ("/u", &["H.example.com"], &[]),
            ("/u", &["x", "h.EXAMPLE.com"], &[]),
        ],
        [("/{*a}", &["*.e.com"], &[]), ("/{*b}", &["*.e.com"], &[])],
        [("/x/{a+}", &[], &[]), ("/x/{b+}", &[], &[])],
        [("/{a}.json", &[], &[]), ("/{b}%2Ejson/", &[], &[])],
        [("/{a}-{b}", &[], &[]), ("/{from}-{to}", &[], &[])],
    ] {
        assert_eq!(
            router(&pair).unwrap_err(),
            Conflict {
                first: 0,
                second: 1
            }
        );
    }
}

#[test]
fn bad_templates_are_refused_with_their_segment() {
    for (text, want) in [
        ("users", TemplateError::NotAbsolute),
        ("/a/../b", TemplateError::NotCanonical("..".into())),
        ("/a//b", TemplateError::NotCanonical(String::new())),
        ("/a%2fb", TemplateError::NotCanonical("a%2fb".into())),
        ("/a?b", TemplateError::NotCanonical("a?b".into())),
        ("/a;b", TemplateError::NotCanonical("a;b".into())),
        ("/%2541", TemplateError::NotCanonical("%2541".into())),
        ("/{id}x/../{b}", TemplateError::NotCanonical("..".into())),
        (
            "/{id};v={v}",
            TemplateError::NotCanonical("{id};v={v}".into()),
        ),
        ("/{id}%2f", TemplateError::NotCanonical("{id}%2f".into())),
        ("/{id}%4", TemplateError::NotCanonical("{id}%4".into())),
        ("/{}", TemplateError::Brace("{}".into())),
        ("/{a}}", TemplateError::Brace("{a}}".into())),
        ("/x{a", TemplateError::Brace("x{a".into())),
        ("/x{*a}", TemplateError::Brace("x{*a}".into())),
        ("/{a+}.json", TemplateError::Brace("{a+}.json".into())),
        ("/{a}{b}", TemplateError::Adjacent("{a}{b}".into())),
        ("/x{a}{b}.c", TemplateError::Adjacent("x{a}{b}.c".into())),
        ("/{rest+}/x", TemplateError::RestNotLast("{rest+}".into())),
        ("/{*rest}/x", TemplateError::RestNotLast("{*rest}".into())),
    ] {
        assert_eq!(Template::parse(text).unwrap_err(), want, "{text}");
    }
}

proptest! {
    #![proptest_config(crate::seeded())]

    /// So nobody has to look twice.
    #[test]
    fn who_minds_the_slash_finds_the_same_route_where_it_is_written_so(
        routes in proptest::collection::vec("(/(a|b|\\{x\\})){0,3}(/\\{\\*r\\}|/)?", 1..9),
        path in "(/[abc]){0,4}/?",
    ) {
        let mut router = Router::default();
        for (i, text) in routes.iter().enumerate() {
            let text = if text.is_empty() { "/" } else { text };
            let places = Places { hosts: &[[HostPattern::Any], [HostPattern::Exact("h".into())]][i % 2], virtual_hosts: &[] };
            let methods: &[String] = &[vec![], vec!["GET".to_owned()]][i / 2 % 2];
            // What is refused as a conflict is left out.
            let _ = router.insert(i, places, &Template::parse(text).unwrap(), methods);
        }
        if let Some(found) = router.find("h", b"GET", &path)
            && router.ends_with_slash(found) == path.ends_with('/')
        {
            let minds = router.find_as(Comparison::MindsSlash, "h", b"GET", &path);
            prop_assert_eq!(minds, Some(found));
        }
    }
}
