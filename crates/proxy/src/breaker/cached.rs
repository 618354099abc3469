//! Answers that are kept for bad times: what a call gets that a breaker refuses, or that comes to nothing, where its fallback
//! is `cached`.
//!
//! Kept is the latest answer to each request, by what the service sees of it: rule, host, path, query, cookies, and the fields
//! that the answer says it depends on (`Vary`). So nobody gets what was made for another one's cookie. What is bounded is the
//! bytes (`sizeMax`), the answers, those to one request, and the size of each; what was kept longest ago goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_model::resource::traffic_policy::Cached as Spec;
use weir_policy::Nanos;

use crate::respond::StaticAnswer;

/// What is meant by `ageMax` and `sizeMax` when they are not written.
const AGE_MAX: Duration = Duration::from_secs(600);
const BYTES_MAX: usize = 16 << 20;
/// Most answers that are kept, whatever their size.
const ANSWERS_MAX: usize = 10_000;
/// Most answers to one request, which differ in the fields that they depend on.
const VARIANTS_MAX: usize = 8;
/// The largest body that is kept, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// What an answer takes besides its bytes.
const OVERHEAD_BYTES: usize = 256;
/// An answer that was kept so lately is not kept anew.
const RECENT: Duration = Duration::from_secs(1);

/// The answers of one breaker, and how long and how many are kept.
#[derive(Clone, Debug)]
pub struct Cached {
    age_max: Duration,
    bytes_max: usize,
    answers: Arc<Mutex<Answers>>,
}

/// A request, as answers are found by.
pub(crate) struct Key<'a> {
    rule: &'a str,
    target: &'a [u8],
    /// The lines of its head, without the first.
    lines: &'a [u8],
}

/// An answer to be kept.
pub(crate) struct Kept {
    pub(crate) answer: Arc<StaticAnswer>,
    /// The names of the fields of the request that it depends on, in lower case.
    pub(crate) vary: Vec<Box<[u8]>>,
    /// How old it was when it came.
    pub(crate) age: Duration,
}

#[derive(Debug, Default)]
struct Answers {
    pages: HashMap<Box<[u8]>, Page>,
    /// The key of each answer by its number, which rises.
    order: BTreeMap<u64, Box<[u8]>>,
    next: u64,
    bytes: usize,
    served: u64,
}

/// The answers to one request.
#[derive(Debug, Default)]
struct Page {
    vary: Vec<Box<[u8]>>,
    variants: Vec<Variant>,
}

#[derive(Debug)]
struct Variant {
    number: u64,
    /// The values of what it depends on.
    values: Box<[u8]>,
    answer: Arc<StaticAnswer>,
    at: Nanos,
    age: Duration,
    bytes: usize,
}

impl Cached {
    /// As the document has it, going on with what was kept before.
    pub(super) fn new(spec: &Spec, previous: Option<&Self>) -> Self {
        Self {
            age_max: spec.age_max.map_or(AGE_MAX, |span| span.0),
            bytes_max: spec.size_max.map_or(BYTES_MAX, |size| usize::try_from(size.0).unwrap_or(BYTES_MAX)),
            answers: previous.map(|old| old.answers.clone()).unwrap_or_default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a request, and its age; none that is too old.
    pub(crate) fn find(&self, key: &Key<'_>, now: Nanos) -> Option<(Arc<StaticAnswer>, Duration)> {
        let mut answers = self.lock();
        let variant = answers.variant(key)?;
        let kept_for = now.since(variant.at);
        let found = (kept_for < self.age_max).then(|| (variant.answer.clone(), variant.age + kept_for))?;
        answers.served += 1;
        Some(found)
    }

    /// Whether the answer to a request was kept just now, so that there is no need to keep another one.
    pub(crate) fn is_recent(&self, key: &Key<'_>, now: Nanos) -> bool {
        self.lock().variant(key).is_some_and(|variant| now.since(variant.at) < RECENT)
    }

    /// Keeps an answer in place of an older one.
    pub(crate) fn keep(&self, key: &Key<'_>, kept: &Kept, now: Nanos) {
        let mut answers = self.lock();
        answers.put(key, kept, now);
        while answers.bytes > self.bytes_max || answers.order.len() > ANSWERS_MAX {
            let Some((number, page)) = answers.order.pop_first() else { break };
            answers.drop_variant(&page, number);
        }
        answers.check();
    }

    /// How many answers there are, their bytes, and how often one was given.
    pub fn counts(&self) -> (usize, usize, u64) {
        let answers = self.lock();
        (answers.order.len(), answers.bytes, answers.served)
    }
}

impl Answers {
    fn variant(&self, key: &Key<'_>) -> Option<&Variant> {
        let page = self.pages.get(&*key.of_page())?;
        let values = key.values(&page.vary);
        page.variants.iter().find(|variant| variant.values == values)
    }

    fn put(&mut self, key: &Key<'_>, kept: &Kept, now: Nanos) {
        let of_page = key.of_page();
        let page = self.pages.entry(of_page.clone()).or_default();
        let values = key.values(&kept.vary);
        // What the answers depend on has changed: those before were told apart by something else.
        let other = page.vary != kept.vary;
        let crowded = page.variants.len() >= VARIANTS_MAX;
        let oldest = page.variants.iter().map(|variant| variant.number).min();
        page.variants.retain(|variant| {
            let goes = other || variant.values == values || crowded && Some(variant.number) == oldest;
            if goes {
                self.order.remove(&variant.number);
                self.bytes -= variant.bytes;
            }
            !goes
        });
        page.vary.clone_from(&kept.vary);
        let bytes = OVERHEAD_BYTES + 2 * of_page.len() + values.len() + kept.answer.bytes();
        let number = self.next;
        let answer = kept.answer.clone();
        page.variants.push(Variant { number, values, answer, at: now, age: kept.age, bytes });
        self.order.insert(number, of_page);
        self.next += 1;
        self.bytes += bytes;
    }

    fn drop_variant(&mut self, of_page: &[u8], number: u64) {
        let Some(page) = self.pages.get_mut(of_page) else { return };
        page.variants.retain(|variant| {
            if variant.number == number {
                self.bytes -= variant.bytes;
            }
            variant.number != number
        });
        if page.variants.is_empty() {
            self.pages.remove(of_page);
        }
    }

    fn check(&self) {
        debug_assert_eq!(
            self.bytes,
            self.pages.values().flat_map(|page| &page.variants).map(|variant| variant.bytes).sum::<usize>()
        );
        debug_assert_eq!(
            self.order.len(),
            self.pages.values().map(|page| page.variants.len()).sum::<usize>()
        );
    }
}

impl<'a> Key<'a> {
    /// The key of a request by a rule, from its head as it goes to the service; none where answers to it are nobody else's.
    /// A HEAD is asked like the GET that it stands for.
    pub(crate) fn of(rule: &'a str, request: &'a [u8]) -> Option<Self> {
        let end = request.windows(2).position(|pair| pair == b"\r\n")?;
        let target = request[..end].split(|&byte| byte == b' ').nth(1)?;
        let key = Self { rule, target, lines: request.get(end + 2..)? };
        let asks_for_own = key.fields(b"authorization").next().is_some()
            // What it asks for may be in its body.
            || key.fields(b"transfer-encoding").next().is_some()
            || key.fields(b"content-length").any(|value| value != b"0")
            || key.fields(b"cache-control").any(|value| has_directive(value, &[b"no-store"]));
        (!asks_for_own).then_some(key)
    }

    /// The values of a field, given in lower case.
    fn fields<'n>(&self, lower_name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let lines = self.lines.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
        lines.take_while(|line| !line.is_empty()).filter_map(move |line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = line.split_at(colon);
            name.eq_ignore_ascii_case(lower_name).then(|| value[1..].trim_ascii())
        })
    }

    /// What tells requests apart, whatever their answers depend on.
    fn of_page(&self) -> Box<[u8]> {
        let mut key = Vec::with_capacity(self.rule.len() + self.target.len() + 64);
        for part in [self.rule.as_bytes(), self.target] {
            key.extend_from_slice(part);
            key.push(0);
        }
        self.write_values(b"host", &mut key);
        self.write_values(b"cookie", &mut key);
        key.into()
    }

    fn values(&self, names: &[Box<[u8]>]) -> Box<[u8]> {
        let mut values = Vec::new();
        names.iter().for_each(|name| self.write_values(name, &mut values));
        values.into()
    }

    fn write_values(&self, lower_name: &[u8], out: &mut Vec<u8>) {
        for value in self.fields(lower_name) {
            out.extend_from_slice(value);
            out.push(b'\n');
        }
        // No field has such a byte.
        out.push(0);
    }
}

/// Whether a value of `Cache-Control` has one of these directives, given in lower case, with an argument or without.
pub(crate) fn has_directive(value: &[u8], directives: &[&[u8]]) -> bool {
    value.split(|&byte| byte == b',').any(|part| {
        let name = part.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
        directives.iter().any(|directive| name.eq_ignore_ascii_case(directive))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_model::units::{Size, Span};

    use super::*;

    fn cached(age_max: u64, bytes_max: u64) -> Cached {
        let spec =
            Spec { age_max: Some(Span(Duration::from_secs(age_max))), size_max: Some(Size(bytes_max)) };
        Cached::new(&spec, None)
    }

    fn kept(body: &str, vary: &[&str]) -> Kept {
        Kept {
            answer: Arc::new(StaticAnswer::kept(200, Vec::new(), body.as_bytes().to_vec())),
            vary: vary.iter().map(|name| name.as_bytes().into()).collect(),
            age: Duration::from_secs(1),
        }
    }

    fn head(target: &str, fields: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\nHost: app\r\n{fields}\r\nbody: x\r\n").into_bytes()
    }

    fn found(cached: &Cached, head: &[u8], secs: u64) -> Option<(Arc<StaticAnswer>, u64)> {
        let (answer, age) = cached.find(&Key::of("rule", head)?, Nanos::from_secs(secs))?;
        Some((answer, age.as_secs()))
    }

    #[test]
    fn an_answer_is_found_until_it_is_too_old() {
        let cached = cached(60, 1 << 20);
        let request = head("/a?b", "");
        let answer = kept("x", &[]);
        cached.keep(&Key::of("rule", &request).unwrap(), &answer, Nanos::from_secs(100));
        assert_eq!(found(&cached, &request, 159), Some((answer.answer, 60)));
        assert_eq!(found(&cached, &request, 160), None);
        assert_eq!(found(&cached, &head("/a?c", ""), 100), None);
        let key = Key::of("another rule", &request).unwrap();
        assert!(cached.find(&key, Nanos::from_secs(100)).is_none());
        assert!(cached.is_recent(&Key::of("rule", &request).unwrap(), Nanos::from_secs(100)));
        assert!(!cached.is_recent(&Key::of("rule", &request).unwrap(), Nanos::from_secs(101)));
        assert_eq!(cached.counts().2, 1);
    }

    #[test]
    fn who_has_another_cookie_or_asks_for_something_else_gets_nothing() {
        let cached = cached(60, 1 << 20);
        let request = head("/", "Cookie: a=1\r\nAccept-Language: de\r\n");
        cached.keep(&Key::of("rule", &request).unwrap(), &kept("x", &["accept-language"]), Nanos(1));
        let check = |fields: &str, expected: bool| {
            assert_eq!(found(&cached, &head("/", fields), 0).is_some(), expected, "{fields}");
        };
        check("Cookie: a=1\r\nAccept-Language: de\r\n", true);
        check("accept-language:  de \r\ncookie: a=1\r\nX: y\r\n", true);
        check("Cookie: a=2\r\nAccept-Language: de\r\n", false);
        check("Accept-Language: de\r\n", false);
        check("Cookie: a=1\r\nAccept-Language: en\r\n", false);
        check("Cookie: a=1\r\nAccept-Language: de\r\nAccept-Language: en\r\n", false);
        check("Cookie: a=1\r\n", false);
        for own in [
            "Authorization: Basic x\r\n",
            "cache-control: max-age=0, No-Store\r\n",
            "Content-Length: 40\r\n",
            "transfer-encoding: chunked\r\n",
        ] {
            assert!(Key::of("rule", &head("/", own)).is_none(), "{own}");
        }
        assert!(Key::of("rule", &head("/", "content-length: 0\r\n")).is_some());
        assert!(Key::of("rule", b"GET").is_none());
    }

    #[test]
    fn variants_of_one_request_are_bounded() {
        let cached = cached(60, 1 << 20);
        let of = |i: usize| head("/", &format!("A: {i}\r\n"));
        for i in 0..20 {
            cached.keep(&Key::of("rule", &of(i)).unwrap(), &kept("x", &["a"]), Nanos(1));
        }
        assert_eq!(cached.counts().0, VARIANTS_MAX);
        assert!(found(&cached, &of(19), 0).is_some() && found(&cached, &of(11), 0).is_none());
        // An answer that depends on something else says that the others were told apart by the wrong thing.
        cached.keep(&Key::of("rule", &of(19)).unwrap(), &kept("x", &[]), Nanos(1));
        assert_eq!(cached.counts().0, 1);
        assert!(found(&cached, &of(0), 0).is_some());
    }

    proptest! {
        /// Whatever is kept, the bytes and the answers stay within their bounds, and what was kept last is there.
        #[test]
        fn bounds_hold(puts in prop::collection::vec((0u32..40, 0usize..3000, 0u32..3), 1..200)) {
            let cached = cached(60, 64 << 10);
            for (path, length, variant) in puts {
                let request = head(&format!("/{path}"), &format!("a: {variant}\r\n"));
                let key = Key::of("rule", &request).unwrap();
                let answer = kept(&"x".repeat(length), &["a"]);
                cached.keep(&key, &answer, Nanos(1));
                let (_, bytes, _) = cached.counts();
                prop_assert!(bytes <= 64 << 10);
                prop_assert_eq!(cached.find(&key, Nanos(1)).map(|(found, _)| found), Some(answer.answer));
            }
        }
    }
}
