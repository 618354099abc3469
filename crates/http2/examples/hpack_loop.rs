//! Encodes or decodes the field sections of one message, over and over: a thing to count instructions with.
//!
//! ```text
//! cargo build --release -p weir-http2 --example hpack_loop
//! valgrind --tool=callgrind target/release/examples/hpack_loop grpc decode 100000
//! ```
//! The figure is the difference between two counts of rounds, divided by the difference of the counts. `first` decodes what a
//! connection's first block looks like, with strings that are Huffman-coded; the others decode what the encoder makes of a
//! section that comes again and again.

use std::hint::black_box;

use weir_http1::KnownField::{self, *};
use weir_http2::hpack::{Decoder, Encoder, Scratch};

type Section = &'static [(KnownField, &'static str, &'static str)];

/// What a proxy sends on of a unary call.
const GRPC: Section = &[
    (ContentType, "content-type", "application/grpc"),
    (Te, "te", "trailers"),
    (UserAgent, "user-agent", "grpc-go/1.72.0"),
    (Other, "grpc-accept-encoding", "identity,deflate,gzip"),
    (GrpcTimeout, "grpc-timeout", "99987m"),
];

/// What a browser asks for.
const BROWSER: Section = &[
    (
        UserAgent,
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    ),
    (
        Accept,
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    (Other, "Accept-Language", "en-US,en;q=0.5"),
    (Other, "Accept-Encoding", "gzip, deflate, br"),
    (Other, "Referer", "https://shop.example.com/shop"),
    (Cookie, "Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    (XForwardedFor, "X-Forwarded-For", "10.0.0.1"),
    (XForwardedProto, "X-Forwarded-Proto", "https"),
    (XRequestId, "X-Request-Id", "0123456789abcdef0123456789abcdef"),
];

/// RFC 7541 appendix C.4.1 and more of the kind: a Huffman-coded authority, user agent, path.
const FIRST: &[u8] = b"\x82\x86\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\
    \x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf\
    \x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff";

fn encode(encoder: &mut Encoder, path: &[u8], section: Section, out: &mut Vec<u8>) {
    let mut block = encoder.block(out);
    block.method(b"POST");
    block.scheme(false);
    block.path(path);
    block.authority(b"127.0.0.1:50051");
    for (known, name, value) in section {
        block.field(*known, name.as_bytes(), value.as_bytes());
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: hpack_loop grpc|browser|first encode|decode ROUNDS";
    let (message, way) = (arguments.next().expect(usage), arguments.next().expect(usage));
    let rounds: u64 = arguments.next().and_then(|rounds| rounds.parse().ok()).expect(usage);
    let (mut encoder, mut decoder, mut scratch) =
        (Encoder::new(), Decoder::new(16 * 1024), Scratch::default());
    let mut block = Vec::new();
    let (path, section) = match message.as_str() {
        "grpc" => (&b"/shop.Cart/Add"[..], GRPC),
        _ => (&b"/shop/cart/items"[..], BROWSER),
    };
    for _ in 0..4 {
        block.clear();
        encode(&mut encoder, path, section, &mut block);
        decoder.decode(&block, &mut scratch, |_| {}).expect("what was encoded");
    }
    let received = if message == "first" { FIRST } else { &block.clone() };
    for _ in 0..rounds {
        if way == "encode" {
            block.clear();
            encode(&mut encoder, black_box(path), black_box(section), &mut block);
            black_box(&block);
        } else {
            if message == "first" {
                decoder = Decoder::new(16 * 1024);
            }
            let mut sum = 0;
            let section = decoder.decode(black_box(received), &mut scratch, |field| {
                sum += field.value.len() + usize::from(field.valid);
                black_box(field.id);
            });
            black_box((section.expect("a good block"), sum));
        }
    }
}
