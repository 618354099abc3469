//! The help and the errors of the command line, as people read them.

use super::*;
use clap::CommandFactory;
use clap::error::ErrorKind;

/// What the parser says to a command line that it does not take as a command.
fn answer(line: &str) -> (ErrorKind, String) {
    match Cli::try_parse_from(line.split_whitespace()) {
        Ok(cli) => panic!("{line}: taken as {:?}", cli.command),
        Err(error) => (error.kind(), error.to_string()),
    }
}

fn help(line: &str) -> String {
    let (kind, text) = answer(line);
    assert_eq!(kind, ErrorKind::DisplayHelp, "{line}: {text}");
    text
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_first_help_shows_where_to_start() {
    for line in ["weir -h", "weir --help"] {
        let text = help(line);
        for part in ["weir demo", "weir dev -f shop.yaml", "Usage: weir <COMMAND>", "explain", "apply"] {
            assert!(text.contains(part), "{line}: {part} is missing in\n{text}");
        }
        assert!(!text.contains("shop-app"), "an internal command is shown");
    }
    assert!(help("weir --help").contains("Exit status:\n  0  done"));
    assert!(help("weir help apply").contains("weir apply -f shop.yaml"));
    // Nothing said at all shows the help as well, and is an error.
    assert_eq!(answer("weir").0, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
}

#[test]
fn every_command_has_examples_and_every_flag_a_meaning() {
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name}");
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{name} {}", arg.get_id());
        }
        if ["version", "shop-app"].contains(&name) {
            continue;
        }
        // What stands behind `consul` is read as Consul reads it, `--help` as well.
        let line =
            if name == "consul" { "weir help consul".to_owned() } else { format!("weir {name} --help") };
        let text = help(&line);
        let long = command.get_long_about().unwrap_or_else(|| panic!("{name} is not described")).to_string();
        let unwrapped = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unwrapped.contains(long.split(['.', ':']).next().unwrap_or(&long)), "{name}:\n{text}");
        assert!(text.contains("Examples:\n  weir ") || text.contains("Examples:\n  cat "), "{name}:\n{text}");
        assert!(!text.contains("end-with-stdin"), "{name} shows an internal flag");
    }
}

#[test]
fn errors_say_what_was_expected() {
    let check = |line: &str, parts: &[&str]| {
        let (_, text) = answer(line);
        for part in parts {
            assert!(text.contains(part), "{line}: `{part}` is missing in\n{text}");
        }
    };
    check("weir aply -f x", &["unrecognized subcommand 'aply'", "apply"]);
    check("weir apply", &["--file <FILE>"]);
    check("weir apply -f x --sever y", &["--server"]);
    check("weir get services --server ftp://x", &["unknown scheme"]);
    check("weir dev --http 8500", &["127.0.0.1:8500", "0.0.0.0:8500"]);
    check("weir dev --http weir.example:80", &["not looked up"]);
    check("weir proxy --service cart", &["--app", "--inbound", "--outbound"]);
    check("weir proxy -f a.yaml --gateway b", &["cannot be used with"]);
    check("weir proxy --gateway a --drain-timeout 5", &["is not a duration", "250ms"]);
    check("weir proxy --gateway a --workers 0", &["1..=1024"]);
    check("weir delete", &["KIND"]);
    check("weir explain GET http://x/ --gateway a --from b", &["cannot be used with"]);
    check("weir get services -o xml", &["xml", "table"]);
    check("weir server --dns of", &["IP:PORT or `off`"]);
    check("weir lock a --ttl 500ms -- true", &["from 1s to 24h"]);
    check("weir lock a --count 0 -- true", &["1..=1000"]);
    check("weir top -o json --json", &["cannot be used with"]);
}

#[test]
fn common_lines_are_understood() {
    for line in [
        "weir demo",
        "weir dev -f a.yaml -f b.yaml --data-dir d --http [::1]:8500 --dns 127.0.0.1:8600",
        "weir server --config weir.yaml --insecure --open-files 4096 --log-format json",
        "weir server --print-config",
        "weir proxy -f a.yaml --workers 2 --access-log -",
        "weir proxy --gateway a --gateway b --server weir.example:8502 --data-dir d --id x",
        "weir apply -f - --dry-run -o json --server 127.0.0.1:1",
        "weir get HTTPRoute shop -n blue -o yaml",
        "weir delete -f a.yaml",
        "weir delete HTTPRoute shop -n blue",
        "weir explain GET http://x/ --header a:b -H c:d --from front -o json",
        "weir explain GET http://x/ -f a.yaml",
        "weir top -o json",
        "weir lock a --ttl 24h --kill-after 1s -- true",
        "weir version",
        "weir consul --help",
        "weir consul kv get -h",
        "weir shop-app cart --listen 127.0.0.1:0 --end-with-stdin",
    ] {
        assert!(Cli::try_parse_from(line.split_whitespace()).is_ok(), "{line}: {}", answer(line).1);
    }
}
