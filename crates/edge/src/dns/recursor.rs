//! Asks other servers: for names of other domains, and for where aliases lead.
//!
//! ```text
//! query -> the same question under way? wait for its answer
//!       -> recursors in their order, those that failed lately last, until one answers usefully
//!       -> those with more than one address once more, at the next one
//! ```
//!
//! A question is written anew: options of EDNS are between neighbours (RFC 6891 section 6.2.6). What comes back is passed
//! on as it is, but for its number and the case of the name, which are the client's. Only one of equal questions is on its
//! way at a time: so a recursor that asks this server back, for what it was asked, waits for itself and no query goes
//! round for ever.

mod exchange;
mod target;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::message_builder::StaticCompressor;
use domain::base::{Header, Message, MessageBuilder, ToName};
use domain::rdata::AllRecordData;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::bounds::{
    NAME_REST, PLAIN_UDP_BYTES_MAX, QUERY_BYTES_MAX, RECURSION_TIME_MAX, RECURSION_TIMEOUT, RECURSOR_REST,
    RELAY_HOLD_MAX, RELAY_LOOK_EVERY_MAX, RELAYS_HELD_MAX,
};
use super::compose::Transport;
use super::query::{Edns, Head, Query};
use super::record::{Data, DnsName, DnsRecord};
use super::stats::DnsStats;

use target::{Lookup, Place, by_the_system};
pub use target::{Said, Target};

/// The records that are taken over of where an alias leads: more aliases on the way, and the addresses.
const RECORDS_MAX: usize = 64;

/// Servers that are asked, in this order.
pub(super) struct Recursors {
    list: Vec<Recursor>,
    lookup: Lookup,
    /// The server's own address, which is asked nothing.
    own: Option<SocketAddr>,
    began: Instant,
    under_way: Mutex<HashMap<Question, Expected>>,
    /// Whether it was said that none of them answers, and not yet that one does again.
    is_out: AtomicBool,
    /// For queries that are held while none of them is heard.
    held: Semaphore,
    stats: Arc<DnsStats>,
}

/// The answer that somebody waits for, once it is there.
type Expected = watch::Receiver<Option<Arc<Vec<u8>>>>;

struct Recursor {
    place: Place,
    /// When it last failed, in milliseconds since the beginning; 0 for never.
    failed_at_ms: AtomicU64,
    /// Why it was not heard when it was last asked; none if it was, whatever it said.
    unheard: Mutex<Option<String>>,
}

/// An answer of another server.
pub(super) struct Reply {
    /// The message, as the client is to get it.
    pub(super) bytes: Vec<u8>,
    /// Its code.
    pub(super) rcode: Rcode,
}

/// What makes two questions the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    /// The name in lower case, as it is sent.
    name: Vec<u8>,
    rtype: Rtype,
    class: Class,
    transport: Transport,
    recursion_desired: bool,
    checking_disabled: bool,
    /// What is said in EDNS: size and signatures.
    edns: Option<(u16, bool)>,
}

impl Recursors {
    /// Of a server that listens at `own`.
    pub(super) fn new(targets: &[Target], own: Option<SocketAddr>, stats: Arc<DnsStats>) -> Self {
        let place = |target: &Target| Place::new(target.clone());
        let recursor = |target: &Target| Recursor {
            place: place(target),
            failed_at_ms: AtomicU64::new(0),
            unheard: Mutex::default(),
        };
        let list = targets.iter().map(recursor);
        let (list, began) = (list.collect(), Instant::now());
        Self {
            list,
            lookup: Lookup { by: by_the_system, rest: NAME_REST },
            own,
            began,
            under_way: Mutex::default(),
            is_out: AtomicBool::new(false),
            held: Semaphore::new(RELAYS_HELD_MAX),
            stats,
        }
    }

    /// Whether there is one.
    pub(super) fn any(&self) -> bool {
        !self.list.is_empty()
    }

    /// The answer to a query as somebody else gives it; `None` if nobody does in time.
    pub(super) async fn forward(&self, query: &Query, transport: Transport) -> Option<Reply> {
        let deadline = Instant::now() + RECURSION_TIME_MAX;
        let answer = timeout_at(deadline, self.joint(query, transport)).await.ok().flatten();
        self.note_outage(answer.is_none());
        for_client(query, &answer?, transport, Whose::Others)
    }

    /// The same for who relays: while none of the servers is heard, and `may` allows it, the query is held for a while.
    pub(super) async fn relay(
        &self,
        query: &Query,
        transport: Transport,
        may: impl Fn() -> bool,
    ) -> Option<Reply> {
        let began = Instant::now();
        let asked = async || {
            let deadline = began + RECURSION_TIME_MAX;
            timeout_at(deadline, self.joint(query, transport)).await.ok().flatten()
        };
        let mut answer = asked().await;
        if answer.is_none()
            && let Ok(_held) = self.held.try_acquire()
        {
            let is_held = || self.nobody_is_heard() && may() && began.elapsed() < RELAY_HOLD_MAX;
            while answer.is_none() && is_held() {
                sleep(RELAY_LOOK_EVERY_MAX.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
                answer = asked().await;
            }
        }
        self.note_outage(answer.is_none());
        for_client(query, &answer?, transport, Whose::Servers)
    }

    /// Whether none of them said anything when it was last asked.
    fn nobody_is_heard(&self) -> bool {
        self.list.iter().all(|recursor| recursor.unheard().is_some())
    }

    /// Why the last query was not answered, for people.
    pub(super) fn problem(&self) -> String {
        let said = |recursor: &Recursor| {
            let why = recursor.unheard().clone();
            format!("{}: {}", recursor.place, why.as_deref().unwrap_or("it does not know"))
        };
        let all: Vec<_> = self.list.iter().map(said).collect();
        format!("no DNS server that was asked answers: {}", all.join("; "))
    }

    /// Says once that none of them is heard, and once that one is again. One that answers that it fails is heard.
    fn note_outage(&self, is_unanswered: bool) {
        let is_out = is_unanswered && self.nobody_is_heard();
        if is_unanswered && !is_out || self.is_out.swap(is_out, Ordering::Relaxed) == is_out {
            return;
        }
        if is_out {
            tracing::warn!(reason = self.problem(), "DNS queries that others are asked about get SERVFAIL");
        } else {
            tracing::info!("a DNS server that others are asked at answers again");
        }
    }

    /// The records that a name elsewhere has; none if nobody tells.
    pub(super) async fn records(&self, name: &DnsName, rtype: Rtype) -> Vec<DnsRecord> {
        let edns = Edns { udp_bytes: QUERY_BYTES_MAX as u16, dnssec_ok: false };
        let head = Head {
            id: 0,
            opcode: domain::base::iana::Opcode::QUERY,
            recursion_desired: true,
            checking_disabled: false,
            edns: Some(edns),
        };
        let query = Query { head, name: name.clone(), rtype, class: Class::IN };
        let deadline = Instant::now() + RECURSION_TIME_MAX;
        let answer = timeout_at(deadline, self.joint(&query, Transport::Udp)).await.ok().flatten();
        answer.map_or_else(Vec::new, |answer| taken_over(&answer))
    }

    /// Asks, or waits for whoever asks the same already.
    async fn joint(&self, query: &Query, transport: Transport) -> Option<Arc<Vec<u8>>> {
        let question = Question::of(query, transport);
        loop {
            let (sender, mut known) = watch::channel(None);
            let first = {
                let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
                let other = under_way.get(&question).cloned();
                match other {
                    Some(other) => {
                        known = other;
                        None
                    }
                    None => {
                        under_way.insert(question.clone(), known.clone());
                        Some(Registered { recursors: self, question: &question })
                    }
                }
            };
            if let Some(registered) = first {
                let answer = self.ask(query, transport).await.map(Arc::new);
                drop(registered);
                if let Some(answer) = &answer {
                    sender.send_replace(Some(Arc::clone(answer)));
                }
                return answer;
            }
            let waited = known.wait_for(Option::is_some).await.map(|answer| answer.clone());
            if let Ok(answer) = waited {
                return answer;
            }
            // Whoever asked has given up, or got nothing.
            if self.all_failed_lately() {
                return None;
            }
        }
    }

    /// Asks one after the other; then, at another address, those that have one.
    async fn ask(&self, query: &Query, transport: Transport) -> Option<Vec<u8>> {
        let order = self.order();
        let mut asked_at = vec![None; self.list.len()];
        for (nth, &at) in order.iter().chain(&order).enumerate() {
            let recursor = &self.list[at];
            let asked = &mut asked_at[at];
            if nth >= order.len() && !recursor.place.has_another(*asked) {
                continue;
            }
            let id = rand::random();
            let message = written(query, id)?;
            let exchange = async {
                let address = recursor.place.address(self.lookup, self.own).await?;
                *asked = Some(address);
                match transport {
                    Transport::Udp => exchange::udp(address, &message, query, id).await,
                    Transport::Tcp => exchange::tcp(address, &message, query, id).await,
                }
            };
            let heard = match timeout(RECURSION_TIMEOUT, exchange).await {
                Ok(heard) => heard.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", RECURSION_TIMEOUT.as_secs())),
            };
            *recursor.unheard() = heard.as_ref().err().cloned();
            let problem = match heard {
                Ok(answer) => match useful(&answer) {
                    Ok(()) => {
                        recursor.failed_at_ms.store(0, Ordering::Relaxed);
                        return Some(answer);
                    }
                    Err(rcode) => format!("it answers {rcode}"),
                },
                Err(problem) => problem,
            };
            tracing::debug!(recursor = at, name = %query.name, problem, "a recursor failed");
            recursor.place.failed(*asked);
            recursor.failed_at_ms.store(self.now_ms(), Ordering::Relaxed);
            self.stats.recursor_failed(at);
        }
        None
    }

    /// The places of the recursors in the order in which they are asked: those that failed lately last.
    fn order(&self) -> Vec<usize> {
        let (well, failed): (Vec<usize>, Vec<usize>) =
            (0..self.list.len()).partition(|&at| !self.failed_lately(&self.list[at]));
        [well, failed].concat()
    }

    fn failed_lately(&self, recursor: &Recursor) -> bool {
        let failed_at = recursor.failed_at_ms.load(Ordering::Relaxed);
        let rest_ms = RECURSOR_REST.as_millis() as u64;
        failed_at != 0 && self.now_ms().saturating_sub(failed_at) < rest_ms
    }

    fn all_failed_lately(&self) -> bool {
        self.list.iter().all(|recursor| self.failed_lately(recursor))
    }

    /// Never 0.
    fn now_ms(&self) -> u64 {
        let since: Duration = self.began.elapsed();
        since.as_millis() as u64 + 1
    }
}

impl Recursor {
    fn unheard(&self) -> MutexGuard<'_, Option<String>> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is under way, for as long as this lives.
struct Registered<'a> {
    recursors: &'a Recursors,
    question: &'a Question,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let mut under_way = self.recursors.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(self.question);
    }
}

impl Question {
    fn of(query: &Query, transport: Transport) -> Self {
        Self {
            name: query.name.as_slice().to_ascii_lowercase(),
            rtype: query.rtype,
            class: query.class,
            transport,
            recursion_desired: query.head.recursion_desired,
            checking_disabled: query.head.checking_disabled,
            edns: query.head.edns.map(|edns| (asked_bytes(edns), edns.dnssec_ok)),
        }
    }
}

/// How long an answer a recursor is asked for: no longer than the client takes, and than is read here.
fn asked_bytes(edns: Edns) -> u16 {
    edns.udp_bytes.clamp(PLAIN_UDP_BYTES_MAX as u16, QUERY_BYTES_MAX as u16)
}

/// A client's question, as a recursor is asked it.
fn written(query: &Query, id: u16) -> Option<Vec<u8>> {
    let Ok(mut builder) = MessageBuilder::from_target(StaticCompressor::new(Vec::new()));
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(query.head.recursion_desired);
    builder.header_mut().set_cd(query.head.checking_disabled);
    let mut builder = builder.question();
    builder.push((&query.name, query.rtype, query.class)).ok()?;
    let mut builder = builder.additional();
    if let Some(edns) = query.head.edns {
        let with_size = builder.opt(|opt| {
            opt.set_udp_payload_size(asked_bytes(edns));
            opt.set_dnssec_ok(edns.dnssec_ok);
            Ok(())
        });
        with_size.ok()?;
    }
    Some(builder.finish().into_target())
}

/// Whether an answer settles the question. Another server may know better what this one fails at or refuses.
fn useful(answer: &[u8]) -> Result<(), Rcode> {
    let rcode = Message::from_slice(answer).map_or(Rcode::FORMERR, |message| message.header().rcode());
    if matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) { Ok(()) } else { Err(rcode) }
}

/// Whose answer is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Of those who are asked for names that are not this server's.
    Others,
    /// Of the servers for which an agent stands: its answers are theirs.
    Servers,
}

/// An answer with the client's number and spelling, cut to what it takes.
fn for_client(query: &Query, answer: &[u8], transport: Transport, whose: Whose) -> Option<Reply> {
    let mut bytes = answer.to_vec();
    let name = query.name.as_slice();
    // The question was compared when the answer came: it begins behind the header and is as long.
    bytes.get_mut(12..12 + name.len())?.copy_from_slice(name);
    let is_long = bytes.len() > transport.bytes_max(&query.head);
    let header = Header::for_message_slice_mut(&mut bytes);
    header.set_id(query.head.id);
    if whose == Whose::Others {
        // Recursion is available here, and of these names nobody here is an authority (RFC 1035 section 4.1.1).
        header.set_ra(true);
        header.set_aa(false);
    }
    let rcode = header.rcode();
    if is_long {
        // A server that sends more than it was asked for.
        header.set_tc(true);
        bytes.truncate(12 + name.len() + 4);
        bytes[6..12].fill(0);
    }
    Some(Reply { bytes, rcode })
}

/// What a client gets of these bytes, if they are the answer to its query as it was asked under this number; and what is
/// taken over of them elsewhere.
pub(super) fn passed_on(query: &Query, id: u16, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
    if !exchange::answers(bytes, query, id) {
        return None;
    }
    assert!(taken_over(bytes).len() <= RECORDS_MAX);
    Some(for_client(query, bytes, transport, Whose::Others)?.bytes)
}

/// The aliases and addresses in an answer.
fn taken_over(answer: &[u8]) -> Vec<DnsRecord> {
    let Ok(message) = Message::from_slice(answer) else { return Vec::new() };
    let Ok(section) = message.answer() else { return Vec::new() };
    let records = section.limit_to_in::<AllRecordData<_, _>>().map_while(Result::ok);
    let records = records.filter_map(|record| {
        let data: Data = match record.data() {
            AllRecordData::A(a) => a.clone().into(),
            AllRecordData::Aaaa(aaaa) => aaaa.clone().into(),
            AllRecordData::Cname(cname) => domain::rdata::Cname::new(cname.cname().to_bytes()).into(),
            _ => return None,
        };
        Some(DnsRecord::new(record.owner().to_bytes(), Class::IN, record.ttl(), data))
    });
    records.take(RECORDS_MAX).collect()
}

#[cfg(test)]
mod tests;
