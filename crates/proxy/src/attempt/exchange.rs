//! One request and its response, between a client and an upstream connection: both directions at once, in one task.
//!
//! ```text
//!  client --- carry, reads --> upload: decode, encode ---> request (recorded), pending --> upstream
//!  client <-- pending <------ download: head, decode, encode <------------------- reads -- upstream
//! ```
//!
//! A poll reads, rewrites and writes; what a receiver does not take is kept, and until it is gone nothing more is read
//! for it. What was sent upstream is recorded up to a bound, so that another attempt can send it again. This module must
//! not choose upstreams, nor decide about retries.

mod call;
mod download;
mod gather;
mod keep;
mod pace;
mod pipe;
mod second;
mod upload;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use weir_http1::{BodyError, BodyKind, FieldTable, KnownField, Method, ResponseError, ResponseHead, Version};
use weir_policy::hedge::Hedger;
use weir_policy::outlier::Verdict;

use super::again::{Again, Stage};
use super::manner::Manner;
use super::upstream::LocalUpstream;
use crate::breaker::{Breaker, Chain, Permits};
use crate::config::EngineLimits;
use crate::connection::{Carry, Copies, Fallback, Marks, Notes, Target, Told};
use crate::filter::Applied;
use crate::limit::{Elsewhere, Pass};
use crate::observe::{GrpcStatus, RequestRow};
use crate::respond::{Reason, Refusal, Unanswered};
use crate::runtime::{Buffers, Coarse, Io, TimerSlot, Worker};
use crate::snapshot::Settings;
pub(crate) use keep::Keeping;
use pace::Pace;
use pipe::Pipe;
pub(crate) use second::{Adopted, Look};

/// What is recorded of a request, head and body, to be sent again.
const RECORDED_BYTES_MAX: usize = 64 * 1024;

/// Lines that an exchange that is not in use keeps memory for.
const KEPT_LINES_MAX: usize = 64;

/// The exchange. Kept in a box that is used again, so that a waiting connection does not hold it.
pub(crate) struct Exchange {
    /// What was asked.
    pub(crate) asked: Asked,
    /// Where it goes.
    pub(crate) target: Target,
    /// Where it is counted; the worker's own row where it found none.
    pub(crate) row: Option<Rc<RequestRow>>,
    /// When its head was read, when its latest attempt began, and when the response's head was there (0: not yet), on
    /// the worker's clock.
    pub(crate) began_ns: u64,
    pub(crate) attempt_ns: u64,
    pub(crate) head_ns: u64,
    /// What became of it where it is a call of gRPC; see [`Exchange::grpc_status`].
    grpc: Option<GrpcStatus>,
    /// The identifiers that it carries.
    pub(crate) marks: Marks,
    /// What the rule does to it on the way, if anything.
    pub(crate) filtered: Option<Applied>,
    /// How it is made, where a policy for its route has something to say; else as its service's settings have it.
    pub(crate) manner: Option<Rc<Manner>>,
    /// What it has of the limits that it is under.
    pub(crate) pass: Pass,
    /// What it would have to pass at services that its breakers may send it to, where these have limits.
    pub(crate) elsewhere: Option<Box<Elsewhere>>,
    /// What a breaker has given it instead of what it was for.
    pub(crate) fallback: Option<Box<Fallback>>,
    /// What it has of the breakers of its service, and of those of the endpoint that it is tried at.
    pub(crate) permits: Permits,
    pub(crate) attempt_permits: Permits,
    /// How far it has come, where a response may be a reason to try again.
    pub(super) again: Option<Stage>,
    /// Its answer as it passes, where it is to be kept for bad times.
    pub(crate) keeping: Option<Box<Keeping>>,
    /// Who gets copies of it, until they are on their way.
    pub(crate) copies: Option<Box<Copies>>,
    /// The origin of the page that asks, where a filter has something to say to it.
    pub(crate) origin: Vec<u8>,
    /// What is remembered for the access log.
    pub(crate) notes: Option<Box<Notes>>,
    /// Notes to be used again.
    spare_notes: Option<Box<Notes>>,
    /// The head for the upstream; the body follows as long as everything is recorded.
    pub(crate) request: Vec<u8>,
    /// Its fields, where they were noted when it was written.
    pub(crate) request_table: FieldTable,
    /// How much of `request` this attempt has sent.
    sent: usize,
    /// Whether `request` holds all that was consumed of the request.
    recording: bool,
    upload: Pipe,
    /// Bytes of the body that were read from the client.
    upload_read: u64,
    /// Whether the client sends, and reads, fast enough.
    sending: Pace,
    reading: Pace,
    /// The upstream takes no more.
    upload_broken: bool,
    download: Pipe,
    /// The beginning of a response head.
    partial: Vec<u8>,
    /// What is in there was read of another copy's answer, and is to be looked at.
    unread: bool,
    /// What its endpoint answers has been taken note of already.
    pub(super) is_told: bool,
    /// The head of this exchange, where it did not come in one piece.
    own_head: Option<Box<ResponseHead>>,
    /// Where the final response's head begins in what was read, and how its body is framed, where it goes on in HTTP/2;
    /// until it is known that nothing is wrong with what came along with it.
    passed_on: Option<(usize, BodyKind)>,
    /// The final response's status; 0 until its head is there.
    pub(crate) status: u16,
    /// Some byte of a response has arrived in this attempt.
    heard: bool,
    upstream_keeps: bool,
    /// For how many seconds the upstream says that it keeps an idle connection.
    upstream_idle_s: Option<u32>,
    /// The response was answered with a promise to keep the client's connection.
    pub(crate) client_keeps: bool,
    upgraded: bool,
    /// The response is a sidecar's own, because of a limit: it says nothing about the instance.
    pub(crate) kept_to_limit: bool,
    /// Only the end of the client's connection tells where the response ends.
    ends_by_close: bool,
    /// The upstream broke off after the head of its response.
    pub(crate) broken_off: bool,
    /// The client was told to go on with its body.
    continued: bool,
    /// The client will send no more.
    half_closed: bool,
    /// When the response head must be there; set once the request is read and an attempt has begun.
    deadline: Option<Coarse>,
    /// When everything must be over.
    overall: Coarse,
    /// The response was ended by this proxy, in good order.
    ended_here: bool,
    /// Nothing is read of the response because the client does not take what it was given.
    held_back: bool,
}

/// What of a request decides about the exchange.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    /// The protocol that the client wants to change to.
    pub(crate) upgrade: Option<Box<[u8]>>,
    /// Limit until the response head; zero for none.
    pub(crate) timeout: Duration,
    /// Why that is less than an endpoint has elsewhere, if it is.
    pub(crate) cut_short: Option<CutShort>,
    /// The same for one attempt.
    pub(crate) attempt_timeout: Duration,
    /// How long a body may stand still.
    pub(crate) standstill_max: Duration,
    /// How long it is made to wait first.
    pub(crate) delay: Duration,
    /// What its endpoint is chosen by, where the balancer goes by a hash and the request has what it is taken of.
    pub(crate) hash: Option<u64>,
    /// It is a gRPC call.
    pub(crate) call: Option<Box<Call>>,
}

/// Why a request has so little time that its endpoint is not judged by not answering in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutShort {
    /// Whoever sent it waits no longer.
    BySender,
    /// It waited too long in this proxy.
    Here,
}

/// A gRPC call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// As the caller wrote it.
    pub(crate) content_type: Box<[u8]>,
    /// How long all of it may take, its response included.
    pub(crate) timeout: Option<Duration>,
    /// Whether that is much shorter than the service is given to begin its response.
    pub(crate) is_short: bool,
    /// Where in the head there is room for what is left of that.
    pub(crate) timeout_at: Option<usize>,
}

/// The two connections, and what belongs to the client's.
pub(crate) struct Link<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) client: &'a mut Io,
    pub(crate) carry: &'a mut Carry,
    pub(crate) timer: &'a TimerSlot,
    pub(crate) upstream: &'a mut Io,
    /// The client's connection is not to be kept.
    pub(crate) closing: bool,
    /// The upstream is a sidecar, whose word counts.
    pub(crate) sidecar: bool,
    /// The upstream is the application behind this sidecar, which has no say in what sidecars tell each other.
    pub(crate) app: bool,
    /// Another copy of the request is under way, whose answer may be better than a failure.
    pub(crate) rivalled: bool,
    /// Who says whether a response is a reason to try again, where any is.
    pub(super) again: Option<Again<'a>>,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The response is with the client.
    Complete,
    /// So is a 101: from here on bytes go both ways.
    Upgraded,
    /// The upstream failed before anything of a final response reached the client.
    Failed(UpstreamFault),
    /// It is to be tried again after this time, upon a response of which nothing was passed on.
    Again { delay: Duration, verdict: Verdict, status: u16 },
    /// It was answered with a failure, of which nothing was passed on, and another copy is under way.
    Unwanted { verdict: Verdict, status: u16 },
    /// The request is at fault; no response was begun.
    Refused(Refusal),
    /// The client is gone.
    ClientGone,
    /// Something broke after the response had begun: both sides are closed, and the message must not look complete.
    Cut,
    /// The same, because the rest of the request is malformed.
    Spoilt,
}

/// How an upstream failed.
#[derive(Debug)]
pub(crate) enum UpstreamFault {
    /// It closed or reset the connection.
    Reset,
    /// It says that it has not looked at the request.
    Refused,
    /// It breaks the rules of HTTP/2.
    Protocol(std::io::Error),
    /// It is a sidecar that says that its application has not answered.
    Unanswered(Unanswered),
    /// Its response is malformed.
    Malformed(ResponseError),
    /// The first bytes of its body are.
    MalformedBody(BodyError),
    /// Its response head did not come in time.
    Timeout,
}

impl Exchange {
    pub(crate) fn new(limits: &EngineLimits) -> Self {
        Self {
            asked: Asked::default(),
            target: Target::None,
            row: None,
            began_ns: 0,
            attempt_ns: 0,
            head_ns: 0,
            grpc: None,
            marks: Marks::NONE,
            filtered: None,
            manner: None,
            pass: Pass::default(),
            elsewhere: None,
            fallback: None,
            permits: Permits::default(),
            attempt_permits: Permits::default(),
            again: None,
            keeping: None,
            copies: None,
            origin: Vec::new(),
            notes: None,
            spare_notes: None,
            request: Vec::new(),
            request_table: FieldTable::default(),
            sent: 0,
            recording: true,
            upload: Pipe::new(&limits.request),
            upload_read: 0,
            sending: Pace::default(),
            reading: Pace::default(),
            upload_broken: false,
            download: Pipe::new(&limits.response),
            partial: Vec::new(),
            unread: false,
            is_told: false,
            own_head: None,
            passed_on: None,
            status: 0,
            heard: false,
            upstream_keeps: false,
            upstream_idle_s: None,
            client_keeps: false,
            upgraded: false,
            ends_by_close: false,
            broken_off: false,
            kept_to_limit: false,
            continued: false,
            half_closed: false,
            deadline: None,
            overall: Coarse::MAX,
            ended_here: false,
            held_back: false,
        }
    }

    /// Fits it to a request whose body is framed as `body`, here and upstream. `shared` says that the client's connection is
    /// one of many streams.
    pub(crate) fn begin(&mut self, body: weir_http1::BodyKind, limits: &weir_http1::Limits, shared: bool) {
        self.upload.share(shared);
        self.download.share(shared);
        self.upload.begin(body, body, limits);
    }

    /// Notes to be made of it.
    pub(crate) fn take_notes(&mut self) -> &mut Notes {
        let spare = self.spare_notes.take();
        self.notes.insert(spare.unwrap_or_default())
    }

    /// Makes it as new, keeping what can be used again.
    pub(crate) fn clear(&mut self, buffers: &Buffers) {
        self.target = Target::None;
        self.row = None;
        if self.notes.is_some() {
            self.spare_notes = self.notes.take();
        }
        self.filtered = None;
        self.manner = None;
        self.marks.told = Told::NOTHING;
        self.pass.abandon();
        self.elsewhere = None;
        self.fallback = None;
        self.permits.abandon();
        self.attempt_permits.abandon();
        self.again = None;
        self.keeping = None;
        self.copies = None;
        self.asked.upgrade = None;
        self.asked.call = None;
        self.overall = Coarse::MAX;
        buffers.give(&mut self.request);
        self.request_table.begin();
        self.request_table.shrink(KEPT_LINES_MAX);
        self.recording = true;
        self.upload.clear(buffers);
        self.continued = false;
        self.half_closed = false;
        self.deadline = None;
        self.reset_attempt(buffers);
    }

    /// Forgets what an attempt did, for another one.
    pub(crate) fn reset_attempt(&mut self, buffers: &Buffers) {
        self.sent = 0;
        self.head_ns = 0;
        self.grpc = None;
        if let Some(keeping) = &mut self.keeping {
            keeping.reset();
        }
        self.upload_broken = false;
        self.sending.stop();
        self.reading.stop();
        self.download.clear(buffers);
        if self.partial.capacity() > 0 {
            buffers.give(&mut self.partial);
        }
        self.unread = false;
        self.is_told = false;
        self.own_head = None;
        self.passed_on = None;
        self.status = 0;
        self.heard = false;
        self.upstream_keeps = false;
        self.upstream_idle_s = None;
        self.client_keeps = false;
        self.upgraded = false;
        self.ends_by_close = false;
        self.broken_off = false;
        self.kept_to_limit = false;
        self.ended_here = false;
        self.held_back = false;
    }

    /// How it is made.
    #[inline]
    pub(super) fn settings<'a>(&'a self, local: &'a LocalUpstream) -> &'a Settings {
        self.manner.as_ref().map_or(&local.upstream.settings, |manner| &manner.settings)
    }

    /// What makes second copies of it, if anything does.
    #[inline]
    pub(super) fn hedger<'a>(&'a self, local: &'a LocalUpstream) -> Option<&'a Rc<RefCell<Hedger>>> {
        match self.manner.as_ref().and_then(|manner| manner.hedger.as_ref()) {
            Some(by_rule) => by_rule.as_ref(),
            None => local.hedger.as_ref(),
        }
    }

    /// A breaker answers it. Why it refused it; none where it came to nothing, and is answered all the same.
    #[cold]
    pub(crate) fn answer_instead(&mut self, breaker: Arc<Breaker>, why: Option<&'static str>) {
        let before = self.fallback.take().map(|before| *before);
        self.fallback = Some(Box::new(Fallback::answered(breaker, why, before)));
    }

    /// The breakers of an endpoint that it may be tried at, if any endpoint has some.
    #[inline]
    pub(super) fn breakers_of<'a>(&'a self, local: &'a LocalUpstream, index: usize) -> Option<&'a Chain> {
        let by_rule = self.manner.as_ref().and_then(|manner| manner.breakers(index));
        by_rule.or_else(|| local.breakers(index))
    }

    /// Whether the request could be sent again as far as its bytes are concerned.
    pub(crate) fn is_replayable(&self) -> bool {
        self.recording && !self.heard
    }

    /// Whether the request could be sent again, whatever was heard.
    pub(super) fn is_recorded(&self) -> bool {
        self.recording
    }

    /// All of the request, head and body, as it goes to the upstream; none if it is not read whole, or too large.
    pub(crate) fn recorded(&self) -> Option<&[u8]> {
        (self.recording && self.upload.done).then_some(&*self.request)
    }

    /// Whether not a byte of the request was handed to the upstream's socket in this attempt.
    pub(crate) fn is_unsent(&self) -> bool {
        self.sent == 0
    }

    /// Whether any byte of a response has arrived in this attempt.
    pub(crate) fn was_heard(&self) -> bool {
        self.heard
    }

    /// Whether the request has been read to its end.
    pub(crate) fn is_request_read(&self) -> bool {
        self.upload.done
    }

    /// Whether the client has shut down its sending side.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// Whether the upstream's connection can carry another request.
    pub(crate) fn upstream_reusable(&self) -> bool {
        self.upstream_keeps
            && self.upload.is_complete()
            && !self.upload_broken
            && self.sent == self.request.len()
            && self.download.done
    }

    /// For how many seconds the upstream says that it keeps an idle connection.
    #[inline]
    pub(crate) fn upstream_idle_s(&self) -> Option<u32> {
        self.upstream_idle_s
    }

    /// Whether only the end of the client's connection tells where the response ends.
    pub(crate) fn ends_by_close(&self) -> bool {
        self.ends_by_close
    }

    /// What became of it, where the response is gRPC's: the status in its head, or behind its messages.
    #[inline]
    pub(crate) fn grpc_status(&self) -> Option<GrpcStatus> {
        let in_head = self.grpc?;
        if in_head != GrpcStatus::MISSING {
            return Some(in_head);
        }
        if self.ended_here {
            return Some(GrpcStatus::DEADLINE_EXCEEDED);
        }
        Some(self.download.trailer(KnownField::GrpcStatus).map_or(in_head, GrpcStatus::parse))
    }

    /// Bytes written to the client.
    pub(crate) fn bytes_out(&self) -> u64 {
        self.download.written
    }

    /// Bytes written to the upstream in this attempt.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.sent as u64 + self.upload.written
    }

    /// Runs both directions as far as they go.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, link: &mut Link<'_>) -> Poll<Ended> {
        self.poll_both(cx, link).map(|ended| match ended {
            // Part of an interim response is with the client: nothing else can follow but the rest of it.
            Ended::Failed(_) if self.download.has_pending() => self.break_off(),
            Ended::Again { .. } | Ended::Unwanted { .. } | Ended::Refused(_)
                if self.download.has_pending() =>
            {
                Ended::Cut
            }
            ended => ended,
        })
    }

    /// The upstream has ended the response in the middle, or garbled it.
    #[cold]
    fn break_off(&mut self) -> Ended {
        self.upstream_keeps = false;
        self.broken_off = true;
        Ended::Cut
    }

    fn poll_both(&mut self, cx: &mut Context<'_>, link: &mut Link<'_>) -> Poll<Ended> {
        let mut moved = false;
        let mut reads = true;
        loop {
            let up = match self.poll_upload(cx, link) {
                Ok(progress) => progress,
                Err(ended) => return Poll::Ready(ended),
            };
            // Where nothing had come, nothing has unless something was sent: it need not be asked twice.
            let down = match (up || reads).then(|| self.poll_download(cx, link)) {
                Some(Ok(progress)) => progress,
                Some(Err(ended)) => return Poll::Ready(ended),
                None => false,
            };
            reads = down;
            if self.status != 0 && self.download.is_complete() {
                return Poll::Ready(if self.upgraded { Ended::Upgraded } else { Ended::Complete });
            }
            if !up && !down {
                break;
            }
            moved = true;
        }
        if moved {
            self.arm(link);
        }
        // What was accepted above need not be with the kernel yet, and nobody else would ask for it.
        if let Poll::Ready(Err(_)) = link.client.poll_flush(cx) {
            return Poll::Ready(Ended::ClientGone);
        }
        if let Poll::Ready(Err(_)) = link.upstream.poll_flush(cx) {
            self.upload_broken = true;
        }
        if let Some(ended) = self.watch_client(cx, link) {
            return Poll::Ready(ended);
        }
        if link.timer.expired() {
            return self.poll_timed_out(cx, link);
        }
        Poll::Pending
    }

    /// When the response head must be there, as soon as that is settled, if ever.
    pub(crate) fn deadline(&self) -> Option<Coarse> {
        Some(self.deadline.unwrap_or(Coarse::MAX).min(self.overall))
            .filter(|&deadline| deadline != Coarse::MAX)
    }

    /// By when there must be a connection for it.
    pub(crate) fn connect_deadline(&mut self, worker: &Worker) -> Coarse {
        let whole = worker.timers.after(self.asked.timeout);
        // The time for a request that is still being read has not begun.
        let whole = if self.upload.done { *self.deadline.get_or_insert(whole) } else { whole };
        whole.min(worker.timers.after(self.asked.attempt_timeout)).min(self.overall)
    }

    /// Sets the deadline after progress: while the request is read and while the response is, no standstill; between
    /// them, the response head.
    fn arm(&mut self, link: &Link<'_>) {
        let timers = &link.worker.timers;
        if self.status != 0 || !self.upload.done {
            let waits = !self.has_unread() && !self.upload.has_pending();
            // A call may be silent for as long as a tunnel: there are those that only wait for news.
            let call = waits && self.asked.call.is_some();
            let tunnel_idle = link.worker.config().timeouts.tunnel_idle;
            let idle = if call { tunnel_idle } else { self.asked.standstill_max };
            let overall = self.overall;
            let mut deadline = self.too_slow(link, timers.after(idle)).min(overall);
            if self.half_closed && waits {
                // Each piece of the response shows anew whether anybody listens.
                deadline = deadline.min(timers.after(link.worker.config().timeouts.half_close_grace));
            }
            return link.timer.arm_at(deadline);
        }
        let deadline = *self.deadline.get_or_insert_with(|| timers.after(self.asked.timeout));
        link.timer.arm_at(deadline.min(timers.after(self.asked.attempt_timeout)).min(self.overall));
    }

    /// When the client will have been too slow: at a standstill, or before.
    fn too_slow(&mut self, link: &Link<'_>, standstill: Coarse) -> Coarse {
        let rate_min = link.worker.config().limits.body_rate_min;
        let mut deadline = standstill;
        if self.has_unread() {
            deadline = self.reading.moved(self.download.written, rate_min, standstill);
        } else {
            self.reading.stop();
        }
        if self.status == 0 && self.awaits_body() && self.asked.call.is_none() {
            deadline = deadline.min(self.sending.moved(self.upload_read, rate_min, standstill));
        } else {
            self.sending.stop();
        }
        deadline
    }

    /// Whether nothing but the client holds up the response.
    fn has_unread(&self) -> bool {
        self.held_back || self.download.has_pending()
    }

    /// Whether nothing but the client holds up the request.
    fn awaits_body(&self) -> bool {
        !self.upload.done
            && !self.upload.has_pending()
            && self.sent == self.request.len()
            && !self.awaits_continue()
    }

    /// While the upstream is waited for, before its response and within, notices that the client has gone. What it sends
    /// ahead is kept for later, up to a bound.
    fn watch_client(&mut self, cx: &mut Context<'_>, link: &mut Link<'_>) -> Option<Ended> {
        if self.status != 0 && self.download.has_pending() {
            // Whoever waits to write sees it.
            return None;
        }
        if link.client.is_http2() {
            // So does whoever waits to read.
            let reads = !self.upload.done && !self.upload_broken && !self.upload.has_pending();
            return (!reads && link.client.poll_gone(cx).is_ready()).then_some(Ended::ClientGone);
        }
        let bound = link.worker.config().limits.request.head_bytes_max;
        while self.upload.done && !self.half_closed && link.carry.len() < bound {
            let mut scratch = link.worker.scratch.borrow_mut();
            match link.client.poll_read(cx, &mut scratch.input[..bound]) {
                Poll::Pending => return None,
                Poll::Ready(Err(_)) => return Some(Ended::ClientGone),
                Poll::Ready(Ok(0)) => {
                    // It may have closed, or only have said that this was its last request.
                    self.half_closed = true;
                    let timers = &link.worker.timers;
                    let mut grace = timers.after(link.worker.config().timeouts.half_close_grace);
                    if self.status == 0 {
                        grace = grace.min(self.deadline.unwrap_or(Coarse::MAX));
                        self.deadline = Some(grace);
                    }
                    link.timer.arm_at(grace.min(self.overall));
                }
                Poll::Ready(Ok(n)) => link.carry.extend(&scratch.input[..n], &link.worker.buffers),
            }
        }
        None
    }

    /// Whether the client is right to send nothing: it asked whether it should, and the upstream has not said.
    fn awaits_continue(&self) -> bool {
        self.asked.expect_continue && !self.continued
    }

    #[cold]
    fn poll_timed_out(&mut self, cx: &mut Context<'_>, link: &mut Link<'_>) -> Poll<Ended> {
        if self.overall > link.worker.timers.now_ms() {
            let ended = self.timed_out();
            if matches!(ended, Ended::Failed(UpstreamFault::Timeout)) && self.is_given_up(link.worker) {
                return Poll::Ready(Ended::Refused(self.given_up()));
            }
            return Poll::Ready(ended);
        }
        if self.status == 0 {
            let refusal = Refusal::new(Reason::Timeout, "the call has not ended before its deadline");
            return Poll::Ready(Ended::Refused(refusal));
        }
        self.poll_end_call(cx, link)
    }

    fn timed_out(&self) -> Ended {
        if self.half_closed && !self.download.has_pending() {
            Ended::ClientGone
        } else if self.status != 0 {
            Ended::Cut
        } else if self.half_closed {
            Ended::ClientGone
        } else if self.awaits_body() {
            Ended::Refused(Refusal::new(Reason::SlowBody, "the request's body did not arrive in time"))
        } else {
            Ended::Failed(UpstreamFault::Timeout)
        }
    }
}
