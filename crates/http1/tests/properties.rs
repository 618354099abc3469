//! Properties over generated messages: what is written is read the same, however it arrives.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_http1::{
    BodyDecoder, BodyEncoder, BodyError, BodyKind, FieldName, FieldSet, HeadWriter, Limits, Method,
    Normalized, Parsed, RequestHead, ResponseHead, Sent, fuzzing, normalize_path, parse_request,
    parse_response,
};

const LIMITS: Limits = Limits::DEFAULT;

fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("GET".to_owned()),
        Just("POST".to_owned()),
        Just("get".to_owned()),
        "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}"
    ]
    .prop_filter("targets of CONNECT have another form", |method| method != "CONNECT")
}

fn path() -> impl Strategy<Value = String> {
    vec(prop_oneof!["[a-z0-9.;_~-]{0,6}", "(%[2-7][0-9a-fA-F]){1,3}", "[.]{1,3}(;[a-z]{0,2})?"], 0..6)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

/// Names that the codec gives no meaning.
fn name() -> impl Strategy<Value = String> {
    "y[!#$%&'*+.^`|~0-9A-Za-z-]{0,20}"
}

fn value() -> impl Strategy<Value = String> {
    "([!-~\u{80}-\u{2ff}]([!-~ \t\u{e9}]{0,30}[!-~])?)?"
}

fn body() -> impl Strategy<Value = BodyKind> {
    prop_oneof![Just(BodyKind::None), any::<u64>().prop_map(BodyKind::Length), Just(BodyKind::Chunked)]
}

type Fields = Vec<(String, String)>;

fn fields() -> impl Strategy<Value = Fields> {
    vec((name(), value()), 0..12)
}

fn found_fields(raw: &[u8], table: &weir_http1::FieldTable) -> Fields {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let own = table.iter().filter(|field| matches!(field.name.of(raw)[0], b'y'));
    own.map(|field| (text(field.name.of(raw)), text(field.value.of(raw)))).collect()
}

fn push_fields(writer: &mut HeadWriter<'_>, fields: &Fields) {
    for (name, value) in fields {
        let name = FieldName::new(name.as_bytes()).expect("a token");
        writer.field(name, value.as_bytes()).expect("a valid value");
    }
}

/// Splits `data` at the given places, read as fractions.
fn parts<'a>(data: &'a [u8], cuts: &[u16]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|&cut| usize::from(cut) * data.len() / 65536).collect();
    places.sort_unstable();
    let mut parts = Vec::new();
    let mut from = 0;
    for to in places.into_iter().chain([data.len()]) {
        parts.push(&data[from..to]);
        from = to;
    }
    parts
}

/// Content and number of bytes used.
fn decode(kind: BodyKind, parts: &[&[u8]]) -> Result<(Vec<u8>, usize), BodyError> {
    let mut decoder = BodyDecoder::new(kind, &LIMITS);
    let (mut content, mut used, mut buf) = (Vec::new(), 0, Vec::new());
    for part in parts {
        buf.extend_from_slice(part);
        loop {
            let step = decoder.decode(&mut buf)?;
            content.extend_from_slice(&buf[step.data]);
            buf.drain(..step.consumed);
            used += step.consumed;
            if step.done || step.consumed == 0 {
                break;
            }
        }
    }
    decoder.end_of_input()?;
    Ok((content, used))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_request_reads_the_same(
        method in method(), path in path(), query in "([?][!-\"$-~]{0,20})?", fields in fields(), body in body(),
        next in "[A-Z ]{0,10}", cut in any::<u16>(),
    ) {
        let mut wire = Vec::new();
        let mut writer = HeadWriter::request(&mut wire, method.as_bytes(), path.as_bytes(), query.as_bytes()).unwrap();
        writer.host(b"example.com:81").unwrap();
        push_fields(&mut writer, &fields);
        writer.framing(body);
        writer.finish();
        let len = wire.len();
        wire.extend_from_slice(next.as_bytes());

        let mut head = RequestHead::default();
        let split = usize::from(cut) * len / 65536;
        prop_assert_eq!(parse_request(&wire[..split], &LIMITS, &mut head), Ok(Parsed::Partial));
        prop_assert_eq!(parse_request(&wire, &LIMITS, &mut head), Ok(Parsed::Complete(len)));
        prop_assert_eq!(head.method_bytes(&wire), method.as_bytes());
        prop_assert_eq!(head.method(), Method::from_bytes(method.as_bytes()));
        prop_assert_eq!(head.path(&wire), path.as_bytes());
        prop_assert_eq!(head.query(&wire), query.as_bytes());
        prop_assert_eq!(head.body(), body);
        prop_assert_eq!(found_fields(&wire, head.fields()), fields);

        let mut copy = Vec::new();
        let mut writer = HeadWriter::request(&mut copy, head.method_bytes(&wire), head.path(&wire), head.query(&wire)).unwrap();
        writer.host(head.host(&wire).unwrap()).unwrap();
        writer.copy(&wire, head.fields(), FieldSet::NONE).framing(head.body());
        writer.finish();
        prop_assert_eq!(copy.escape_ascii().to_string(), wire[..len].escape_ascii().to_string());
    }

    #[test]
    fn a_written_response_reads_the_same(
        status in 200u16..1000, reason in value(), fields in fields(), body in body(), cut in any::<u16>(),
    ) {
        prop_assume!(status != 204 && status != 304);
        let mut wire = Vec::new();
        let mut writer = HeadWriter::response(&mut wire, status, reason.as_bytes()).unwrap();
        push_fields(&mut writer, &fields);
        writer.framing(body);
        writer.finish();

        let mut head = ResponseHead::default();
        let split = usize::from(cut) * wire.len() / 65536;
        prop_assert_eq!(parse_response(&wire[..split], &LIMITS, Sent::default(), &mut head), Ok(Parsed::Partial));
        prop_assert_eq!(parse_response(&wire, &LIMITS, Sent::default(), &mut head), Ok(Parsed::Complete(wire.len())));
        prop_assert_eq!((head.status(), head.reason(&wire)), (status, reason.as_bytes()));
        prop_assert_eq!(head.body(), if body == BodyKind::None { BodyKind::UntilClose } else { body });
        prop_assert_eq!(found_fields(&wire, head.fields()), fields);
    }

    #[test]
    fn bodies_survive_any_chunks_and_any_arrival(
        content in vec(any::<u8>(), 0..20_000), chunks in vec(any::<u16>(), 0..12), cuts in vec(any::<u16>(), 0..12),
        next in vec(any::<u8>(), 0..4),
    ) {
        let mut encoder = BodyEncoder::new(BodyKind::Chunked);
        let mut wire = Vec::new();
        for chunk in parts(&content, &chunks) {
            let (prefix, suffix) = encoder.frame(chunk.len()).unwrap();
            wire.extend_from_slice(prefix.as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(suffix);
        }
        encoder.finish(None, &mut wire).unwrap();
        let len = wire.len();
        for end in [0, len / 2, len - 1] {
            prop_assert_eq!(decode(BodyKind::Chunked, &parts(&wire[..end], &cuts)), Err(BodyError::Incomplete));
        }
        wire.extend_from_slice(&next);
        prop_assert_eq!(decode(BodyKind::Chunked, &parts(&wire, &cuts)), Ok((content.clone(), len)));

        let kind = BodyKind::Length(content.len() as u64);
        let plain = [&content[..], &next].concat();
        prop_assert_eq!(decode(kind, &parts(&plain, &cuts)), Ok((content.clone(), content.len())));
        if !content.is_empty() {
            prop_assert_eq!(decode(kind, &parts(&content[1..], &cuts)), Err(BodyError::Incomplete));
        }
        prop_assert_eq!(decode(BodyKind::UntilClose, &parts(&content, &cuts)), Ok((content.clone(), content.len())));
    }

    #[test]
    fn normal_paths_are_what_a_plain_reading_gives(path in path()) {
        fuzzing::path(path.as_bytes());
        let mut out = Vec::new();
        if let Ok(verdict) = normalize_path(path.as_bytes(), &mut out) {
            let found = if verdict == Normalized::Changed { out } else { path.clone().into_bytes() };
            prop_assert_eq!(String::from_utf8(found).unwrap(), plainly(&path), "{}", path);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in vec(any::<u8>(), 0..200)) {
        fuzzing::request_head(&data);
        fuzzing::response_head(&data);
        fuzzing::chunked_body(&data);
        fuzzing::path(&data);
    }
}

/// The normal form by lists of segments.
fn plainly(path: &str) -> String {
    let mut decoded = String::new();
    let mut rest = path;
    while let Some(byte) = rest.bytes().next() {
        let escaped = (byte == b'%').then(|| u8::from_str_radix(&rest[1..3], 16).unwrap());
        match escaped {
            Some(plain) if plain.is_ascii_alphanumeric() || b"-._~".contains(&plain) => {
                decoded.push(char::from(plain));
            }
            Some(_) => decoded.push_str(&rest[..3]),
            None => decoded.push(char::from(byte)),
        }
        rest = &rest[if escaped.is_some() { 3 } else { 1 }..];
    }
    let segments: Vec<_> = decoded[1..].split('/').collect();
    let mut kept: Vec<&str> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        match segment.split(';').next().unwrap() {
            "" if last => kept.push(segment),
            "" => {}
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                kept.extend(last.then_some(""));
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}
