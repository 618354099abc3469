//! What must hold for every input of the parsers that strangers speak to first. The fuzz targets and the seeded mutation
//! test call the same functions; each panics when its promise is broken.

mod routing;

pub use routing::routing;

use crate::listen::client_hello::{self, CLIENT_HELLO_BYTES_MAX, Sniffed, sniff};
use crate::listen::proxy_protocol::{self, Addresses, HEADER_BYTES_MAX, HeaderError, Parsed, Version};

/// The beginning of a TLS connection: the verdict does not depend on how the bytes arrive, nor on what follows them; what
/// is found reads the same again.
pub fn client_hello(data: &[u8]) {
    let whole = sniff(data);
    for end in sample(data.len()) {
        let part = sniff(&data[..end]);
        assert!(part == Sniffed::NeedMore || part == whole, "{part:?} became {whole:?}");
    }
    assert!(whole != Sniffed::NeedMore || data.len() < CLIENT_HELLO_BYTES_MAX);
    let Sniffed::Found(hello) = &whole else { return };
    let longer = [data, b"\x16\x03\x01\x00\x01\x01"].concat();
    assert_eq!(sniff(&longer), whole, "what follows is another matter");
    let mut extensions = Vec::new();
    if let Some(name) = &hello.server_name {
        assert!(name.len() <= 255 && !name.ends_with('.') && !name.bytes().any(|b| b.is_ascii_uppercase()));
        extensions.push(client_hello::build::server_name(name.as_bytes()));
    }
    if !hello.alpn.is_empty() {
        let protocols: Vec<&[u8]> = hello.alpn.iter().map(|protocol| &**protocol).collect();
        extensions.push(client_hello::build::alpn(&protocols));
    }
    let again = client_hello::build::records(&client_hello::build::body(&[], &extensions), 16_000);
    assert_eq!(sniff(&again), whole);
}

/// The beginning of a connection that must name its client: complete at its last byte and not before, and what is
/// understood can be written and reads the same again.
pub fn proxy_protocol(data: &[u8]) {
    let whole = proxy_protocol::parse(data);
    for end in sample(data.len()) {
        match (proxy_protocol::parse(&data[..end]), whole) {
            (Ok(Parsed::Partial), Ok(Parsed::Complete(len, _))) => assert!(end < len, "its end was missed"),
            (Ok(Parsed::Partial), _) => {}
            (part, whole) => assert_eq!(part, whole, "at {end}"),
        }
    }
    match whole {
        Ok(Parsed::Partial) => assert!(data.len() < HEADER_BYTES_MAX),
        Ok(Parsed::Complete(len, addresses)) => {
            assert!(len <= data.len() && len <= HEADER_BYTES_MAX);
            if let Addresses::Of { source, destination } = addresses {
                assert_eq!(source.is_ipv4(), destination.is_ipv4());
            }
            for version in [Version::V1, Version::V2] {
                let mut again = Vec::new();
                proxy_protocol::write(version, addresses, &mut again);
                assert_eq!(proxy_protocol::parse(&again), Ok(Parsed::Complete(again.len(), addresses)));
            }
        }
        Err(HeaderError::Missing) => {
            assert!(!data.starts_with(b"PROXY ") && !data.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
        }
        Err(_) => {}
    }
}

/// Lengths to cut at: all for short inputs, else the beginning, the end, and some between.
fn sample(len: usize) -> impl Iterator<Item = usize> {
    let step = (len / 256).max(1);
    (0..len).filter(move |at| at % step == 0 || *at < 64 || at + 64 > len)
}
