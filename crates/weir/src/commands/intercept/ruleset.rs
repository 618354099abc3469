//! The rules as nft reads them. One script is one transaction: all of it takes effect, or nothing.

use std::fmt::{Display, Write};

use crate::cli::intercept::{RuleArgs, TableName};

/// Leaves IPv6 alone.
const IPV6: &str = "meta nfproto ipv6 accept";

/// What puts the rules in force, whatever was there before under the same name.
pub(super) fn render(rules: &RuleArgs) -> String {
    let table = &rules.table.table;
    let mut out = removal(table);
    // Writing to memory does not fail.
    let _ = writeln!(out, "table inet {table} {{");
    if let Some(port) = rules.outbound {
        outbound(&mut out, rules, port.get());
    }
    if !rules.inbound.is_empty() {
        inbound(&mut out, rules);
    }
    out.push_str("}\n");
    out
}

/// What takes them out of force, also when there are none.
pub(super) fn removal(table: &TableName) -> String {
    format!("table inet {table} {{}}\ndelete table inet {table}\n")
}

fn outbound(out: &mut String, rules: &RuleArgs, port: u16) {
    out.push_str("\tchain outbound {\n\t\ttype nat hook output priority -100; policy accept;\n");
    let mut rule = |text: &str| {
        let _ = writeln!(out, "\t\t{text}");
    };
    rule("meta l4proto != tcp accept");
    if rules.ipv4_only {
        rule(IPV6);
    }
    if let Some(user) = &rules.proxy_uid {
        rule(&format!("meta skuid {user} accept comment \"the proxy itself\""));
    }
    if let Some(group) = &rules.proxy_gid {
        rule(&format!("meta skgid {group} accept comment \"the proxy itself\""));
    }
    if !rules.only_uid.is_empty() {
        rule(&format!("meta skuid != {{ {} }} accept", list(&rules.only_uid)));
    }
    if !rules.loopback {
        rule("fib daddr type local accept comment \"this host\"");
    }
    if !rules.exclude_port.is_empty() {
        rule(&format!("tcp dport {{ {} }} accept", list(&rules.exclude_port)));
    }
    // Networks may lie within each other, which a set must not.
    for network in &rules.exclude_net {
        let family = if network.to_string().contains(':') { "ip6" } else { "ip" };
        rule(&format!("{family} daddr {network} accept"));
    }
    rule(&format!("meta l4proto tcp redirect to :{port}"));
    out.push_str("\t}\n");
}

fn inbound(out: &mut String, rules: &RuleArgs) {
    out.push_str("\tchain inbound {\n\t\ttype nat hook prerouting priority -100; policy accept;\n");
    if rules.ipv4_only {
        let _ = writeln!(out, "\t\t{IPV6}");
    }
    for pair in &rules.inbound {
        // What is routed through this host comes by here as well, and is none of the application's.
        let _ = writeln!(out, "\t\tfib daddr type local tcp dport {} redirect to :{}", pair.from, pair.to);
    }
    out.push_str("\t}\n");
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::intercept::InterceptAction;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn rendered(line: &str) -> String {
        match Cli::try_parse_from(line.split_whitespace()).expect(line).command {
            Command::Intercept(args) => match args.action {
                InterceptAction::Print(rules) | InterceptAction::Apply(rules) => render(&rules),
                InterceptAction::Remove(table) => removal(&table.table),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_at_once() {
        let text = rendered(
            "weir intercept print --outbound 15001 --proxy-uid weir --proxy-gid 99 --only-uid app --only-uid 1000 \
             --exclude-port 22 --exclude-port 53 --exclude-net 10.0.0.0/8 --exclude-net fd00::/8 --inbound 9000=19000 \
             --inbound 9001=19001 --table mesh",
        );
        let expected = "\
table inet mesh {}
delete table inet mesh
table inet mesh {
\tchain outbound {
\t\ttype nat hook output priority -100; policy accept;
\t\tmeta l4proto != tcp accept
\t\tmeta skuid \"weir\" accept comment \"the proxy itself\"
\t\tmeta skgid 99 accept comment \"the proxy itself\"
\t\tmeta skuid != { \"app\", 1000 } accept
\t\tfib daddr type local accept comment \"this host\"
\t\ttcp dport { 22, 53 } accept
\t\tip daddr 10.0.0.0/8 accept
\t\tip6 daddr fd00::/8 accept
\t\tmeta l4proto tcp redirect to :15001
\t}
\tchain inbound {
\t\ttype nat hook prerouting priority -100; policy accept;
\t\tfib daddr type local tcp dport 9000 redirect to :19000
\t\tfib daddr type local tcp dport 9001 redirect to :19001
\t}
}
";
        assert_eq!(text, expected);
    }

    #[test]
    fn only_what_is_asked_for() {
        let inbound = rendered("weir intercept apply --inbound 9000=19000");
        assert!(!inbound.contains("chain outbound") && inbound.contains("chain inbound"), "{inbound}");
        let all = rendered("weir intercept print --outbound 15001 --proxy-uid 7 --loopback");
        assert!(!all.contains("type local") && !all.contains("inbound"), "{all}");
        assert!(!all.contains("ipv6") && !inbound.contains("ipv6"), "{all}{inbound}");
        let ipv4 =
            rendered("weir intercept print --outbound 15001 --proxy-uid 7 --inbound 9000=19000 --ipv4-only");
        assert_eq!(ipv4.matches("\t\tmeta nfproto ipv6 accept\n").count(), 2, "one for each chain: {ipv4}");
        assert_eq!(rendered("weir intercept remove"), "table inet weir {}\ndelete table inet weir\n");
    }

    #[test]
    fn what_would_loop_or_do_nothing_is_refused() {
        for line in [
            "weir intercept print",
            "weir intercept apply --outbound 15001",
            "weir intercept apply --outbound 0 --proxy-uid 7",
            "weir intercept apply --outbound 15001 --proxy-uid 7 --exclude-net 10.0.0.1/8",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
