//! Against the `h2` crate: what its encoder makes our decoder reads, and the other way round, over connections on which the
//! table's size changes.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use weir_http1::KnownField;
use weir_http2::hpack::{Decoder, Encoder, Scratch};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The largest payload of a frame before any setting says otherwise.
const PAYLOAD_MAX: usize = 16_384;

const NAMES: &[&str] = &[
    "content-type",
    "user-agent",
    "date",
    "etag",
    "authorization",
    "cookie",
    "accept-encoding",
    "cache-control",
    "grpc-timeout",
    "x-request-id",
    "x-custom",
];

#[derive(Clone, Debug)]
struct Sent {
    method: Method,
    path: String,
    fields: HeaderMap,
}

fn sent() -> impl Strategy<Value = Sent> {
    let method = prop_oneof![Just(Method::GET), Just(Method::POST), Just(Method::DELETE)];
    let value = prop_oneof![
        4 => "(0|gzip|application/grpc|a, b)".boxed(),
        3 => "[!-~]([ -~]{0,60}[!-~])?".boxed(),
        1 => (200..20_000usize).prop_map(|len| "v".repeat(len)).boxed(),
    ];
    let fields = proptest::collection::vec((0..NAMES.len(), value), 0..10);
    (method, "/[a-z]{0,2}(/[!a-z0-9]{0,20})?", fields).prop_map(|(method, path, fields)| {
        let fields = fields.into_iter().map(|(name, value)| {
            (HeaderName::from_static(NAMES[name]), HeaderValue::from_str(&value).unwrap())
        });
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value);
        }
        Sent { method, path, fields: map }
    })
}

/// The name and the value of each field, in the order in which both sides send them.
fn expected(sent: &Sent) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        (":method".to_owned(), sent.method.as_str().into()),
        (":scheme".to_owned(), b"http".to_vec()),
        (":authority".to_owned(), b"shop".to_vec()),
        (":path".to_owned(), sent.path.clone().into_bytes()),
    ];
    all.extend(sent.fields.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())));
    all
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// SETTINGS_HEADER_TABLE_SIZE.
fn table_setting(bytes: u32) -> Vec<u8> {
    let mut payload = vec![0, 1];
    payload.extend(bytes.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

async fn read_frame(io: &mut DuplexStream) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    io.read_exact(&mut head).await.unwrap();
    let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; len as usize];
    io.read_exact(&mut payload).await.unwrap();
    (head[3], head[4], payload)
}

fn on_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let patience = std::time::Duration::from_secs(20);
        tokio::time::timeout(patience, test).await.expect("the peer answers");
    });
}

/// What our side knows of a connection on which `h2` sends requests.
struct Receiver {
    io: DuplexStream,
    decoder: Decoder,
    /// Settings sent that are not acknowledged yet.
    unacknowledged: std::collections::VecDeque<u32>,
    block: Vec<u8>,
}

impl Receiver {
    async fn set_table(&mut self, bytes: u32) {
        self.unacknowledged.push_back(bytes);
        self.io.write_all(&table_setting(bytes)).await.unwrap();
    }

    /// Reads frames until all settings are acknowledged.
    async fn settle(&mut self) {
        while !self.unacknowledged.is_empty() {
            assert!(!self.turn().await, "no request is under way");
        }
    }

    /// The next request's fields.
    async fn request(&mut self) -> Vec<(String, Vec<u8>)> {
        while !self.turn().await {}
        let mut seen = Vec::new();
        let fields = |field: weir_http2::hpack::Field<'_>| {
            assert!(field.valid);
            seen.push((String::from_utf8(field.name.to_vec()).unwrap(), field.value.to_vec()));
        };
        self.decoder.decode(&self.block, &mut Scratch::default(), fields).unwrap();
        seen
    }

    /// Reads a frame. Whether a block is whole now.
    async fn turn(&mut self) -> bool {
        let (kind, flags, payload) = read_frame(&mut self.io).await;
        match kind {
            SETTINGS if flags & ACK != 0 => {
                let bytes = self.unacknowledged.pop_front().expect("settings were sent");
                self.decoder.acknowledge_table_bytes(bytes);
            }
            SETTINGS => self.io.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap(),
            HEADERS | CONTINUATION => {
                if kind == HEADERS {
                    self.block.clear();
                }
                self.block.extend(payload);
                return flags & END_HEADERS != 0;
            }
            _ => {}
        }
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn we_read_what_h2_writes(requests in proptest::collection::vec((sent(), proptest::option::of(0..9000u32)), 1..15)) {
        on_runtime(async move {
            let (near, mut far) = duplex(1 << 20);
            let handshake = tokio::join!(h2::client::handshake(near), async {
                let mut preface = [0; PREFACE.len()];
                far.read_exact(&mut preface).await.unwrap();
                far
            });
            let (Ok((mut client, connection)), io) = handshake else { panic!("no handshake") };
            let connection = tokio::spawn(connection);
            let decoder = Decoder::new(1 << 20);
            let mut receiver =
                Receiver { io, decoder, unacknowledged: Default::default(), block: Vec::new() };
            receiver.set_table(4096).await;
            let mut answers = Vec::new();
            for (sent, table_bytes) in requests {
                if let Some(bytes) = table_bytes {
                    receiver.set_table(bytes).await;
                }
                receiver.settle().await;
                let mut request = Request::new(());
                *request.method_mut() = sent.method.clone();
                *request.uri_mut() = format!("http://shop{}", sent.path).parse().unwrap();
                *request.headers_mut() = sent.fields.clone();
                answers.push(client.send_request(request, true).unwrap());
                assert_eq!(receiver.request().await, expected(&sent));
            }
            connection.abort();
        });
    }

    #[test]
    fn h2_reads_what_we_write(
        table_bytes in prop_oneof![Just(4096u32), Just(0), 0..9000u32],
        requests in proptest::collection::vec(sent(), 1..15),
    ) {
        on_runtime(async move {
            let (near, mut far) = duplex(4 << 20);
            far.write_all(PREFACE).await.unwrap();
            far.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
            let mut builder = h2::server::Builder::new();
            builder.header_table_size(table_bytes).max_header_list_size(1 << 20);
            let mut server = builder.handshake::<_, bytes::Bytes>(near).await.unwrap();
            // The server's settings come first, and are in force for it with our acknowledgement.
            let (accepted, ()) = tokio::join!(server.accept(), async {
                let mut encoder = Encoder::new();
                write(&mut far, &mut encoder, 1, &requests[0]).await;
                while !matches!(read_frame(&mut far).await, (SETTINGS, 0, _)) {}
                encoder.set_table_bytes(table_bytes);
                far.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
                for (at, sent) in requests.iter().enumerate().skip(1) {
                    write(&mut far, &mut encoder, 2 * at as u32 + 1, sent).await;
                }
            });
            let mut accepted = accepted;
            for sent in &requests {
                let (request, _answer) = accepted.expect("a request").unwrap();
                let (parts, _) = request.into_parts();
                let mut seen = vec![
                    (":method".to_owned(), parts.method.as_str().into()),
                    (":scheme".to_owned(), parts.uri.scheme_str().unwrap().into()),
                    (":authority".to_owned(), parts.uri.authority().unwrap().as_str().into()),
                    (":path".to_owned(), parts.uri.path().into()),
                ];
                let fields = parts.headers.iter();
                seen.extend(fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())));
                assert_eq!(seen, expected(sent));
                accepted = if std::ptr::eq(sent, &requests[requests.len() - 1]) { None } else { server.accept().await };
            }
        });
    }
}

/// Writes a request, in as many frames as its block needs.
async fn write(io: &mut DuplexStream, encoder: &mut Encoder, stream: u32, sent: &Sent) {
    let mut block = Vec::new();
    let mut fields = encoder.block(&mut block);
    fields.method(sent.method.as_str().as_bytes());
    fields.scheme(false);
    fields.authority(b"shop");
    fields.path(sent.path.as_bytes());
    for (name, value) in &sent.fields {
        fields.field(KnownField::of(name.as_str().as_bytes()), name.as_str().as_bytes(), value.as_bytes());
    }
    let pieces = block.chunks(PAYLOAD_MAX).count();
    for (at, piece) in block.chunks(PAYLOAD_MAX).enumerate() {
        let (kind, first) = if at == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        let last = if at + 1 == pieces { END_HEADERS } else { 0 };
        io.write_all(&frame(kind, first | last, stream, piece)).await.unwrap();
    }
}
