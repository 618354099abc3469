//! What must hold for every input. The fuzz targets and the seeded mutation test on stable Rust call the same functions;
//! each panics when its promise is broken.

mod reference;

use crate::{
    BodyDecoder, BodyEncoder, BodyError, BodyKind, FieldName, FieldSet, FieldTable, HeadWriter, KnownField,
    Limits, Method, Normalized, Parsed, RequestError, RequestHead, ResponseHead, Sent, TargetForm,
    normalize_path, parse_request, parse_response, split_authority,
};

/// Small bounds, so that inputs of a few hundred bytes reach them.
const LIMITS: Limits = Limits {
    head_bytes_max: 512,
    fields_max: 12,
    target_bytes_max: 100,
    method_bytes_max: 12,
    connection_options_max: 6,
    chunk_extension_bytes_max: 24,
    trailer_bytes_max: 100,
    interim_responses_max: 2,
};

/// Room for what a writer adds: `Host`, framing, a space after each colon.
const ROOMY: Limits =
    Limits { head_bytes_max: 4096, fields_max: 16, target_bytes_max: 200, trailer_bytes_max: 200, ..LIMITS };

/// A request head: the verdict does not depend on how the bytes arrive; what is accepted is unambiguous and is written so
/// that it reads the same again.
pub fn request_head(data: &[u8]) {
    let mut head = RequestHead::default();
    let verdict = parse_request(data, &LIMITS, &mut head);
    drip(data, &verdict, &mut RequestHead::default(), |part, head| parse_request(part, &LIMITS, head));
    if let Err(fault) = &verdict {
        assert!(matches!(fault.status(), 400 | 405 | 414 | 417 | 431 | 501 | 505), "{fault}");
        assert!(fault.reason().chars().all(|c| (' '..='~').contains(&c)), "{fault:?}");
    }
    let Ok(Parsed::Complete(len)) = verdict else { return };
    assert!(len <= data.len() && len <= LIMITS.head_bytes_max);
    let raw = &data[..len];
    check_head_end(raw);
    check_framing_fields(raw, head.fields(), head.body());
    assert!(head.host(raw).is_none_or(|host| split_authority(host).is_some()));
    assert!(head.body() != BodyKind::UntilClose);
    if head.target_form() == TargetForm::Authority {
        return;
    }
    let mut path = Vec::new();
    let path = match head.path(raw) {
        b"*" => b"*",
        path_sent => match normalize_path(path_sent, &mut path) {
            Ok(Normalized::Unchanged) => path_sent,
            Ok(Normalized::Changed) => &path[..],
            Err(fault) => return assert_eq!(RequestError::from(fault).status(), 400),
        },
    };
    let mut out = Vec::new();
    write_request(raw, &head, path, &mut out).expect("what was parsed can be written");

    let mut again = RequestHead::default();
    assert_eq!(
        parse_request(&out, &ROOMY, &mut again),
        Ok(Parsed::Complete(out.len())),
        "{}",
        out.escape_ascii()
    );
    assert_eq!(again.method_bytes(&out), head.method_bytes(raw));
    assert_eq!((again.path(&out), again.query(&out)), (path, head.query(raw)));
    assert_eq!(again.host(&out), head.host(raw).or(Some(b"none")));
    assert_eq!(again.body(), head.body());
    assert!(!again.fields().seen().intersects(FieldSet::HOP_BY_HOP.union(FieldSet::FORWARDING)));
    same_fields(raw, head.fields(), &out, again.fields(), FieldSet::FORWARDING);
}

fn write_request(
    raw: &[u8],
    head: &RequestHead,
    path: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), crate::WriteError> {
    let mut writer = HeadWriter::request(out, head.method_bytes(raw), path, head.query(raw))?;
    writer.host(head.host(raw).unwrap_or(b"none"))?;
    writer.copy(raw, head.fields(), FieldSet::FORWARDING).framing(head.body());
    writer.finish();
    Ok(())
}

/// A response head, as an answer to one of several requests (the first byte says which).
pub fn response_head(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let method = [Method::Get, Method::Head, Method::Connect, Method::Post][usize::from(choice & 3)];
    let sent = Sent { method, upgrade: (choice & 4 != 0).then_some(b"websocket") };
    let mut head = ResponseHead::default();
    let verdict = parse_response(data, &LIMITS, sent, &mut head);
    drip(data, &verdict, &mut ResponseHead::default(), |part, head| {
        parse_response(part, &LIMITS, sent, head)
    });
    let Ok(Parsed::Complete(len)) = verdict else { return };
    let raw = &data[..len];
    check_head_end(raw);
    check_framing_fields(raw, head.fields(), head.body());
    assert!((100..1000).contains(&head.status()));
    assert!(!head.is_upgrade() || sent.upgrade.is_some());
    let bodiless = method == Method::Head || matches!(head.status(), 100..200 | 204 | 304);
    assert!(!bodiless || head.body() == BodyKind::None);
    assert!(head.body() != BodyKind::UntilClose || !head.keep_alive());

    let relay = head.relay(crate::Version::Http11);
    let mut out = Vec::new();
    let mut writer =
        HeadWriter::response(&mut out, head.status(), head.reason(raw)).expect("a parsed status line");
    writer.copy(raw, head.fields(), FieldSet::NONE.with(KnownField::Server)).framing(relay.head);
    writer.field(FieldName::from_static("server"), b"weir").expect("a constant value");
    writer.finish();
    if head.is_upgrade() {
        return;
    }
    let mut again = ResponseHead::default();
    assert_eq!(parse_response(&out, &ROOMY, sent, &mut again), Ok(Parsed::Complete(out.len())));
    assert_eq!((again.status(), again.reason(&out)), (head.status(), head.reason(raw)));
    assert_eq!((again.body(), again.content_length()), (relay.body, head.content_length()));
    same_fields(raw, head.fields(), &out, again.fields(), FieldSet::NONE.with(KnownField::Server));
}

/// Feeds growing prefixes to one parser: never complete early, never a verdict that the whole input would not get.
fn drip<E: std::fmt::Debug + PartialEq, H>(
    data: &[u8],
    whole: &Result<Parsed, E>,
    head: &mut H,
    parse: impl Fn(&[u8], &mut H) -> Result<Parsed, E>,
) {
    for end in 0..=data.len() {
        match (parse(&data[..end], head), whole) {
            (Ok(Parsed::Partial), Ok(Parsed::Complete(len))) => {
                assert!(end < *len, "the end of the head was missed");
            }
            (Ok(Parsed::Complete(len)), whole) => {
                assert_eq!(whole, &Ok(Parsed::Complete(len)));
                assert_eq!(end, len, "complete at its last byte");
                return;
            }
            (Ok(Parsed::Partial), _) => {}
            (Err(fault), whole) => {
                assert!(whole.is_err(), "{fault:?} only when it drips");
                return;
            }
        }
    }
}

fn check_head_end(raw: &[u8]) {
    assert!(raw.ends_with(b"\r\n\r\n") || raw.ends_with(b"\r\n"));
    assert!(!raw.contains(&0));
    for (at, &byte) in raw.iter().enumerate() {
        assert!(byte != b'\n' || at > 0 && raw[at - 1] == b'\r', "a bare LF was accepted");
        assert!(byte != b'\r' || raw.get(at + 1) == Some(&b'\n'), "a bare CR was accepted");
    }
}

/// Looks at the fields the plain way, by their names alone.
fn check_framing_fields(raw: &[u8], fields: &FieldTable, body: BodyKind) {
    let lengths: Vec<_> = fields.named(raw, b"content-length").collect();
    let encodings: Vec<_> = fields.named(raw, b"transfer-encoding").collect();
    assert!(lengths.len() + encodings.len() <= 1, "two ways to read the framing");
    for encoding in encodings {
        assert!(encoding.eq_ignore_ascii_case(b"chunked"));
        assert!(matches!(body, BodyKind::Chunked | BodyKind::None));
    }
    for length in lengths {
        let value: u64 =
            std::str::from_utf8(length).ok().and_then(|text| text.parse().ok()).expect("a number");
        assert!(length.iter().all(u8::is_ascii_digit));
        assert!(matches!(body, BodyKind::None) || body == BodyKind::Length(value));
    }
}

/// The end-to-end fields of the first head are those of the second, in the same order, but for what the writer sets anew.
fn same_fields(raw: &[u8], fields: &FieldTable, out: &[u8], again: &FieldTable, skipped: FieldSet) {
    let anew = skipped.union(FieldSet::HOP_BY_HOP).union(FieldSet::FRAMING).with(KnownField::Host);
    let kept =
        fields.iter().filter(|f| !anew.has(f.id) && !f.nominated).map(|f| (f.name.of(raw), f.value.of(raw)));
    let found = again.iter().filter(|f| !anew.has(f.id)).map(|f| (f.name.of(out), f.value.of(out)));
    assert!(kept.eq(found), "{} became {}", raw.escape_ascii(), out.escape_ascii());
}

/// A chunked body (the first byte says how it arrives): as a plain reading of RFC 9112 has it, and the same however the bytes
/// arrive; what is written reads the same again.
pub fn chunked_body(data: &[u8]) {
    let Some((&pace, data)) = data.split_first() else { return };
    let expected = reference::read_chunked(data, &LIMITS);
    for pace in [data.len().max(1), usize::from(pace) + 1, 1] {
        let (content, verdict) = read_paced(data, pace, &LIMITS);
        match (&expected, &verdict) {
            (reference::Verdict::Complete { content: wanted, used }, Ok((taken, _))) => {
                assert_eq!((&content, taken), (wanted, used));
            }
            (reference::Verdict::Incomplete(wanted), Err(BodyError::Incomplete)) => {
                assert_eq!(&content, wanted);
            }
            // Trailers are judged when all have arrived.
            (reference::Verdict::Faulty { in_trailers }, Err(fault)) => {
                assert!(*in_trailers || fault != &BodyError::Incomplete, "{}", data.escape_ascii());
            }
            // Faults in what has not arrived in full may show earlier or later.
            (reference::Verdict::Incomplete(_), Err(_)) if pace_hides(data) => {}
            (expected, found) => panic!("{} at {pace}: {expected:?}, {found:?}", data.escape_ascii()),
        }
        if let Ok((_, decoder)) = verdict {
            rewrite_body(&content, &decoder);
        }
    }
}

/// Whether an unfinished line at the end holds a fault that the reference, which waits for whole lines, does not see yet.
fn pace_hides(data: &[u8]) -> bool {
    !data.ends_with(b"\n")
}

fn read_paced(
    data: &[u8],
    pace: usize,
    limits: &Limits,
) -> (Vec<u8>, Result<(usize, BodyDecoder), BodyError>) {
    let mut decoder = BodyDecoder::new(BodyKind::Chunked, limits);
    let (mut content, mut used) = (Vec::new(), 0);
    let mut buf = Vec::new();
    for part in data.chunks(pace) {
        buf.extend_from_slice(part);
        loop {
            let step = match decoder.decode(&mut buf) {
                Ok(step) => step,
                Err(fault) => return (content, Err(fault)),
            };
            assert!(
                step.data.start <= step.data.end
                    && step.data.end <= step.consumed
                    && step.consumed <= buf.len()
            );
            content.extend_from_slice(&buf[step.data]);
            used += step.consumed;
            buf.drain(..step.consumed);
            if step.done {
                assert!(decoder.is_done());
                return (content, Ok((used, decoder)));
            }
            if step.consumed == 0 {
                break;
            }
        }
        assert!(buf.is_empty(), "a decoder of chunks takes what there is");
    }
    let verdict = decoder.end_of_input();
    assert_eq!(verdict, Err(BodyError::Incomplete), "an end of input never completes a chunked body");
    (content, Err(BodyError::Incomplete))
}

fn rewrite_body(content: &[u8], decoder: &BodyDecoder) {
    let mut encoder = BodyEncoder::new(BodyKind::Chunked);
    let mut out = Vec::new();
    for part in content.chunks(7) {
        let (prefix, suffix) = encoder.frame(part.len()).expect("chunks have no bound");
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(suffix);
    }
    encoder.finish(decoder.trailers(), &mut out).expect("chunks have no bound");
    let (again, verdict) = read_paced(&out, out.len(), &ROOMY);
    let (used, decoder_again) = verdict.expect("what was written can be read");
    assert_eq!((again.as_slice(), used), (content, out.len()));
    let trailers = |decoder: &BodyDecoder| -> Vec<(Vec<u8>, Vec<u8>)> {
        let fields = decoder.trailers().into_iter().flat_map(|trailers| trailers.iter());
        fields.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    };
    assert_eq!(trailers(&decoder_again), trailers(decoder));
}

/// A path: normal after one pass, within the root, and without a separator that was not one before.
pub fn path(data: &[u8]) {
    let mut out = b"left over".to_vec();
    let normal = match normalize_path(data, &mut out) {
        Ok(Normalized::Changed) => {
            assert_ne!(out, data);
            out.as_slice()
        }
        Ok(Normalized::Unchanged) => data,
        Err(_) => return,
    };
    assert_eq!(normal.first(), Some(&b'/'));
    assert!(normal.len() <= data.len());
    let segments: Vec<_> = normal[1..].split(|&b| b == b'/').collect();
    let (last, inner) = segments.split_last().expect("split gives one segment at least");
    assert!(
        inner.iter().all(|segment| !matches!(name_of(segment), b"" | b"." | b"..")),
        "{}",
        normal.escape_ascii()
    );
    assert!(!matches!(name_of(last), b"." | b".."));
    assert!(!normal.contains(&b'\\') && !normal.windows(3).any(|w| w == b"%00"));
    let separators = |path: &[u8]| path.iter().filter(|&&b| b == b'/').count();
    assert!(separators(normal) <= separators(data));
    let mut again = Vec::new();
    assert_eq!(normalize_path(normal, &mut again), Ok(Normalized::Unchanged), "{}", normal.escape_ascii());
}

fn name_of(segment: &[u8]) -> &[u8] {
    segment.split(|&b| b == b';').next().unwrap_or_default()
}
