use super::*;
use keystile_core::advice::Advice;

#[test]
fn a_range_with_host_bits_is_refused_with_the_range_it_lies_in() {
    assert_eq!(
        cidr("10.1.0.0/16").map(|n| n.to_string()),
        Ok("10.1.0.0/16".to_owned())
    );
    assert_eq!(
        cidr("10.1.2.3").map(|n| n.to_string()),
        Ok("10.1.2.3/32".to_owned())
    );
    assert_eq!(cidr("::1").map(|n| n.to_string()), Ok("::1/128".to_owned()));
    assert_eq!(
        cidr("10.1.2.3/16"),
        Err(Advice::new(
            "`10.1.2.3/16` names an address inside a range",
            "write the range `10.1.0.0/16`"
        ))
    );
    for (typed, kept) in [
        ("::ffff:127.0.0.0/104", "127.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:127.0.0.1", "127.0.0.1/32"),
        ("::/0", "::/0"),
    ] {
        assert_eq!(cidr(typed).map(|n| n.to_string()), Ok(kept.to_owned()));
    }
    assert_eq!(
        cidr("::ffff:127.0.0.1/104"),
        Err(Advice::new(
            "`::ffff:127.0.0.1/104` names an address inside a range",
            "write the range `127.0.0.0/8`"
        ))
    );
    for bad in ["", "10.0.0.0/33", "10.0.0", "a/8"] {
        assert!(cidr(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_origin_is_kept_as_browsers_send_it() {
    for (typed, kept) in [
        ("https://www.example.com", "https://www.example.com"),
        ("HTTPS://WWW.Example.COM:443", "https://www.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://[::1]", "https://[::1]"),
        ("https://[0:0:0:0:0:0:0:1]:0443", "https://[::1]"),
        ("https://[::ffff:1.2.3.4]", "https://[::ffff:102:304]"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ] {
        assert_eq!(origin(typed), Ok(kept.to_owned()));
    }
    assert_eq!(
        origin("https://a.example/"),
        Err(Advice::new(
            "`https://a.example/` is not an origin",
            "leave the path out: `https://a.example`"
        ))
    );
    for bad in [
        "",
        "null",
        "a.example",
        "https://",
        "https://*.a.example",
        "https://a b",
        "https://a:0",
        "https://a:b",
        "https://a:+443",
        "https://user@a.example",
        "http://127.1",
        "http://0x7f000001",
        "https://bücher.example",
    ] {
        assert!(origin(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_limit_is_read_as_it_is_shown() {
    let l = limit("100/1m:20@client").unwrap();
    assert_eq!(
        (l.requests, l.per.as_str(), l.burst, l.by),
        (100, "1m", Some(20), By::Client)
    );
    assert_eq!(limit("5/1s").unwrap().burst, None);
    for bad in ["", "5", "5/", "5/1", "x/1s", "5/1s:", "5/1s@me", "-1/1s"] {
        assert!(limit(bad).is_err(), "{bad}");
    }
}
