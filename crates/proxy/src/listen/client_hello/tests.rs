use proptest::prelude::*;

use super::build::{alpn, body, records, server_name};
use super::*;

fn hello(name: Option<&str>, protocols: &[&[u8]]) -> Sniffed {
    Sniffed::Found(ClientHello {
        server_name: name.map(Into::into),
        alpn: protocols.iter().map(|&protocol| protocol.into()).collect(),
    })
}

fn one_record(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    records(&body(&[1; 32], extensions), usize::MAX)
}

fn is_not_tls(bytes: &[u8], why: &str) {
    match sniff(bytes) {
        Sniffed::NotTls(found) => assert!(found.contains(why), "{found}, not {why}"),
        other => panic!("{other:?}, not {why}"),
    }
}

#[test]
fn finds_the_name_and_the_protocols() {
    let check = |extensions: &[(u16, Vec<u8>)], expected: &Sniffed| {
        assert_eq!(sniff(&one_record(extensions)), *expected, "{extensions:?}");
    };
    check(&[], &hello(None, &[]));
    check(&[server_name(b"db.example")], &hello(Some("db.example"), &[]));
    check(&[server_name(b"DB.Example.")], &hello(Some("db.example"), &[]));
    check(&[server_name(b"my_db")], &hello(Some("my_db"), &[]));
    check(&[server_name(b"127.0.0.1")], &hello(None, &[]));
    check(&[server_name(b"::1")], &hello(None, &[]));
    check(
        &[(43, vec![2, 3, 4]), alpn(&[b"h2", b"http/1.1"]), server_name(b"a.b")],
        &hello(Some("a.b"), &[b"h2", b"http/1.1"]),
    );
}

#[test]
fn a_message_may_come_in_many_records_and_in_many_reads() {
    let body = body(&[], &[alpn(&[b"h2"]), server_name(b"shop.example")]);
    for record_max in [1, 2, 3, 5, 64, usize::MAX] {
        let bytes = records(&body, record_max);
        for end in 0..bytes.len() {
            assert_eq!(sniff(&bytes[..end]), Sniffed::NeedMore, "{end} of {}", bytes.len());
        }
        assert_eq!(sniff(&bytes), hello(Some("shop.example"), &[b"h2"]));
        let more = [&bytes[..], b"\x14\x03\x03\x00\x01\x01 and early data"].concat();
        assert_eq!(sniff(&more), hello(Some("shop.example"), &[b"h2"]));
    }
}

#[test]
fn what_is_not_tls_is_told_by_its_first_bytes() {
    is_not_tls(b"G", "handshake record");
    is_not_tls(b"PRI * HTTP/2.0\r\n", "handshake record");
    is_not_tls(&[0, 0, 0, 8, 4, 210, 22, 47], "handshake record");
    is_not_tls(&[23, 3, 3], "handshake record");
    is_not_tls(&[22, 2], "version");
    is_not_tls(&[22, 3, 1, 0, 0], "empty");
    is_not_tls(&[22, 3, 1, 0x40, 1], "too long");
    is_not_tls(&[22, 3, 1, 0, 4, 2], "no ClientHello");
    is_not_tls(&[22, 3, 1, 0x40, 0, 1, 0, 0x40, 0], "too long");
    // The second record is something else.
    let mut bytes = records(&body(&[], &[]), 20);
    bytes[25] = 23;
    is_not_tls(&bytes, "handshake record");
    assert_eq!(sniff(b""), Sniffed::NeedMore);
}

#[test]
fn a_hello_that_never_ends_is_given_up_at_the_bound() {
    let bytes = records(&vec![0; 16_000], 1);
    assert_eq!(sniff(&bytes[..CLIENT_HELLO_BYTES_MAX - 1]), Sniffed::NeedMore);
    is_not_tls(&bytes[..CLIENT_HELLO_BYTES_MAX], "too long");
    is_not_tls(&bytes, "too long");
}

#[test]
fn malformed_hellos() {
    let ext = |extensions: &[(u16, Vec<u8>)], why| is_not_tls(&one_record(extensions), why);
    ext(&[server_name(b"a"), server_name(b"a")], "two server_name");
    ext(&[alpn(&[b"h2"]), alpn(&[b"h2"])], "two ALPN");
    ext(&[server_name(b"")], "no name");
    ext(&[server_name(b"a b")], "no name");
    ext(&[server_name(b"a\0b")], "no name");
    ext(&[server_name(b"a..b")], "no name");
    ext(&[server_name(b"*.a")], "no name");
    ext(&[server_name(&[b'a'; 64])], "no name");
    ext(&[server_name("é".as_bytes())], "no name");
    ext(&[server_name(&[0xff])], "malformed");
    ext(&[(0, vec![])], "server_name extension is malformed");
    ext(&[(0, vec![0, 0])], "server_name extension is malformed");
    ext(&[(0, vec![0, 4, 0, 0, 1, b'a', 9])], "server_name extension is malformed");
    ext(&[(0, vec![0, 4, 1, 0, 1, b'a'])], "server_name extension is malformed");
    ext(&[(0, vec![0, 8, 0, 0, 1, b'a', 0, 0, 1, b'b'])], "server_name extension is malformed");
    ext(&[(16, vec![0, 0])], "ALPN");
    ext(&[(16, vec![0, 1, 0])], "ALPN");
    ext(&[(16, vec![0, 2, 2, b'h'])], "ALPN");

    let good = body(&[1; 32], &[server_name(b"a")]);
    is_not_tls(&records(&good[..good.len() - 1], usize::MAX), "cut short");
    is_not_tls(&records(&[&good[..], b"x"].concat(), usize::MAX), "follows the extensions");
    is_not_tls(&records(&body(&[1; 33], &[]), usize::MAX), "malformed");
    is_not_tls(&records(&[], usize::MAX), "cut short");
    let mut two = records(&good, usize::MAX);
    let len = two.len() - 5 + 1;
    two[3..5].copy_from_slice(&(len as u16).to_be_bytes());
    two.push(1);
    is_not_tls(&two, "follows the ClientHello");
    two.truncate(two.len() - 1);
    is_not_tls(&two, "follows the ClientHello");
}

proptest! {
    #[test]
    fn any_name_comes_back_however_it_is_cut(
        name in "[a-z0-9_-]{1,20}(\\.[a-z][a-z0-9-]{0,20}){0,3}",
        protocols in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..12), 0..4),
        padding in 0usize..3000,
        record_max in 1usize..4096,
        session in 0usize..=32,
    ) {
        prop_assume!(name.parse::<std::net::IpAddr>().is_err());
        let mut extensions = vec![(21, vec![0; padding]), server_name(name.as_bytes())];
        let protocols: Vec<&[u8]> = protocols.iter().map(|p| &**p).collect();
        if !protocols.is_empty() {
            extensions.insert(0, alpn(&protocols));
        }
        let bytes = records(&body(&vec![9; session], &extensions), record_max);
        if bytes.len() <= CLIENT_HELLO_BYTES_MAX {
            prop_assert_eq!(sniff(&bytes), hello(Some(&name), &protocols));
            prop_assert_eq!(sniff(&bytes[..bytes.len() - 1]), Sniffed::NeedMore);
        }
    }
}
