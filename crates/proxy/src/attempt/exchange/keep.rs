//! Takes down an answer as it passes, to be kept for bad times (`crate::breaker`, `cached`).

use std::sync::Arc;
use std::time::Duration;

use weir_http1::{FieldSet, HeadWriter, KnownField, ResponseHead};

use crate::breaker::{BODY_BYTES_MAX, Kept, has_directive};
use crate::filter::Applied;
use crate::respond::StaticAnswer;

/// Most names of fields that an answer may depend on.
const VARY_MAX: usize = 16;

/// An answer that is being taken down.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    /// Lines of its head, each with its CR LF, without those that the rule's filters take away.
    lines: Vec<u8>,
    vary: Vec<Box<[u8]>>,
    age: Duration,
    pub(super) body: Vec<u8>,
    begun: bool,
}

impl Keeping {
    /// Forgets an attempt's.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Takes the head. Gives whether the answer may be kept.
    pub(super) fn begin(&mut self, head: &ResponseHead, buf: &[u8], filtered: Option<&Applied>) -> bool {
        let fields = head.fields();
        let of = |name: &'static [u8]| fields.named(buf, name);
        let is_private = of(b"cache-control").any(|value| has_directive(value, &[b"no-store", b"private"]));
        if head.status() != 200 || is_private || of(b"set-cookie").next().is_some() {
            return false;
        }
        let names = of(b"vary").flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
        let vary = names.filter(|name| !name.is_empty()).map(|name| name.to_ascii_lowercase().into());
        self.vary = vary.take(VARY_MAX + 1).collect();
        if self.vary.len() > VARY_MAX || self.vary.iter().any(|name| **name == *b"*") {
            return false;
        }
        let age = of(b"age").next().and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        self.age = Duration::from_secs(age.unwrap_or(0));
        let Ok(mut writer) = HeadWriter::response(&mut self.lines, 200, b"OK") else { return false };
        let skip = FieldSet::NONE;
        writer.copy_where(buf, fields, skip, |name, _| {
            // Written anew for whoever gets it.
            let is_ours = [&b"age"[..], b"x-request-id", b"x-weir-reason"];
            !is_ours.iter().any(|ours| name.eq_ignore_ascii_case(ours))
                && filtered.is_none_or(|applied| applied.keeps(name))
        });
        writer.finish();
        let first = self.lines.windows(2).position(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
        self.lines.drain(..first);
        // The empty line.
        self.lines.truncate(self.lines.len() - 2);
        self.begun = fields.value(buf, KnownField::Trailer).is_none();
        self.begun
    }

    /// Whether there is too much of it.
    pub(super) fn is_too_large(&self) -> bool {
        self.body.len() > BODY_BYTES_MAX
    }

    /// The answer, when all of it has passed; none where it never began.
    pub(crate) fn finish(self) -> Option<Kept> {
        let Self { lines, vary, age, body, begun } = self;
        let answer = Arc::new(StaticAnswer::kept(200, lines, body));
        begun.then_some(Kept { answer, vary, age })
    }
}
