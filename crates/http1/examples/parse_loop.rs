//! Parses and rewrites one request and one response, over and over: a thing to count instructions with.
//!
//! ```text
//! cargo build --release -p weir-http1 --example parse_loop
//! valgrind --tool=callgrind target/release/examples/parse_loop small 100000
//! ```
//! The figure is the difference between two counts of rounds, divided by the difference of the counts.

use std::hint::black_box;

use weir_http1::{
    BodyDecoder, BodyEncoder, BodyKind, FieldName, FieldSet, HeadWriter, Limits, Normalized, Parsed,
    RequestHead, ResponseHead, Sent, Version, normalize_path, parse_request, parse_response,
};

const SMALL: (&[u8], &[u8]) = (
    b"GET /small HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 20 Nov 2026 04:36:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\nhello, world\n",
);

const BROWSER: (&[u8], &[u8]) = (
    b"GET /shop/cart/items?page=2&sort=price HTTP/1.1\r\nHost: shop.example.com\r\nConnection: keep-alive\r\n\
      User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n\
      Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
      Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nReferer: https://shop.example.com/shop\r\n\
      Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
      Cache-Control: no-cache\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nServer: app\r\nDate: Fri, 20 Nov 2026 04:36:00 GMT\r\nContent-Type: application/json\r\n\
      Cache-Control: private, max-age=0\r\nSet-Cookie: a=b; Path=/; HttpOnly\r\nX-Request-Id: 0123456789abcdef\r\n\
      Vary: Accept-Encoding\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nhello, world\n\r\n0\r\n\r\n",
);

const FORWARDED_FOR: FieldName<'_> = FieldName::from_static("x-forwarded-for");
const FORWARDED_PROTO: FieldName<'_> = FieldName::from_static("x-forwarded-proto");

/// What a worker keeps.
struct Worker {
    limits: Limits,
    request: RequestHead,
    response: ResponseHead,
    decoder: BodyDecoder,
    path: Vec<u8>,
    out: Vec<u8>,
}

impl Worker {
    fn new() -> Self {
        let limits = Limits::DEFAULT;
        let decoder = BodyDecoder::new(BodyKind::None, &limits);
        let (request, response) = Default::default();
        Self { limits, request, response, decoder, path: Vec::new(), out: Vec::new() }
    }

    fn forward_request(&mut self, raw: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
        let head = &mut self.request;
        if parse_request(raw, &self.limits, head)? == Parsed::Partial {
            return Err("the request is not complete".into());
        }
        head.check_method(false)?;
        let path = match normalize_path(head.path(raw), &mut self.path)? {
            Normalized::Unchanged => head.path(raw),
            Normalized::Changed => &self.path,
        };
        black_box(head.authority(raw));
        self.out.clear();
        let mut writer = HeadWriter::request(&mut self.out, head.method_bytes(raw), path, head.query(raw))?;
        writer.host(head.host(raw).unwrap_or_default())?;
        writer.copy(raw, head.fields(), FieldSet::FORWARDING);
        writer.field(FORWARDED_FOR, b"127.0.0.1")?.field(FORWARDED_PROTO, b"http")?;
        writer.framing(head.body());
        writer.finish();
        Ok(())
    }

    fn forward_response(&mut self, raw: &mut [u8]) -> Result<(), Box<dyn std::error::Error>> {
        let sent = Sent { method: self.request.method(), upgrade: None };
        let head = &mut self.response;
        head.begin_exchange();
        let Parsed::Complete(len) = parse_response(raw, &self.limits, sent, head)? else {
            return Err("the response is not complete".into());
        };
        let (raw, rest) = raw.split_at_mut(len);
        let relay = head.relay(Version::Http11);
        self.out.clear();
        let mut writer = HeadWriter::response(&mut self.out, head.status(), head.reason(raw))?;
        writer.copy(raw, head.fields(), FieldSet::NONE).framing(relay.head);
        writer.finish();
        self.decoder.reset(head.body(), &self.limits);
        let mut encoder = BodyEncoder::new(relay.body);
        let step = self.decoder.decode(rest)?;
        let (prefix, suffix) = encoder.frame(step.data.len())?;
        self.out.extend_from_slice(prefix.as_bytes());
        self.out.extend_from_slice(&rest[step.data]);
        self.out.extend_from_slice(suffix);
        if step.done {
            encoder.finish(self.decoder.trailers(), &mut self.out)?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (request, response) = match arguments.next().as_deref() {
        Some("browser") => BROWSER,
        _ => SMALL,
    };
    let what = std::env::var("PARSE_LOOP").unwrap_or_default();
    let rounds: u64 = arguments.next().map_or(Ok(100_000), |count| count.parse())?;
    let mut worker = Worker::new();
    let mut buf = response.to_vec();
    for _ in 0..rounds {
        if what != "response" {
            worker.forward_request(black_box(request))?;
            black_box(&worker.out);
        }
        if what != "request" {
            buf.copy_from_slice(black_box(response));
            worker.forward_response(&mut buf)?;
            black_box(&worker.out);
        }
    }
    Ok(())
}
