//! Answers of any number of records, for clients that take any number of bytes.

use bytes::Bytes;
use domain::base::iana::Rcode;
use domain::base::{Message, Name};
use domain::rdata::{Srv, ZoneRecordData};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::*;
use crate::dns::bounds::UDP_ANSWER_BYTES_MAX;
use crate::dns::query::{Decoded, Edns, decode};
use crate::dns::record::{Answer, DnsRecord, address, below, hex, record};

fn name(text: &str) -> DnsName {
    Name::bytes_from_str(text).unwrap()
}

fn query(rtype: Rtype, edns: Option<u16>) -> Query {
    let edns = edns.map(|udp_bytes| Edns { udp_bytes, dnssec_ok: true });
    let opcode = domain::base::iana::Opcode::QUERY;
    let head = Head { id: 7, opcode, recursion_desired: true, checking_disabled: false, edns };
    Query { head, name: name("wEb.service.consul"), rtype, class: Class::IN }
}

/// SRV records with their targets' addresses.
fn srv(count: u32) -> Answer {
    let mut answer = Answer { authoritative: true, ..Answer::of(Rcode::NOERROR) };
    for n in 0..count {
        let ip = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
        let target = below([hex(ip).as_str(), "addr", "dc1"], &name("consul")).unwrap();
        answer.additional.push(address(&target, Duration::ZERO, ip));
        answer.answers.push(record(&name("wEb.service.consul"), Duration::ZERO, Srv::new(1, 1, 80, target)));
    }
    answer
}

/// The records of both sections as text, and whether TC is set.
fn sections(bytes: &[u8]) -> (Vec<String>, Vec<String>, bool) {
    type Parsed<'a> = ZoneRecordData<&'a [u8], domain::base::ParsedName<&'a [u8]>>;
    let message = Message::from_slice(bytes).unwrap();
    let told = |section: domain::base::message::RecordSection<'_, [u8]>| -> Vec<String> {
        let records = section.limit_to::<Parsed<'_>>().map(Result::unwrap);
        let records = records.filter(|record| record.rtype() != Rtype::OPT);
        records.map(|record| format!("{} {}", record.owner(), record.data())).collect()
    };
    (told(message.answer().unwrap()), told(message.additional().unwrap()), message.header().tc())
}

/// The first of these records, as text.
fn first(count: usize, records: &[DnsRecord]) -> Vec<String> {
    records[..count].iter().map(|record| format!("{} {}", record.owner(), record.data())).collect()
}

proptest! {
    #[test]
    fn as_much_as_fits_and_never_more(count in 0..1500_u32, edns in prop::option::of(any::<u16>()), tcp: bool) {
        let (query, answer) = (query(Rtype::SRV, edns), srv(count));
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let composed = compose(&query, &answer, transport, false);
        let max = if tcp { 65_535 } else { usize::from(edns.unwrap_or(0)).clamp(512, UDP_ANSWER_BYTES_MAX) };
        prop_assert!(composed.bytes.len() <= max);
        let (answers, additional, tc) = sections(&composed.bytes);
        prop_assert_eq!(&answers, &first(answers.len(), &answer.answers), "those that come first");
        prop_assert_eq!(&additional, &first(additional.len(), &answer.additional));
        let all = answers.len() == answer.answers.len();
        prop_assert_eq!(composed.truncated, !all);
        prop_assert_eq!(tc, !all && !tcp);
        prop_assert!(all || additional.is_empty());
        if !all || additional.len() < answer.additional.len() {
            // One more record of its kind, 25 bytes with its pointers and 55 with names written out, would not have fitted.
            prop_assert!(composed.bytes.len() + 55 > max, "{} of {max} bytes", composed.bytes.len());
        }
        prop_assert!(matches!(decode(&composed.bytes), Decoded::Ignored(_)));
    }
}

#[test]
fn a_pool_of_a_few_instances_fits_the_smallest_packet() {
    let composed = compose(&query(Rtype::SRV, None), &srv(7), Transport::Udp, false);
    let (answers, additional, tc) = sections(&composed.bytes);
    assert_eq!((answers.len(), tc), (7, false));
    // What is left out of the additional section can be asked for.
    assert!(additional.len() < 7);
}

#[test]
fn the_header_says_what_it_must() {
    let mut answer = srv(1);
    let check = |answer: &Answer, recursion, expected: (bool, bool, bool, bool)| {
        let composed = compose(&query(Rtype::SRV, Some(512)), answer, Transport::Udp, recursion);
        let header = Message::from_slice(&composed.bytes).unwrap().header();
        assert_eq!((header.qr(), header.aa(), header.rd(), header.ra()), expected);
        assert_eq!((header.id(), header.rcode()), (7, answer.rcode));
    };
    check(&answer, false, (true, true, true, false));
    answer.authoritative = false;
    answer.rcode = Rcode::SERVFAIL;
    check(&answer, true, (true, false, true, true));
}

#[test]
fn why_there_is_nothing_is_said_to_those_who_understand() {
    let answer = Answer { why: Some("ä".repeat(100)), ..Answer::of(Rcode::NXDOMAIN) };
    let composed = compose(&query(Rtype::A, Some(1232)), &answer, Transport::Udp, false);
    let message = Message::from_octets(Bytes::from(composed.bytes)).unwrap();
    let opt = message.opt().unwrap();
    assert!(opt.dnssec_ok());
    let error = opt.opt().extended_error().unwrap();
    assert_eq!(error.text().unwrap().unwrap().as_str(), "ä".repeat(WHY_BYTES_MAX / 2));
    let plain = compose(&query(Rtype::A, None), &answer, Transport::Udp, false);
    assert!(Message::from_octets(plain.bytes).unwrap().opt().is_none());
}
