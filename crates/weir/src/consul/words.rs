//! What a server or an agent says of its flags, in the words of who has started it with Consul's.

use crate::exit::Failure;

/// Flags by their names here, and what they are called there. What has no other name there keeps its own.
const FLAGS: [(&str, &str); 13] = [
    ("--address", "-advertise"),
    ("--advertise", "-advertise"),
    ("--data-dir", "-data-dir"),
    ("--datacenter", "-datacenter"),
    ("--dns", "-dns-port"),
    ("--dns-recursor", "-recursor"),
    ("--grpc", "-grpc-port"),
    ("--http", "-http-port"),
    ("--https", "-https-port"),
    ("--log-level", "-log-level"),
    ("--node-meta", "-node-meta"),
    ("--node-name", "-node"),
    ("--server", "-retry-join"),
];
/// The same for settings, which messages begin with.
const SETTINGS: [(&str, &str); 2] = [("node-name: ", "-node: "), ("node-meta: ", "-node-meta: ")];

/// The failure, with the flags that its reader has.
pub(super) fn as_consul(failure: Failure) -> Failure {
    let mut message = failure.message;
    for (here, there) in SETTINGS {
        if let Some(rest) = message.strip_prefix(here) {
            message = format!("{there}{rest}");
        }
    }
    Failure { exit: failure.exit, message: text(&message), hint: failure.hint.as_deref().map(text) }
}

fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("--") {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(from.len());
        let (flag, behind) = from.split_at(end);
        let known = FLAGS.iter().find(|(here, _)| *here == flag).map_or(flag, |(_, there)| there);
        out.push_str(before);
        out.push_str(known);
        rest = behind;
        // Addresses here are ports there, and nothing is a port as well.
        if let ("-dns-port", Some(behind)) = (known, behind.strip_prefix(" off")) {
            out.push_str("=-1");
            rest = behind;
        } else if let ("-dns-port", Some(port)) = (known, behind.strip_prefix(" 127.0.0.1:")) {
            out.push(' ');
            rest = port;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn flags_are_called_what_they_are_called_there() {
        for (here, there) in [
            (
                "choose another address with --http; `ss -lntup`",
                "choose another address with -http-port; `ss -lntup`",
            ),
            ("--node-name NAME chooses", "-node NAME chooses"),
            ("(--dns 127.0.0.1:8700) or none (--dns off)", "(-dns-port 8700) or none (-dns-port=-1)"),
            ("--dns-recursor: x", "-recursor: x"),
            ("name one with --advertise IP", "name one with -advertise IP"),
            ("or add --insecure if; -- ", "or add --insecure if; -- "),
        ] {
            assert_eq!(text(here), there);
        }
        let failure = as_consul(Failure::new(Exit::Usage, "node-name: `a b`").hint("--node-name NAME"));
        assert_eq!(failure.to_string(), "error: -node: `a b`\ntry: -node NAME\n");
        assert_eq!(failure.exit, Exit::Usage);
    }
}
