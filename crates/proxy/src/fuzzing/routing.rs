//! Routing and filters, for any request that can be parsed.

use std::sync::OnceLock;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_http1::{
    FieldSet, FieldTable, Limits, Normalized, Parsed, RequestHead, TargetForm, is_field_value,
    normalize_path, parse_request,
};
use weir_model::{Position, document};

use crate::filter::{Answer, Applied, Place, Scheme, copy_request, decide};
use crate::route::{Decision, Filtered, HostBuffer, Match, NoReasons, RequestView, RouteTable, compare};
use crate::snapshot::{Compiler, Inputs, Role, Snapshot};

const RULES: &str = include_str!("rules.yaml");

/// A request as routing sees it.
struct Seen<'a> {
    head: &'a RequestHead,
    buf: &'a [u8],
    host: &'a [u8],
    path: &'a [u8],
}

impl RequestView for Seen<'_> {
    fn method(&self) -> &[u8] {
        self.head.method_bytes(self.buf)
    }

    fn host(&self) -> &[u8] {
        self.host
    }

    fn path(&self) -> &[u8] {
        self.path
    }

    fn query(&self) -> Option<&[u8]> {
        self.head.query(self.buf).strip_prefix(b"?")
    }

    fn values<'a>(&'a self, lower_name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.head.fields().named(self.buf, lower_name)
    }
}

fn snapshot() -> &'static Snapshot {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let parsed = document::parse("rules", RULES).expect("the documents are well-formed");
        let resources = parsed.documents.into_iter().map(|document| document.resource);
        let inputs = Inputs::of_resources(Position::new(0, 1), resources);
        Compiler::new(Role::Gateway { gateways: vec![] }).compile(&inputs, None).expect("they compile")
    })
}

/// A request head: what is found holds and goes before all others that hold; what filters write can be read again, and
/// where they redirect to is one line.
pub fn routing(data: &[u8]) {
    let mut head = RequestHead::default();
    let Ok(Parsed::Complete(len)) = parse_request(data, &Limits::default(), &mut head) else { return };
    let buf = &data[..len];
    let mut normal = Vec::new();
    let path = match head.target_form() {
        TargetForm::Origin | TargetForm::Absolute => match normalize_path(head.path(buf), &mut normal) {
            Ok(Normalized::Unchanged) => head.path(buf),
            Ok(Normalized::Changed) => &normal,
            Err(_) => return,
        },
        TargetForm::Asterisk => head.path(buf),
        TargetForm::Authority => return,
    };
    let host = head.authority(buf).map_or(&b""[..], |authority| authority.host);
    let seen = Seen { head: &head, buf, host, path };
    let table = &snapshot().listeners[0].routes;
    the_winner_goes_first(table, &seen);
    let mut rng = SmallRng::seed_from_u64(7);
    let (Decision::Forward { filtered: Some(filtered), .. }
    | Decision::NoBackend { filtered: Some(filtered), .. }) = snapshot().route(table, &seen, &mut rng)
    else {
        return;
    };
    filters_write_what_can_be_read(filtered, &seen, &mut rng);
}

fn the_winner_goes_first(table: &RouteTable, seen: &Seen<'_>) {
    let mut rng = SmallRng::seed_from_u64(7);
    let found = table.find(seen, &mut rng, &mut NoReasons).map(|found| found.matched);
    let mut buffer = HostBuffer::default();
    let host = buffer.fold(seen.host);
    let section = table.section_of(seen.host);
    let holds = |one: &&Match| {
        Some(one.section) == section
            && one.host.matches(host)
            && one.path.matches(seen.path)
            && one.conditions.check(seen).is_ok()
    };
    let first = table.matches().iter().filter(holds).min_by(|a, b| compare(a, b).0);
    assert_eq!(first.map(std::ptr::from_ref), found.map(std::ptr::from_ref), "the index misses a match");
}

fn filters_write_what_can_be_read(filtered: Filtered<'_>, seen: &Seen<'_>, rng: &mut SmallRng) {
    let Filtered { filters, prefix } = filtered;
    let verdict = decide(filters, seen, rng);
    let query = seen.head.query(seen.buf);
    if let (Some(Answer::Redirect), Some(redirect)) = (verdict.answer, &filters.redirect) {
        let place = Place { scheme: Scheme::Http, host: seen.host, port: 80, path: seen.path, query, prefix };
        let mut location = Vec::new();
        redirect.write_location(&place, &mut location);
        assert!(is_field_value(&location) && !location.contains(&b' '), "{}", location.escape_ascii());
        return;
    }
    let applied = Applied { filters: filters.clone(), prefix, cors: verdict.cors };
    let mut lines = Vec::new();
    applied.answer_lines(seen.header(b"origin").unwrap_or_default(), &mut lines);
    let whole = |line: &[u8]| is_field_value(line) && line.contains(&b':');
    assert!(lines.split(|&byte| byte == b'\n').all(|line| line.is_empty() || whole(&line[..line.len() - 1])));

    let (mut out, mut noted) = (Vec::new(), FieldTable::default());
    let host = seen.head.host(seen.buf).unwrap_or(b"app");
    let mut writer = applied
        .begin_request((&mut out, Some(&mut noted)), seen.method(), seen.path, query, host)
        .expect("what was parsed can be written");
    copy_request(&mut writer, applied.request(), seen.buf, seen.head.fields(), FieldSet::NONE);
    if let Some(change) = applied.request() {
        writer.lines(change.lines());
    }
    writer.framing(seen.head.body());
    writer.finish();
    let mut again = RequestHead::default();
    // What filters add is no longer bound by what a client may send.
    let limits = Limits { head_bytes_max: 1 << 20, fields_max: 1 << 10, ..Limits::default() };
    let parsed = parse_request(&out, &limits, &mut again);
    assert_eq!(parsed, Ok(Parsed::Complete(out.len())), "{}", out.escape_ascii());
    let line_end = out.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut plain = FieldTable::default();
    assert!(matches!(plain.parse(&out, line_end, &limits), Ok(Some(_))) && plain == noted);
    assert_eq!(
        (again.method_bytes(&out), again.query(&out), again.body()),
        (seen.method(), query, seen.head.body())
    );
    if let Some(change) = applied.request() {
        let dropped = again.fields().iter().filter(|field| change.drops(field.name.of(&out))).count();
        let set = change.lines().as_bytes().split(|&byte| byte == b':').next().unwrap_or_default();
        assert!(dropped <= 1 && (dropped == 0 || change.drops(set)), "{}", out.escape_ascii());
    }
}
