//! Writes answers: names compressed, within what the client takes.

use domain::base::MessageBuilder;
use domain::base::iana::exterr::ExtendedErrorCode;
use domain::base::iana::{Class, OptRcode, Rtype};
use domain::base::message_builder::{AdditionalBuilder, HashCompressor};
use domain::base::opt::ExtendedError;

use super::bounds::{QUERY_BYTES_MAX, TCP_ANSWER_BYTES_MAX};
use super::query::{Head, Query, Refused, plain};
use super::record::{Answer, DnsName};

/// An OPT record without options.
const OPT_BYTES: usize = 11;
/// What an option has before its text: code, length, and the code of the error.
const EXTENDED_ERROR_BYTES: usize = 6;
/// The longest text of why there is nothing.
const WHY_BYTES_MAX: usize = 120;

/// How a query came, and its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Transport {
    /// In one packet.
    Udp,
    /// In a stream.
    Tcp,
}

impl Transport {
    /// How long an answer may be.
    pub(super) fn bytes_max(self, head: &Head) -> usize {
        match self {
            Self::Udp => head.udp_bytes_max(),
            Self::Tcp => TCP_ANSWER_BYTES_MAX,
        }
    }
}

/// An answer as it is sent.
#[derive(Debug)]
pub(super) struct Composed {
    /// The message.
    pub(super) bytes: Vec<u8>,
    /// Its code.
    pub(super) rcode: OptRcode,
    /// Whether records of the answer section did not fit.
    pub(super) truncated: bool,
}

type Builder = MessageBuilder<HashCompressor<Vec<u8>>>;

/// Writes an answer. What does not fit is left out, record by record: first what is additional, which does not count as
/// truncation since a client can ask for it (RFC 2181 section 9). If even answers do not fit, TC tells a client that came
/// by UDP to come by TCP; over TCP there is no more to be had, and those that come first in the order are sent.
pub(super) fn compose(query: &Query, answer: &Answer, transport: Transport, recursion: bool) -> Composed {
    let head = &query.head;
    let bytes_max = transport.bytes_max(head);
    let why = head.edns.and(answer.why.as_deref()).map(|why| (answer.why_code, shortened(why)));
    let reserved = if head.edns.is_some() { OPT_BYTES } else { 0 };
    let reserved = reserved + why.map_or(0, |(_, why)| EXTENDED_ERROR_BYTES + why.len());
    let mut builder = begin(head, plain(answer.rcode), recursion);
    builder.header_mut().set_aa(answer.authoritative);
    // The library keeps below its limit.
    builder.set_push_limit(bytes_max - reserved + 1);
    let mut builder = builder.question();
    // A question came in fewer bytes than any limit is.
    let _ = builder.push((&query.name, query.rtype, query.class));
    let mut builder = builder.answer();
    let truncated = answer.answers.iter().any(|record| builder.push(record).is_err());
    let mut builder = builder.authority();
    let all = !truncated && answer.authority.iter().all(|record| builder.push(record).is_ok());
    let mut builder = builder.additional();
    if all {
        let _ = answer.additional.iter().all(|record| builder.push(record).is_ok());
    }
    if truncated && transport == Transport::Udp {
        builder.header_mut().set_tc(true);
    }
    let bytes = finish(builder, head, plain(answer.rcode), why);
    Composed { bytes, rcode: plain(answer.rcode), truncated }
}

/// Writes a refusal.
pub(super) fn refusal(refused: &Refused, recursion: bool) -> Composed {
    let builder = begin(&refused.head, refused.rcode, recursion);
    let mut builder = builder.question();
    if let Some((name, rtype, class)) = &refused.question {
        let question: (&DnsName, Rtype, Class) = (name, *rtype, *class);
        let _ = builder.push(question);
    }
    let bytes = finish(builder.additional(), &refused.head, refused.rcode, None);
    Composed { bytes, rcode: refused.rcode, truncated: false }
}

fn begin(head: &Head, rcode: OptRcode, recursion: bool) -> Builder {
    let target = HashCompressor::new(Vec::with_capacity(512));
    let Ok(mut builder) = MessageBuilder::from_target(target);
    let header = builder.header_mut();
    header.set_id(head.id);
    header.set_qr(true);
    header.set_opcode(head.opcode);
    header.set_rd(head.recursion_desired);
    header.set_cd(head.checking_disabled);
    header.set_ra(recursion);
    header.set_rcode(rcode.rcode());
    builder
}

/// Adds what is said in EDNS to a client that speaks it.
fn finish(
    mut builder: AdditionalBuilder<HashCompressor<Vec<u8>>>,
    head: &Head,
    rcode: OptRcode,
    why: Option<(ExtendedErrorCode, &str)>,
) -> Vec<u8> {
    builder.clear_push_limit();
    if let Some(edns) = head.edns {
        // There is room: it was reserved.
        let _ = builder.opt(|opt| {
            opt.set_udp_payload_size(QUERY_BYTES_MAX as u16);
            opt.set_dnssec_ok(edns.dnssec_ok);
            opt.set_rcode(rcode);
            let error = why.and_then(|(code, text)| ExtendedError::new_with_str(code, text).ok());
            error.map_or(Ok(()), |error: ExtendedError<Vec<u8>>| opt.push(&error))
        });
    }
    builder.finish().into_target()
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(WHY_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
