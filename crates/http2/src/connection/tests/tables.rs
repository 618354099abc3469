//! Tables of heads that need not be parsed: they say what parsing them says.

use weir_http1::{FieldTable, Limits, RequestHead, ResponseHead, Sent};
use weir_http1::{parse_noted_request, parse_noted_response, parse_request, parse_response};

use super::*;

const OTHERS: [&str; 5] = ["x-forwarded-else", "x-weir-else", "x_forwarded_for", "vary", "grpc-message"];

fn name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(&KnownField::ALL[..]).prop_map(|known| known.name().to_owned());
    prop_oneof![
        4 => known,
        1 => prop::sample::select(&OTHERS[..]).prop_map(str::to_owned),
        2 => "[a-z0-9!#$%&'*+.^_`|~-]{1,30}",
    ]
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof![
        Just(String::new()),
        "[!-~]{1,40}",
        "[!-~][ -~\t]{0,40}[!-~]",
        Just("trailers".to_owned())
    ];
    prop::collection::vec((name().prop_filter("a name", |name| !name.is_empty()), value), 0..12)
}

/// Writes fields; a message that has some of them would be malformed.
fn write(block: &mut crate::hpack::Block<'_>, fields: &[(String, String)]) {
    for (name, value) in fields {
        let known = KnownField::of(name.as_bytes());
        let forbidden = matches!(
            known,
            KnownField::Connection
                | KnownField::ProxyConnection
                | KnownField::KeepAlive
                | KnownField::TransferEncoding
                | KnownField::Upgrade
                | KnownField::ContentLength
        );
        if !forbidden && (known != KnownField::Te || value == "trailers") {
            block.field(known, name.as_bytes(), value.as_bytes());
        }
    }
}

fn parsed(bytes: &[u8]) -> FieldTable {
    let mut table = FieldTable::default();
    let from = bytes.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
    table.parse(bytes, from, &Limits::DEFAULT).unwrap().unwrap();
    table
}

proptest! {
    #[test]
    fn what_was_noted_is_what_parsing_finds(
        asked in fields(),
        answered in fields(),
        room in prop_oneof![1usize..200, Just(100_000)],
        ended: bool,
        status in 200u16..600,
    ) {
        let (mut client, mut server) = (Side::client(), Side::server());
        let mut buf = vec![0; 100_000];
        // The second time streams are used again.
        for _ in 0..2 {
            let call = client.h2.call(ended, false, |block| {
                block.method(b"POST");
                block.scheme(false);
                block.authority(b"app");
                block.path(b"/a?b");
                write(block, &asked);
            });
            let call = call.unwrap();
            talk(&mut client, &mut server, 100_000);
            let served = server.opened.pop().unwrap();
            let whole = server.h2.unread(served).len() <= room && room > 24;
            let read = server.h2.read(served, &mut buf[..room]);
            let (mut plain, mut noted) = (RequestHead::default(), RequestHead::default());
            let taken = server.h2.take_table(served, noted.table());
            prop_assert_eq!(taken, whole);
            if taken {
                let plain_says = parse_request(&buf[..read], &Limits::DEFAULT, &mut plain);
                prop_assert_eq!(&*noted.table(), &parsed(&buf[..read]));
                prop_assert_eq!(parse_noted_request(&buf[..read], &Limits::DEFAULT, &mut noted), plain_says);
                prop_assert_eq!(noted.fields(), plain.fields());
                prop_assert!(!server.h2.take_table(served, noted.table()), "it is taken once");
            }
            server.h2.respond(served, true, |block| {
                block.status(status);
                write(block, &answered);
            });
            talk(&mut client, &mut server, 100_000);
            let whole = client.h2.unread(call).len() <= room && room > 24;
            let read = client.h2.read(call, &mut buf[..room]);
            let (mut plain, mut noted) = (ResponseHead::default(), ResponseHead::default());
            let taken = client.h2.take_table(call, noted.table());
            prop_assert_eq!(taken, whole);
            if taken {
                let sent = Sent::default();
                let plain_says = parse_response(&buf[..read], &Limits::DEFAULT, sent, &mut plain);
                prop_assert_eq!(&*noted.table(), &parsed(&buf[..read]));
                let noted_says = parse_noted_response(&buf[..read], &Limits::DEFAULT, sent, &mut noted);
                prop_assert_eq!(noted_says, plain_says);
                prop_assert_eq!(noted.fields(), plain.fields());
            }
            server.h2.close(served, Code::NO_ERROR);
            client.h2.close(call, Code::NO_ERROR);
            talk(&mut client, &mut server, 100_000);
        }
    }
}

#[test]
fn a_head_behind_interim_ones_is_parsed() {
    let (mut client, mut server) = (Side::client(), Side::server());
    let call = client.h2.call(true, false, |block| {
        block.method(b"GET");
        block.scheme(false);
        block.authority(b"app");
        block.path(b"/");
    });
    let call = call.unwrap();
    talk(&mut client, &mut server, 100);
    let served = server.opened[0];
    server.h2.respond_interim(served, |block| block.status(103));
    server.h2.respond(served, true, |block| block.status(200));
    talk(&mut client, &mut server, 100);
    assert!(client.read(call).contains("200"));
    assert!(!client.h2.take_table(call, &mut FieldTable::default()));
}
