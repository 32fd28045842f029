use super::*;

fn found(routes: &[&str], path: &str) -> Option<usize> {
    let routes: Vec<_> = routes.iter().map(|r| (*r, &[][..], &[][..])).collect();
    router(&routes).unwrap().find("", b"GET", path)
}

/// The tests of the filter and of Envoy read the same file.
#[test]
fn the_shared_vectors_hold() {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("../../../../../tests/vectors/templates.json")).unwrap();
    for vector in all["templates"].as_array().unwrap() {
        let template = vector["template"].as_str().unwrap();
        let router = router(&[(template, &[], &[])]).unwrap();
        let found = |path: &serde_json::Value| -> Vec<bool> {
            let path = path.as_str().unwrap();
            let readings = crate::request::path::readings(path.as_bytes()).unwrap();
            let texts = core::iter::once(readings.as_sent()).chain(readings.others());
            let as_is = |text| router.find("", b"GET", text);
            let by = |comparison, text| router.find_as(comparison, "", b"GET", text);
            texts
                .flat_map(|text| {
                    [
                        as_is(text).is_some(),
                        by(Comparison::IgnoresCase, text).is_some(),
                        by(Comparison::TakesNothing, text).is_some(),
                    ]
                })
                .collect()
        };
        for path in vector["fits"].as_array().unwrap() {
            assert!(found(path).iter().all(|f| *f), "{template} {path}");
        }
        for path in vector["others"].as_array().unwrap() {
            assert!(found(path).iter().all(|f| !f), "{template} {path}");
        }
        for path in vector["doubtful"].as_array().unwrap() {
            let found = found(path);
            assert!(
                found.contains(&true) && found.contains(&false),
                "{template} {path}"
            );
        }
    }
}

#[test]
fn a_parameter_takes_at_least_a_character() {
    assert_eq!(found(&["/a{x}a"], "/aba"), Some(0));
    assert_eq!(found(&["/a{x}a"], "/aaa"), Some(0));
    assert_eq!(found(&["/a{x}a"], "/aa"), None);
    assert_eq!(found(&["/{a}-{b}-{c}.z"], "/-----.z"), Some(0));
    assert_eq!(found(&["/{a}-{b}-{c}.z"], "/1--3.z"), None);
}

#[test]
fn no_text_is_found_inside_an_escape() {
    for template in ["/{a}0", "/{a}20", "/{a}0{b}", "/{a}2{b}"] {
        assert_eq!(found(&[template], "/a%20"), None, "{template}");
        assert_eq!(found(&[template], "/%20b"), None, "{template}");
    }
    assert_eq!(found(&["/{a}0{b}"], "/%200%20"), Some(0));
    assert_eq!(found(&["/{a}%20{b}"], "/%20%20%20"), Some(0));
    assert_eq!(found(&["/{a}%C3%A9"], "/x%C3%A9"), Some(0));
}

#[test]
fn one_or_more_segments_are_something() {
    let files = &["/files/{proxy+}"];
    for path in ["/files/a", "/files/a/", "/files/a/b.txt", "/files//a"] {
        assert_eq!(found(files, path), Some(0), "{path}");
    }
    for path in ["/files", "/files/", "/files//", "/file/a", "/"] {
        assert_eq!(found(files, path), None, "{path}");
    }
    assert_eq!(found(&["/{all+}"], "/"), None);
    assert_eq!(found(&["/{all+}"], "/a"), Some(0));
    let both = &["/f/{*rest}", "/f/{rest+}"];
    assert_eq!(found(both, "/f"), Some(0));
    assert_eq!(found(both, "/f/"), Some(0));
    assert_eq!(found(both, "/f/a"), Some(1));
}

/// Each before those that follow, in whatever order the file has them.
#[test]
fn of_several_that_fit_the_one_with_most_text_wins() {
    for (path, order) in [
        (
            "/ab.json",
            &[
                "/ab.json",
                "/a{x}.json",
                "/{x}b.json",
                "/{x}.json",
                "/a{x}n",
                "/a{x}",
                "/{x}n",
                "/{x}",
                "/{x+}",
                "/{*x}",
            ][..],
        ),
        (
            "/1x2y3",
            &["/{a}x2{b}", "/{a}x{b}y{c}", "/{a}x{b}", "/{a}y{b}"],
        ),
        ("/p/q", &["/p/{x}q", "/p/{x}", "/p{x}/q", "/{x}/q"]),
    ] {
        // What does not fit is passed over.
        for first in 0..order.len() {
            let left = &order[first..];
            let reversed: Vec<&str> = left.iter().rev().copied().collect();
            let fits = |t: &&&str| found(&[t], path) == Some(0);
            let want = left.iter().find(fits).unwrap();
            assert_eq!(found(left, path).map(|i| left[i]), Some(*want));
            assert_eq!(found(&reversed, path).map(|i| reversed[i]), Some(*want));
        }
    }
}

#[test]
fn who_ignores_case_finds_the_pattern_as_it_is_spelled_first() {
    let find = |routes: &[&str], path: &str| {
        let routes: Vec<_> = routes.iter().map(|r| (*r, &[][..], &[][..])).collect();
        let router = router(&routes).unwrap();
        let as_sent = router.find("", b"GET", path);
        assert!(router.has_capitals() || path.bytes().any(|b| b.is_ascii_uppercase()));
        (
            as_sent,
            router.find_as(Comparison::IgnoresCase, "", b"GET", path),
        )
    };
    assert_eq!(find(&["/{id}.json"], "/1.JSON"), (None, Some(0)));
    assert_eq!(find(&["/{id}.Json"], "/1.json"), (None, Some(0)));
    assert_eq!(
        find(&["/{id}.JSON", "/{id}.json"], "/1.json"),
        (Some(1), Some(1))
    );
    assert_eq!(
        find(&["/{id}.json", "/{id}.JSON"], "/1.JSON"),
        (Some(1), Some(1))
    );
    // The more specific one for a reader that ignores case, though another is spelled so.
    assert_eq!(
        find(&["/{id}.json", "/A{id}.json"], "/a1.json"),
        (Some(0), Some(1))
    );
    assert_eq!(find(&["/{a}X{b}"], "/1x2"), (None, Some(0)));
}

#[test]
fn a_reader_that_takes_nothing_for_a_parameter_finds_the_pattern_around_it() {
    let find = |routes: &[&str], comparison, path: &str| {
        let routes: Vec<_> = routes.iter().map(|r| (*r, &[][..], &[][..])).collect();
        let router = router(&routes).unwrap();
        assert!(router.may_be_empty());
        router.find_as(comparison, "", b"GET", path)
    };
    use Comparison::{IgnoresCase, IgnoresCaseAndTakesNothing, TakesNothing};
    assert_eq!(find(&["/{id}.json"], TakesNothing, "/.json"), Some(0));
    assert_eq!(find(&["/{id}.json"], TakesNothing, "/a.json"), Some(0));
    assert_eq!(find(&["/{id}.json"], TakesNothing, "/.JSON"), None);
    assert_eq!(find(&["/{id}.json"], IgnoresCase, "/.JSON"), None);
    for path in ["/.JSON", "/.json"] {
        let found = find(&["/{id}.json"], IgnoresCaseAndTakesNothing, path);
        assert_eq!(found, Some(0));
    }
    // As it is written comes first.
    let routes = ["/{id}.JSON", "/{id}.json"];
    assert_eq!(find(&routes, IgnoresCaseAndTakesNothing, "/.json"), Some(1));
    assert_eq!(find(&["/{a}-{b}"], TakesNothing, "/-"), Some(0));
    assert_eq!(find(&["/a{x}a"], TakesNothing, "/aa"), Some(0));
    assert_eq!(find(&["/a{x}a"], TakesNothing, "/a"), None);
    assert_eq!(find(&["/{a}-{b}-{c}.z"], TakesNothing, "/--.z"), Some(0));
    assert_eq!(find(&["/{a}-{b}-{c}.z"], TakesNothing, "/-.z"), None);
    assert_eq!(find(&["/a/{rest+}"], TakesNothing, "/a/"), Some(0));
    assert_eq!(find(&["/a/{rest+}"], TakesNothing, "/a"), None);
    assert_eq!(find(&["/a/{rest+}", "/a"], TakesNothing, "/a/"), Some(1));
    // A whole segment is never nothing.
    assert_eq!(find(&["/a{x}/{id}"], TakesNothing, "/ab/"), None);
}

fn shape(text: &str) -> Pattern {
    Pattern::of_shape(text).unwrap()
}

#[test]
fn a_pattern_is_read_from_its_shape_and_fits_what_it_is_filled_with() {
    assert_eq!(Pattern::of_shape("plain"), None);
    for (text, filled) in [
        ("{}.json", "x.json"),
        ("{}...{}", "x...x"),
        ("a{}-{}b", "ax-xb"),
        ("{}", "x"),
    ] {
        let pattern = shape(text);
        assert_eq!(pattern.to_string(), text);
        assert_eq!(pattern.filled("x"), filled);
        assert!(pattern.fits(filled, Comparison::Usual));
    }
}

#[test]
fn of_two_patterns_a_third_fits_both_or_there_is_none() {
    for (a, b, both) in [
        ("{}.json", "v{}", Some("v{}.json")),
        ("a{}", "ab{}", Some("ab{}")),
        ("{}.gz", "{}.tar.gz", Some("{}.tar.gz")),
        ("{}-{}", "a{}z", Some("a{}-{}z")),
        ("a{}", "b{}", None),
        ("{}a", "{}b", None),
        ("a{}x", "a{}y", None),
        ("a{}x", "b{}x", None),
    ] {
        for (one, other) in [(a, b), (b, a)] {
            let found = shape(one).and(&shape(other));
            assert_eq!(found.as_ref().map(ToString::to_string).as_deref(), both);
            if let Some(found) = found {
                let text = found.filled("x");
                assert!(shape(one).fits(&text, Comparison::Usual), "{one} {text}");
                assert!(
                    shape(other).fits(&text, Comparison::Usual),
                    "{other} {text}"
                );
            }
        }
    }
}
