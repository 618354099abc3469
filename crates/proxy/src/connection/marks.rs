//! The identifiers that a request carries from hop to hop: what is read of them when it comes, and what is written when
//! it goes on.

use std::time::Duration;

use rand::Rng;
use weir_http1::{FieldName, FieldSet, HeadWriter, KnownField, RequestHead, WriteError};

use super::time_left::{self, Told};
use crate::config::{RequestIdPolicy, TracePolicy, TracingConfig};
use crate::listen::Role;
use crate::observe::{B3, RequestId, Trace, b3_trace};

const X_REQUEST_ID: FieldName<'static> = FieldName::from_static("x-request-id");
const TRACEPARENT: FieldName<'static> = FieldName::from_static("traceparent");
const B3_SINGLE: FieldName<'static> = FieldName::from_static("b3");
const B3_SPAN: FieldName<'static> = FieldName::from_static("x-b3-spanid");
const B3_PARENT: FieldName<'static> = FieldName::from_static("x-b3-parentspanid");

/// Which service calls, as its sidecar says.
pub(super) const X_WEIR_CALLER: FieldName<'static> = FieldName::from_static("x-weir-caller");
const X_WEIR_HOPS: FieldName<'static> = FieldName::from_static("x-weir-hops");

/// Proxies that a request may pass. An application that copies all fields of a request to those that it makes adds to
/// their number, so it is more than any chain of proxies; a request that goes round in circles has it in no time.
const HOPS_MAX: u8 = 32;
/// One more than the index, in two digits each.
const HOPS_TEXT: &[u8; 2 * HOPS_MAX as usize] =
    b"0102030405060708091011121314151617181920212223242526272829303132";

/// The longest name of a caller: a namespace and a service, with a slash between them.
const CALLER_BYTES_MAX: usize = 512;

/// The fields that trace context comes in.
const TRACE_FIELDS: FieldSet = FieldSet::NONE
    .with(KnownField::Traceparent)
    .with(KnownField::B3)
    .with(KnownField::XB3TraceId)
    .with(KnownField::XB3SpanId);

/// The identifiers.
pub(crate) struct Marks {
    pub(crate) request_id: RequestId,
    pub(crate) trace: Option<Trace>,
    /// Proxies of Weir's that it has passed, as far as it says.
    hops: u8,
    /// For how long whoever sent it waits for the response's head, as it says.
    pub(crate) said: Option<Duration>,
    /// What the next hop is told of time and attempts.
    pub(crate) told: Told,
    /// Fields that are not copied, since they are written anew or make no sense any more.
    pub(super) replaced: FieldSet,
}

impl Marks {
    pub(crate) const NONE: Self = Self {
        request_id: RequestId::NONE,
        trace: None,
        hops: 0,
        said: None,
        told: Told::NOTHING,
        replaced: FieldSet::NONE,
    };

    /// Looks at a request that came to a listener of that role. `logged` says that what is only to be seen is looked at,
    /// too.
    #[inline]
    pub(super) fn read(
        &mut self,
        head: &RequestHead,
        buf: &[u8],
        role: Role,
        config: TracingConfig,
        logged: bool,
        rng: &mut impl Rng,
    ) {
        self.trace = None;
        self.replaced = FieldSet::NONE.with(KnownField::XWeirHops).with(KnownField::XWeirTimeout);
        if role == Role::Outbound {
            // An application has no say in who it is.
            self.replaced = self.replaced.with(KnownField::XWeirCaller).with(KnownField::XWeirAttempt);
        }
        self.hops = 0;
        self.said = None;
        if head.fields().seen().has(KnownField::XWeirTimeout) {
            self.said = time_left::said(head, buf);
        }
        if head.fields().seen().has(KnownField::XWeirHops) {
            self.hops = hops(head, buf);
        }
        self.request_id.clear();
        if config.request_id != RequestIdPolicy::Off || logged {
            let believed = config.request_id != RequestIdPolicy::Replace || role != Role::Gateway;
            let came = single(head, buf, KnownField::XRequestId).filter(|_| believed);
            let kept = came.is_some_and(|id| self.request_id.keep(id));
            if !kept && config.request_id != RequestIdPolicy::Off {
                self.request_id.make(rng);
                self.replaced = self.replaced.with(KnownField::XRequestId);
            }
        }
        let takes_part = config.trace_context != TracePolicy::Pass;
        if config.trace_context == TracePolicy::Start
            || ((takes_part || logged) && head.fields().seen().intersects(TRACE_FIELDS))
        {
            self.read_trace(head, buf, config.trace_context, rng);
        }
    }

    /// Whether it has passed so many proxies that it must be going round in circles.
    #[inline]
    pub(super) fn is_loop(&self) -> bool {
        self.hops >= HOPS_MAX
    }

    /// W3C's context counts where there are several; each that came gets the same new span.
    #[inline(never)]
    fn read_trace(&mut self, head: &RequestHead, buf: &[u8], policy: TracePolicy, rng: &mut impl Rng) {
        let w3c = single(head, buf, KnownField::Traceparent).and_then(Trace::parse);
        let b3 = single(head, buf, KnownField::B3).and_then(B3::parse).and_then(|b3| b3.trace());
        let multi = single(head, buf, KnownField::XB3TraceId)
            .zip(single(head, buf, KnownField::XB3SpanId))
            .and_then(|(trace_id, span)| b3_trace(trace_id, span));
        self.trace = w3c.or(b3).or(multi);
        if policy == TracePolicy::Pass {
            return;
        }
        if let Some(trace) = &mut self.trace {
            trace.join(rng);
            if w3c.is_some() {
                self.replaced = self.replaced.with(KnownField::Traceparent);
            }
            if b3.is_some() {
                self.replaced = self.replaced.with(KnownField::B3);
            }
            if multi.is_some() {
                self.replaced = self.replaced.with(KnownField::XB3SpanId).with(KnownField::XB3ParentSpanId);
            }
        } else if policy == TracePolicy::Start && !head.fields().seen().has(KnownField::B3) {
            // Whoever sends B3 alone has said what it wants, if only that nothing is recorded.
            self.trace = Some(Trace::begin(rng));
            self.replaced = self.replaced.with(KnownField::Traceparent).with(KnownField::Tracestate);
        }
    }

    /// Writes what was replaced, unless a filter has its own idea of the field.
    #[inline]
    pub(super) fn write(
        &mut self,
        head: &RequestHead,
        buf: &[u8],
        writer: &mut HeadWriter<'_>,
        ours: impl Fn(FieldName<'_>) -> bool,
    ) -> Result<(), WriteError> {
        let hops = usize::from(self.hops.min(HOPS_MAX - 1));
        writer.field(X_WEIR_HOPS, &HOPS_TEXT[2 * hops..2 * hops + 2])?;
        self.told.write(writer)?;
        if self.replaced.has(KnownField::XRequestId) && ours(X_REQUEST_ID) {
            writer.field(X_REQUEST_ID, self.request_id.as_bytes())?;
        }
        match &self.trace {
            Some(trace) if trace.span.is_some() => {
                self.write_trace(trace, head, buf, writer, ours(TRACEPARENT))
            }
            _ => Ok(()),
        }
    }

    #[inline(never)]
    fn write_trace(
        &self,
        trace: &Trace,
        head: &RequestHead,
        buf: &[u8],
        writer: &mut HeadWriter<'_>,
        writes_parent: bool,
    ) -> Result<(), WriteError> {
        let Some(span) = &trace.span else { return Ok(()) };
        if self.replaced.has(KnownField::Traceparent) && writes_parent {
            writer.field(TRACEPARENT, &trace.traceparent())?;
        }
        if self.replaced.has(KnownField::B3)
            && let Some(b3) = single(head, buf, KnownField::B3).and_then(B3::parse)
        {
            writer.field_joined(B3_SINGLE, &b3.next(span))?;
        }
        if self.replaced.has(KnownField::XB3SpanId)
            && let Some(parent) = single(head, buf, KnownField::XB3SpanId)
        {
            writer.field(B3_SPAN, span)?;
            writer.field(B3_PARENT, parent)?;
        }
        Ok(())
    }
}

/// The service that a request says it comes from. Where it says that twice, or what no service is called, nobody knows.
pub(super) fn caller<'a>(head: &RequestHead, buf: &'a [u8]) -> &'a [u8] {
    if !head.fields().seen().has(KnownField::XWeirCaller) {
        return b"";
    }
    let said = single(head, buf, KnownField::XWeirCaller).map(<[u8]>::trim_ascii);
    let is_name = |said: &&[u8]| said.len() <= CALLER_BYTES_MAX && said.iter().all(u8::is_ascii_graphic);
    said.filter(is_name).unwrap_or_default()
}

/// The value of a field that came exactly once.
fn single<'a>(head: &RequestHead, buf: &'a [u8], field: KnownField) -> Option<&'a [u8]> {
    let fields = head.fields();
    fields.value(buf, field).filter(|_| !fields.repeated().has(field))
}
/// The proxies that a request says it has passed: the most that any of its fields says. What is no number counts as none,
/// and is not passed on.
#[cold]
fn hops(head: &RequestHead, buf: &[u8]) -> u8 {
    let values = head.fields().values(buf, KnownField::XWeirHops);
    let numbers = values.filter_map(|value| std::str::from_utf8(value).ok()?.parse::<u8>().ok());
    numbers.max().unwrap_or(0)
}
