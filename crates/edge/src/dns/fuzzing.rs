//! What must hold for every packet.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use domain::base::iana::Rtype;
use domain::base::{Message, ParsedRecord, ToName};

use super::answerer::{Answerer, Step};
use super::compose::Transport;
use super::config::DnsConfig;
use super::query::{Decoded, Head, Ignored, Query, decode};
use super::recursor::{self, Recursors};
use super::stats::DnsStats;
use super::table::Table;
use super::zone::Zone;

/// A packet gets silence, or one answer that can be read whole, repeats what it must, keeps within what the client takes,
/// and gets no answer itself. The same bytes as the answer of a recursor are passed on within these bounds, or not at all.
pub fn dns(data: &[u8]) {
    let answerer = answerer();
    let (head, query) = match decode(data) {
        Decoded::Ignored(why) => {
            assert_eq!(why == Ignored::Short, data.len() < 12);
            for transport in [Transport::Udp, Transport::Tcp] {
                assert!(matches!(answerer.begin(data, transport, Instant::now()), Step::Silence));
            }
            as_answer(data);
            return;
        }
        Decoded::Refused(refused) => (refused.head, None),
        Decoded::Query(query) => (query.head, Some(query)),
    };
    for transport in [Transport::Udp, Transport::Tcp] {
        let Step::Reply(reply) = answerer.begin(data, transport, Instant::now()) else {
            panic!("a query got no answer")
        };
        check(&reply, &head, query.as_ref(), transport);
    }
}

fn answerer() -> &'static Answerer<Table> {
    static ANSWERER: OnceLock<Answerer<Table>> = OnceLock::new();
    ANSWERER.get_or_init(|| {
        let stats = DnsStats::new(&[]);
        let zone = Zone::new(DnsConfig::default(), "dc1", [127, 0, 0, 1].into());
        Answerer::new(Arc::new(Table::sample()), zone, Recursors::new(&[], None, Arc::clone(&stats)), stats)
    })
}

fn check(reply: &[u8], head: &Head, query: Option<&Query>, transport: Transport) {
    assert!(reply.len() <= transport.bytes_max(head), "{} bytes", reply.len());
    assert!(matches!(decode(reply), Decoded::Ignored(Ignored::Response)), "it could be answered");
    let message = Message::from_slice(reply).expect("a header");
    let header = message.header();
    assert_eq!((header.id(), header.opcode()), (head.id, head.opcode));
    assert_eq!((header.rd(), header.cd()), (head.recursion_desired, head.checking_disabled));
    assert!(!header.tc() || transport == Transport::Udp, "there is no way that takes more than TCP");
    let options = whole(message).into_iter().filter(|rtype| *rtype == Rtype::OPT).count();
    assert_eq!(options, usize::from(head.edns.is_some()));
    if let Some(query) = query {
        let question = message.sole_question().expect("the question");
        let name = question.qname().to_bytes();
        assert_eq!(name.as_slice(), query.name.as_slice(), "in the client's own case");
        assert_eq!((question.qtype(), question.qclass()), (query.rtype, query.class));
    }
}

/// The types of all records, each of which can be read to its end.
fn whole(message: &Message<[u8]>) -> Vec<Rtype> {
    let mut types = Vec::new();
    let mut section = Some(message.answer().expect("questions"));
    while let Some(mut records) = section {
        for record in records.by_ref() {
            let record: ParsedRecord<'_, [u8]> = record.expect("a record");
            let _ = record.to_any_record::<domain::rdata::AllRecordData<_, _>>().expect("its data");
            types.push(record.rtype());
        }
        section = records.next_section().expect("records");
    }
    types
}

/// Takes the bytes for what a recursor answered to a question that they hold.
fn as_answer(data: &[u8]) {
    let Some((head, rest)) = data.split_at_checked(12) else { return };
    let packet = [&head[..2], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0], rest].concat();
    let Decoded::Query(query) = decode(&packet) else { return };
    for transport in [Transport::Udp, Transport::Tcp] {
        if let Some(passed_on) = recursor::passed_on(&query, query.head.id, data, transport) {
            assert!(passed_on.len() <= transport.bytes_max(&query.head));
            assert!(matches!(decode(&passed_on), Decoded::Ignored(Ignored::Response)));
        }
    }
}
