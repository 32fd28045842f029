use super::*;

mod page;

#[test]
fn the_commands_hold_together() {
    command().debug_assert();
}

fn typed(line: &[&str]) -> std::result::Result<clap::ArgMatches, clap::Error> {
    let line = ["keystilectl"].iter().chain(line);
    command().try_get_matches_from(line)
}

#[test]
fn text_may_begin_with_a_dash() {
    let explain = [
        "explain", "--path", "-/x", "--host", "-.x", "--method", "-M",
    ];
    let more = [
        "--virtual-host",
        "-v",
        "--origin",
        "-o",
        "-H",
        "-x: 1",
        "--key",
        "-",
    ];
    typed(&[&explain[..], &more].concat()).unwrap();
    for line in [
        &["client", "create", "acme", "--description", "- none -"][..],
        &[
            "client",
            "update",
            "acme",
            "--description",
            "-",
            "--label",
            "-a=-b",
        ],
        &["key", "issue", "acme", "--name", "-1", "--scope", "-s"],
        &["key", "revoke", "0Ab3dEfGh1", "--reason", "-leaked"],
        &[
            "audit",
            "list",
            "--actor",
            "-a",
            "--subject",
            "-s",
            "--action",
            "-x",
        ],
        &["--master-key-command", "-c", "client", "list"],
    ] {
        typed(line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    }
    // Where nothing that begins so can be meant, it is an option that there is not.
    for line in [
        &["audit", "list", "--last", "-n"][..],
        &["client", "create", "-acme"],
        &["client", "list", "--output", "-x"],
    ] {
        assert!(typed(line).is_err(), "{line:?}");
    }
}

#[test]
fn an_option_is_not_taken_for_the_value_of_another() {
    let swallowed = |line: &[&str]| {
        let line: Vec<OsString> = line.iter().map(OsString::from).collect();
        super::swallowed(&command(), &line)
    };
    let found = swallowed(&["key", "revoke", "--reason", "--wait", "0Ab3dEfGh1"]);
    assert_eq!(found, Some(("reason".to_owned(), "--wait".to_owned())));
    let found = swallowed(&["client", "create", "a", "--description", "--plan=gold"]);
    assert_eq!(found.unwrap().1, "--plan=gold");
    for fine in [
        &["key", "revoke", "--reason=--wait", "0Ab3dEfGh1"][..],
        &["key", "revoke", "--reason", "--whatever", "--wait"],
        &["key", "revoke", "--reason", "-w", "--wait"],
        &["explain", "--tls", "--path", "/"],
        &["x", "--", "--reason", "--wait"],
    ] {
        assert_eq!(swallowed(fine), None, "{fine:?}");
    }
}

#[test]
fn a_next_step_leads_to_a_command_that_there_is() {
    for act in keystile_model::error::Act::ALL {
        let mut at = command();
        for word in act.command().split(' ').filter(|w| !w.starts_with('-')) {
            let sub = at.find_subcommand(word);
            at = sub.unwrap_or_else(|| panic!("{}", act.command())).clone();
        }
    }
}

#[test]
fn every_command_has_help_and_an_example() {
    fn check(command: &clap::Command, path: &str) {
        for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            assert!(sub.get_about().is_some(), "`{path}` has no help");
            for arg in sub.get_arguments().filter(|a| !a.is_hide_set()) {
                assert!(
                    arg.get_help().is_some() || arg.is_positional(),
                    "`{path} {}` has no help",
                    arg.get_id()
                );
            }
            if sub.has_subcommands() {
                check(sub, &path);
            } else {
                let help = sub
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(help.contains("keystilectl"), "`{path}` has no example");
            }
        }
    }
    check(&command(), "keystilectl");
}

#[test]
fn what_is_mistyped_has_a_code_of_the_list() {
    for (line, code, field) in [
        (
            &["audit", "list", "--last", "many"][..],
            Code::InvalidValue,
            Some("last"),
        ),
        (
            &["client", "list", "--nmae", "x"],
            Code::FieldUnknown,
            Some("nmae"),
        ),
        (&["client", "lits"], Code::FieldUnknown, None),
        (&["client", "show"], Code::FieldMissing, Some("name")),
        (
            &["client", "create", "a", "--description", "--plan"],
            Code::InvalidValue,
            Some("description"),
        ),
    ] {
        let args: Vec<OsString> = ["keystilectl"]
            .iter()
            .chain(line)
            .map(OsString::from)
            .collect();
        let Err(e) = parsed(&args) else {
            panic!("{line:?}")
        };
        let e = mistyped::error(&e);
        let fault = &e.faults()[0];
        assert_eq!(
            (fault.code, fault.field.as_deref()),
            (code, field),
            "{line:?}: {e}"
        );
    }
}

#[test]
fn json_is_asked_for_in_any_spelling_and_not_by_what_comes_after_the_options() {
    let asks = |line: &[&str]| {
        let args: Vec<OsString> = line.iter().map(OsString::from).collect();
        mistyped::wants_json(&args)
    };
    for line in [
        &["--output", "json"][..],
        &["-o", "json"],
        &["--output=json"],
        &["-ojson"],
        &["-o=json"],
    ] {
        assert!(asks(line), "{line:?}");
    }
    for line in [
        &["--output", "table"][..],
        &["json"],
        &["--", "--output", "json"],
    ] {
        assert!(!asks(line), "{line:?}");
    }
}
