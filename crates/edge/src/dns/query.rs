//! Reads a packet: a query that can be answered, one that must be refused, or something to keep silent about.
//!
//! Pure. What is refused and how:
//!
//! | packet | answer |
//! |---|---|
//! | shorter than a header; a response (two servers must not talk to each other for ever) | none |
//! | another opcode than QUERY | NOTIMP |
//! | not exactly one question (RFC 9619); a question or record that cannot be read; several OPT records | FORMERR |
//! | a version of EDNS other than 0 | BADVERS |
//! | a class other than IN and ANY | REFUSED |
//! | zone transfers and other types that are none of data (RFC 6895 section 3.1) | NOTIMP |

use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::message::Section;
use domain::base::opt::{Opt, OptRecord};
use domain::base::{Message, ParsedName, ParsedRecord, Question, ToName};

use super::bounds::{PLAIN_UDP_BYTES_MAX, UDP_ANSWER_BYTES_MAX};
use super::record::DnsName;

/// What an answer repeats of the query that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The query's number.
    pub(super) id: u16,
    /// What kind of query.
    pub(super) opcode: Opcode,
    /// Whether others may be asked.
    pub(super) recursion_desired: bool,
    /// Whether what cannot be validated is wanted too.
    pub(super) checking_disabled: bool,
    /// What the client says of EDNS; `None` if it does not speak it.
    pub(super) edns: Option<Edns>,
}

/// EDNS (RFC 6891), as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edns {
    /// The longest UDP packet that the client takes.
    pub(super) udp_bytes: u16,
    /// Whether it wants signatures.
    pub(super) dnssec_ok: bool,
}

impl Head {
    /// How long an answer over UDP may be.
    pub(super) fn udp_bytes_max(&self) -> usize {
        let asked = self.edns.map_or(0, |edns| usize::from(edns.udp_bytes));
        asked.clamp(PLAIN_UDP_BYTES_MAX, UDP_ANSWER_BYTES_MAX)
    }
}

/// A query that can be answered.
#[derive(Clone, Debug)]
pub(super) struct Query {
    /// What its answer repeats.
    pub(super) head: Head,
    /// The name, in the client's own case.
    pub(super) name: DnsName,
    /// The type of the records.
    pub(super) rtype: Rtype,
    /// Their class.
    pub(super) class: Class,
}

/// What a packet is.
#[derive(Debug)]
pub(super) enum Decoded {
    /// A query.
    Query(Query),
    /// A query that is refused.
    Refused(Refused),
    /// Nothing that gets an answer, and why.
    Ignored(Ignored),
}

/// A query that is refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// What the refusal repeats.
    pub(super) head: Head,
    /// The question, if there is one that could be read.
    pub(super) question: Option<(DnsName, Rtype, Class)>,
    /// Why.
    pub(super) rcode: OptRcode,
}

/// Why a packet gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ignored {
    /// It has no whole header.
    Short,
    /// It is no query.
    Response,
}

/// Reads a packet.
pub(super) fn decode(packet: &[u8]) -> Decoded {
    let Ok(message) = Message::from_slice(packet) else { return Decoded::Ignored(Ignored::Short) };
    let header = message.header();
    if header.qr() {
        return Decoded::Ignored(Ignored::Response);
    }
    let mut head = Head {
        id: header.id(),
        opcode: header.opcode(),
        recursion_desired: header.rd(),
        checking_disabled: header.cd(),
        edns: None,
    };
    let bare = |head, rcode| Decoded::Refused(Refused { head, question: None, rcode });
    if head.opcode != Opcode::QUERY {
        return bare(head, OptRcode::NOTIMP);
    }
    let Some(question) = sole_question(message) else { return bare(head, OptRcode::FORMERR) };
    let asked = (question.qname().to_bytes(), question.qtype(), question.qclass());
    let Ok(opt) = options(message) else {
        return Decoded::Refused(Refused { head, question: Some(asked), rcode: OptRcode::FORMERR });
    };
    let version = opt.as_ref().map_or(0, OptRecord::version);
    head.edns = opt.map(|opt| Edns { udp_bytes: opt.udp_payload_size(), dnssec_ok: opt.dnssec_ok() });
    let refuse = |rcode| Decoded::Refused(Refused { head, question: Some(asked.clone()), rcode });
    if version != 0 {
        return refuse(OptRcode::BADVERS);
    }
    if !matches!(asked.2, Class::IN | Class::ANY) {
        return refuse(OptRcode::REFUSED);
    }
    match asked.1.to_int() {
        0 | 41 => refuse(OptRcode::FORMERR),
        128..=254 => refuse(OptRcode::NOTIMP),
        _ => {
            let (name, rtype, class) = asked;
            Decoded::Query(Query { head, name, rtype, class })
        }
    }
}

/// The question, if there is exactly one, whose name is written out: nothing stands before it that it could refer to.
fn sole_question(message: &Message<[u8]>) -> Option<Question<ParsedName<&[u8]>>> {
    let question = message.sole_question().ok()?;
    (!question.qname().is_compressed()).then_some(question)
}

/// The OPT record, after every record was found to be readable.
fn options(message: &Message<[u8]>) -> Result<Option<OptRecord<&[u8]>>, ()> {
    let mut found = None;
    let mut section = message.answer().map_err(drop)?;
    for part in [Section::Answer, Section::Authority, Section::Additional] {
        for record in section.by_ref() {
            let record: ParsedRecord<'_, [u8]> = record.map_err(drop)?;
            if record.rtype() != Rtype::OPT {
                continue;
            }
            if part != Section::Additional || found.is_some() || !record.owner().is_root() {
                return Err(());
            }
            let record = record.into_record::<Opt<_>>().map_err(drop)?.ok_or(())?;
            found = Some(OptRecord::from(record));
        }
        match section.next_section().map_err(drop)? {
            Some(next) => section = next,
            None => break,
        }
    }
    Ok(found)
}

/// The code of an answer without what EDNS adds to it.
pub(super) fn plain(rcode: Rcode) -> OptRcode {
    OptRcode::from_rcode(rcode)
}

#[cfg(test)]
mod tests;
