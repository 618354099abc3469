//! What is answered, by name and type.

use domain::base::Name;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use weir_model::registry::Health;

use super::*;
use crate::dns::config::Domain;
use crate::dns::table::{Member, Table};

fn zone(change: impl FnOnce(&mut DnsConfig)) -> Zone {
    let mut config = DnsConfig::default();
    change(&mut config);
    Zone::new(config, "dc1", "127.0.0.1".parse().unwrap())
}

fn outcome(zone: &Zone, table: &Table, name: &str, rtype: Rtype) -> Outcome {
    let name = Name::bytes_from_str(name).unwrap();
    zone.answer(table, &name, rtype, &mut StdRng::seed_from_u64(1))
}

/// An answer as a person would write it down: code, answers, then what else is said.
fn told(zone: &Zone, table: &Table, name: &str, rtype: Rtype) -> Vec<String> {
    let (kind, answer) = match outcome(zone, table, name, rtype) {
        Outcome::Answer(answer) => ("", answer),
        Outcome::Elsewhere(answer) => ("elsewhere ", answer),
        Outcome::Alias(answer, _) => ("alias ", answer),
    };
    let shown = |mark: &str, records: &[DnsRecord]| {
        let line = |record: &DnsRecord| {
            let data = record.data();
            format!("{mark}{} {} {} {data}", record.owner(), record.ttl().as_secs(), record.rtype())
        };
        let mut lines: Vec<String> = records.iter().map(line).collect();
        lines.sort();
        lines
    };
    let code = format!("{kind}{}{}", answer.rcode, if answer.authoritative { " aa" } else { "" });
    let sections = [
        shown("", &answer.answers),
        shown("authority ", &answer.authority),
        shown("additional ", &answer.additional),
    ];
    std::iter::once(code).chain(sections.concat()).collect()
}

fn check(name: &str, rtype: Rtype, expected: &[&str]) {
    assert_eq!(told(&zone(|_| {}), &Table::sample(), name, rtype), expected, "{name} {rtype}");
}

/// Nothing of this name, or nothing of this type, with the SOA that says for how long.
fn check_absent(name: &str, rtype: Rtype, rcode: &str, why: &str) {
    let table = Table::sample();
    let Outcome::Answer(answer) = outcome(&zone(|_| {}), &table, name, rtype) else {
        panic!("{name} is ours")
    };
    assert_eq!(answer.rcode.to_string(), rcode, "{name} {rtype}");
    assert!(answer.answers.is_empty() && answer.authority.len() == 1, "{name} {rtype}");
    assert_eq!(answer.authority[0].owner().to_string(), "consul");
    assert_eq!(answer.authority[0].rtype(), Rtype::SOA);
    assert!(answer.why.as_deref().unwrap().contains(why), "{name}: {:?}", answer.why);
}

#[test]
fn addresses_of_services() {
    let web = "web.service.consul 0 A 10.0.1.1";
    check("web.service.consul", Rtype::A, &["NOERROR aa", web]);
    check("WEB.Service.CONSUL", Rtype::A, &["NOERROR aa", "WEB.Service.CONSUL 0 A 10.0.1.1"]);
    check("web.service.consul", Rtype::AAAA, &["NOERROR aa", "web.service.consul 0 AAAA 2001:db8::1"]);
    check("web.service.consul", Rtype::ANY, &["NOERROR aa", web, "web.service.consul 0 AAAA 2001:db8::1"]);
    check("v1.web.service.consul", Rtype::A, &["NOERROR aa", "v1.web.service.consul 0 A 10.0.1.1"]);
    check("V1.web.service.dc1.consul", Rtype::A, &["NOERROR aa", "V1.web.service.dc1.consul 0 A 10.0.1.1"]);
    check(
        "blue.green.web.service.consul",
        Rtype::A,
        &["NOERROR aa", "blue.green.web.service.consul 0 A 10.0.1.1"],
    );
    check("bare.service.consul", Rtype::A, &["NOERROR aa", "bare.service.consul 0 A 10.0.0.1"]);
    check("loud.service.consul", Rtype::A, &["NOERROR aa", "loud.service.consul 0 A 10.0.1.5"]);
    check("dotted.name.service.consul", Rtype::A, &["NOERROR aa", "dotted.name.service.consul 0 A 10.0.1.4"]);
    check("dual.service.consul", Rtype::AAAA, &["NOERROR aa", "dual.service.consul 0 AAAA 2001:db8::8"]);
    check(
        "team-web.service.team.ns.consul",
        Rtype::A,
        &["NOERROR aa", "team-web.service.team.ns.consul 0 A 10.0.1.6"],
    );
    check(
        "team-web.service.team.dc1.consul",
        Rtype::A,
        &["NOERROR aa", "team-web.service.team.dc1.consul 0 A 10.0.1.6"],
    );
}

#[test]
fn srv_records_name_where_an_instance_is() {
    check(
        "_web._tcp.service.consul",
        Rtype::SRV,
        &[
            "NOERROR aa",
            "_web._tcp.service.consul 0 SRV 1 1 8080 0a000101.addr.dc1.consul",
            "_web._tcp.service.consul 0 SRV 1 1 8080 20010db8000000000000000000000001.addr.dc1.consul",
            "additional 0a000101.addr.dc1.consul 0 A 10.0.1.1",
            "additional 20010db8000000000000000000000001.addr.dc1.consul 0 AAAA 2001:db8::1",
        ],
    );
    check(
        "_web._v2.consul",
        Rtype::SRV,
        &[
            "NOERROR aa",
            "_web._v2.consul 0 SRV 1 1 8080 20010db8000000000000000000000001.addr.dc1.consul",
            "additional 20010db8000000000000000000000001.addr.dc1.consul 0 AAAA 2001:db8::1",
        ],
    );
    check(
        "bare.service.consul",
        Rtype::SRV,
        &[
            "NOERROR aa",
            "bare.service.consul 0 SRV 1 1 5432 a.node.dc1.consul",
            "additional a.node.dc1.consul 0 A 10.0.0.1",
        ],
    );
    check(
        "named.service.consul",
        Rtype::SRV,
        &["NOERROR aa", "named.service.consul 0 SRV 1 1 3306 db.example.com"],
    );
    // Every target has an answer of its own.
    check("0a000101.addr.dc1.consul", Rtype::A, &["NOERROR aa", "0a000101.addr.dc1.consul 0 A 10.0.1.1"]);
}

/// HAProxy takes each address for one record.
#[test]
fn every_srv_record_has_its_address_even_where_targets_are_the_same() {
    let table = Table::default()
        .node("a", "10.0.0.1", &[])
        .member(Member::of("w", "10.0.0.2", 1))
        .member(Member::of("w", "10.0.0.2", 2))
        .member(Member::of("w", "10.0.0.2", 3));
    let found = told(&zone(|_| {}), &table, "w.service.consul", Rtype::SRV);
    assert_eq!(found[4..], ["additional 0a000002.addr.dc1.consul 0 A 10.0.0.2"; 3]);
}

#[test]
fn a_host_name_is_an_alias() {
    check(
        "named.service.consul",
        Rtype::A,
        &["alias NOERROR aa", "named.service.consul 0 CNAME db.example.com."],
    );
    check("host.node.consul", Rtype::AAAA, &["alias NOERROR aa", "host.node.consul 0 CNAME db.example.com."]);
}

#[test]
fn nodes() {
    check("a.node.consul", Rtype::A, &["NOERROR aa", "a.node.consul 0 A 10.0.0.1"]);
    check("A.node.dc1.consul", Rtype::A, &["NOERROR aa", "A.node.dc1.consul 0 A 10.0.0.1"]);
    check("b.example.node.consul", Rtype::AAAA, &["NOERROR aa", "b.example.node.consul 0 AAAA 2001:db8::b"]);
    check(
        "a.node.consul",
        Rtype::TXT,
        &["NOERROR aa", "a.node.consul 0 TXT \"plain\"", "a.node.consul 0 TXT \"zone=z1\""],
    );
}

#[test]
fn addresses_by_their_names() {
    check(
        "1.0.0.10.in-addr.arpa",
        Rtype::PTR,
        &["NOERROR aa", "1.0.0.10.in-addr.arpa 0 PTR a.node.dc1.consul."],
    );
    check(
        "1.1.0.10.in-addr.arpa",
        Rtype::PTR,
        &["NOERROR aa", "1.1.0.10.in-addr.arpa 0 PTR web.service.consul."],
    );
    check(
        "6.1.0.10.in-addr.arpa",
        Rtype::ANY,
        &["NOERROR aa", "6.1.0.10.in-addr.arpa 0 PTR team-web.service.team.ns.dc1.dc.consul."],
    );
    let b = "b.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    check(b, Rtype::PTR, &["NOERROR aa", &format!("{b} 0 PTR b.example.node.dc1.consul.")]);
    // Others may know who has an address that nobody here has.
    let soa = |tree| format!("authority {tree} 0 SOA ns.consul. hostmaster.consul. 72 3600 600 86400 0");
    check("9.9.9.9.in-addr.arpa", Rtype::PTR, &["elsewhere NXDOMAIN aa", &soa("in-addr.arpa")]);
    check("10.in-addr.arpa", Rtype::SOA, &["elsewhere NOERROR aa", &soa("in-addr.arpa")]);
    check("x.ip6.arpa", Rtype::PTR, &["elsewhere NXDOMAIN aa", &soa("ip6.arpa")]);
    check("1.1.0.10.in-addr.arpa", Rtype::A, &["NOERROR aa", &soa("in-addr.arpa")]);
}

#[test]
fn the_domain_itself() {
    let soa = "consul 0 SOA ns.consul. hostmaster.consul. 72 3600 600 86400 0";
    check("consul", Rtype::SOA, &["NOERROR aa", soa]);
    check(
        "consul",
        Rtype::NS,
        &["NOERROR aa", "consul 0 NS ns.consul.", "additional ns.consul 0 A 127.0.0.1"],
    );
    check("ns.consul", Rtype::A, &["NOERROR aa", "ns.consul 0 A 127.0.0.1"]);
    check_absent("consul", Rtype::A, "NOERROR", "nothing of this type");
    check("example.com", Rtype::A, &["elsewhere REFUSED"]);
    check("notconsul", Rtype::A, &["elsewhere REFUSED"]);
    check(".", Rtype::NS, &["elsewhere REFUSED"]);
}

#[test]
fn what_there_is_not() {
    for (name, why) in [
        ("nope.service.consul", "there is no service nope"),
        ("v9.web.service.consul", "no instance of web has the tag v9"),
        ("_web._udp.service.consul", "no instance of web has the tag udp"),
        ("v3.web.service.consul", "none of the 1 instances is healthy"),
        ("ill.service.consul", "none of the 1 instances is healthy"),
        ("web.service.dc2.consul", "no such datacenter"),
        ("web.service.team.ns.consul", "there is no service web in namespace team"),
        ("web.service.nope.ns.consul", "there is no namespace nope"),
        ("_web._tcp.service.nope.ns.consul", "there is no namespace nope"),
        ("nope.node.consul", "there is no node nope"),
        ("nope.consul", "no such datacenter"),
        ("best.query.consul", "no prepared query"),
        ("web.connect.consul", "ask for the service"),
        ("service.nobody.ns.consul", "there is no namespace nobody"),
        ("we\\000b.service.consul", "no name here"),
    ] {
        check_absent(name, Rtype::A, "NXDOMAIN", why);
        check_absent(name, Rtype::SRV, "NXDOMAIN", why);
    }
    for (name, rtype) in [
        ("bare.service.consul", Rtype::AAAA),
        ("web.service.consul", Rtype::MX),
        ("a.node.consul", Rtype::SRV),
        ("a.node.consul", Rtype::AAAA),
        ("0a000101.addr.consul", Rtype::AAAA),
        ("ns.consul", Rtype::AAAA),
    ] {
        check_absent(name, rtype, "NOERROR", "nothing of this type");
    }
    for name in [
        "service.consul",
        "dc1.consul",
        "_tcp.service.consul",
        "green.web.service.consul",
        "service.team.ns.consul",
    ] {
        check_absent(name, Rtype::A, "NOERROR", "only longer names have records");
    }
}

#[test]
fn settings() {
    let table = Table::sample();
    let passing = zone(|config| config.only_passing = true);
    assert_eq!(told(&passing, &table, "web.service.consul", Rtype::AAAA)[0], "NOERROR aa");
    assert_eq!(
        told(&passing, &table, "web.service.consul", Rtype::ANY).len(),
        2,
        "the warning one is left out"
    );
    let times = zone(|config| {
        config.node_ttl = Duration::from_secs(7);
        config.negative_ttl = Duration::from_secs(9);
        config.service_ttls = crate::dns::ServiceTtls::new(vec!["web=30s".parse().unwrap()]);
    });
    let check = |name: &str, rtype, line: &str| {
        let told = told(&times, &table, name, rtype);
        assert!(told.iter().any(|found| found == line), "{line} is missing in {told:?}");
    };
    check("web.service.consul", Rtype::A, "web.service.consul 30 A 10.0.1.1");
    check("bare.service.consul", Rtype::A, "bare.service.consul 0 A 10.0.0.1");
    check("a.node.consul", Rtype::A, "a.node.consul 7 A 10.0.0.1");
    let soa = "authority consul 9 SOA ns.consul. hostmaster.consul. 72 3600 600 86400 9";
    check("nope.node.consul", Rtype::A, soa);
    let other = zone(|config| {
        config.domain = "svc.example".parse().unwrap();
        config.alt_domain = Some("example".parse::<Domain>().unwrap());
    });
    assert_eq!(
        told(&other, &table, "bare.service.svc.example", Rtype::SRV)[1],
        "bare.service.svc.example 0 SRV 1 1 5432 a.node.dc1.svc.example"
    );
    assert_eq!(
        told(&other, &table, "bare.service.example", Rtype::SRV)[1],
        "bare.service.example 0 SRV 1 1 5432 a.node.dc1.example"
    );
    assert_eq!(told(&other, &table, "bare.service.consul", Rtype::A), ["elsewhere REFUSED"]);
}

#[test]
fn weights_are_those_of_the_health_and_add_up() {
    let table = Table::default()
        .node("a", "10.0.0.1", &[])
        .member(Member::of("w", "10.0.0.2", 1).weighing(7, 2))
        .member(Member::of("w", "10.0.0.3", 1).weighing(7, 2).that_is(Health::Warning))
        .member(Member::of("w", "10.0.0.4", 1).weighing(70_000, 1))
        .member(Member::of("w", "10.0.0.5", 1).weighing(3, 1))
        .member(Member::of("w", "10.0.0.5", 1).weighing(4, 1));
    let found = told(&zone(|_| {}), &table, "w.service.consul", Rtype::SRV);
    for line in ["1 7 1 0a000002", "1 2 1 0a000003", "1 65535 1 0a000004", "1 7 1 0a000005"] {
        let line = format!("w.service.consul 0 SRV {line}.addr.dc1.consul");
        assert_eq!(found.iter().filter(|found| **found == line).count(), 1, "{line} in {found:?}");
    }
    // One address is one record, however many instances are there.
    assert_eq!(told(&zone(|_| {}), &table, "w.service.consul", Rtype::A).len(), 1 + 4);
}

#[test]
fn a_node_whose_name_is_no_name_is_told_of_by_its_address() {
    let table = Table::default()
        .node(&"n".repeat(64), "10.0.0.9", &[])
        .member(Member::of("w", "", 1).on(&"n".repeat(64)));
    let found = told(&zone(|_| {}), &table, "w.service.consul", Rtype::SRV);
    assert_eq!(found[1], "w.service.consul 0 SRV 1 1 1 0a000009.addr.dc1.consul");
    assert_eq!(told(&zone(|_| {}), &table, "9.0.0.10.in-addr.arpa", Rtype::PTR)[0], "elsewhere NXDOMAIN aa");
}

proptest! {
    /// Any name below the domain gets an answer of ours, and one of nothing says for how long.
    #[test]
    fn every_name_of_ours_is_answered(
        labels in prop::collection::vec("[a-z_]{1,4}|service|node|addr|web|many|ns|dc|dc1|_tcp|7f000001", 0..7),
        rtype in prop::sample::select(vec![Rtype::A, Rtype::AAAA, Rtype::SRV, Rtype::ANY, Rtype::SOA, Rtype::TXT]),
    ) {
        let name = labels.iter().map(|label| format!("{label}.")).collect::<String>() + "consul.";
        match outcome(&zone(|_| {}), &Table::sample(), &name, rtype) {
            Outcome::Answer(answer) => {
                prop_assert!(answer.authoritative);
                prop_assert_eq!(answer.answers.is_empty(), answer.authority.len() == 1);
                prop_assert!(answer.answers.is_empty() || answer.rcode == Rcode::NOERROR);
                for record in &answer.answers {
                    prop_assert!(rtype == Rtype::ANY || record.rtype() == rtype);
                }
            }
            Outcome::Alias(answer, _) => prop_assert_eq!(answer.answers.len(), 1),
            Outcome::Elsewhere(_) => prop_assert!(false, "{name} is ours"),
        }
    }

    /// If a longer name has records, no shorter one is denied: a resolver may ask for one label after the other.
    #[test]
    fn nothing_on_the_way_to_a_record_is_denied(at in 0..9_usize) {
        let names = [
            "web.service.dc1.dc.consul", "_web._v1.service.consul", "_web._tcp.dc1.consul", "a.node.dc1.consul",
            "7f000001.addr.consul", "team-web.service.team.ns.default.ap.dc1.dc.consul", "v1.web.service.consul",
            "blue.green.web.service.consul", "team-web.service.team.dc1.consul",
        ];
        let mut name = names[at];
        while let Some((_, shorter)) = name.split_once('.') {
            let Outcome::Answer(answer) = outcome(&zone(|_| {}), &Table::sample(), name, Rtype::A) else {
                return Err(TestCaseError::fail("not ours"));
            };
            prop_assert_eq!(answer.rcode, Rcode::NOERROR, "{}", name);
            name = shorter;
        }
    }
}

#[test]
fn prepared_queries() {
    let addresses = |name: &str| [format!("{name} 10 A 10.0.0.1"), format!("{name} 10 A 10.0.1.1")];
    for name in ["best.of.query.consul", "Best.Of.query.dc1.consul"] {
        let [bare, web] = addresses(name);
        check(name, Rtype::A, &["NOERROR aa", &bare, &web]);
    }
    check(
        "best.of.query.consul",
        Rtype::SRV,
        &[
            "NOERROR aa",
            "best.of.query.consul 10 SRV 1 1 5432 a.node.dc1.consul",
            "best.of.query.consul 10 SRV 1 1 8080 0a000101.addr.dc1.consul",
            "additional 0a000101.addr.dc1.consul 10 A 10.0.1.1",
            "additional a.node.dc1.consul 10 A 10.0.0.1",
        ],
    );
    let [bare, web] = addresses("_best.of._tcp.query.consul");
    check("_best.of._tcp.query.consul", Rtype::A, &["NOERROR aa", &bare, &web]);
    for between in ["_tcp.query.consul", "of._tcp.query.consul", "of.query.consul"] {
        check_absent(between, Rtype::SRV, "NOERROR", "only longer names have records");
    }
    check_absent("_best._tcp.query.consul", Rtype::SRV, "NXDOMAIN", "there is no prepared query best");
    check_absent("off._tcp.query.consul", Rtype::SRV, "NXDOMAIN", "there is no prepared query off._tcp");
    check_absent("best.query.consul", Rtype::A, "NXDOMAIN", "there is no prepared query best");
    check_absent("query.consul", Rtype::A, "NOERROR", "only longer names have records");
}

#[test]
fn the_order_of_a_prepared_query_is_kept() {
    let table = Table::sample();
    for seed in 0..50 {
        let name = Name::bytes_from_str("best.of.query.consul").unwrap();
        for rtype in [Rtype::A, Rtype::SRV] {
            let mut rng = StdRng::seed_from_u64(seed);
            let Outcome::Answer(answer) = zone(|_| {}).answer(&table, &name, rtype, &mut rng) else {
                panic!()
            };
            let first = answer.answers[0].data().to_string();
            assert!(first == "10.0.1.1" || first.starts_with("1 1 8080"), "{seed} {rtype}: {first}");
        }
    }
}
