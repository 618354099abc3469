//! One look at one target.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use weir_model::registry::{CheckDefinition, CheckKind, Health};

use super::target::{http_target, tcp_target};

/// Bytes of an answer's body that are kept as the check's output; the rest is not read.
pub const OUTPUT_BYTES_MAX: usize = 4096;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How well the target is.
    pub health: Health,
    /// What was seen, for people.
    pub output: String,
}

impl Outcome {
    pub(super) fn critical(output: String) -> Self {
        Self { health: Health::Critical, output }
    }
}

/// Looks once, within the definition's timeout. `None` for a check that is no look at a target: one that is told (ttl), that
/// follows another (alias), or that is a program ([`script`](crate::script)).
pub async fn probe(definition: &CheckDefinition) -> Option<Outcome> {
    let timeout = definition.timeout.0;
    match &definition.kind {
        CheckKind::Ttl | CheckKind::Alias { .. } | CheckKind::Script { .. } => None,
        CheckKind::H2Ping { address } => {
            let looked = tokio::time::timeout(timeout, super::h2ping::check(address)).await;
            Some(match looked {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(reason)) => Outcome::critical(format!("HTTP2 ping {address}: {reason}")),
                Err(_) => Outcome::critical(format!("HTTP2 ping {address}: no answer within {timeout:?}")),
            })
        }
        CheckKind::Tcp { address } => Some(tcp(address, timeout).await),
        CheckKind::Udp { address } => Some(super::udp::check(address, timeout).await),
        CheckKind::Grpc { address, service } => {
            let looked = tokio::time::timeout(timeout, super::grpc::check(address, service)).await;
            Some(match looked {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(reason)) => Outcome::critical(format!("gRPC check {address}/{service}: {reason}")),
                Err(_) => {
                    Outcome::critical(format!("gRPC check {address}/{service}: no answer within {timeout:?}"))
                }
            })
        }
        CheckKind::Http { url, method, headers, body } => {
            let looked = tokio::time::timeout(timeout, http(url, method, headers, body)).await;
            Some(match looked {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(reason)) => Outcome::critical(format!("{method} {url}: {reason}")),
                Err(_) => Outcome::critical(format!("{method} {url}: no answer within {timeout:?}")),
            })
        }
    }
}

async fn tcp(address: &str, timeout: Duration) -> Outcome {
    let Some(target) = tcp_target(address) else {
        return Outcome::critical(format!("TCP connect {address}: not HOST:PORT"));
    };
    match tokio::time::timeout(timeout, TcpStream::connect(target)).await {
        Ok(Ok(_)) => Outcome { health: Health::Passing, output: format!("TCP connect {address}: Success") },
        Ok(Err(error)) => Outcome::critical(format!("TCP connect {address}: {error}")),
        Err(_) => Outcome::critical(format!("TCP connect {address}: no connection within {timeout:?}")),
    }
}

async fn http(
    url: &str,
    method: &str,
    headers: &BTreeMap<String, Vec<String>>,
    body: &str,
) -> Result<Outcome, String> {
    let target = http_target(url).map_err(str::to_owned)?;
    let mut request = hyper::Request::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|e| e.to_string())?;
    *request.uri_mut() = target.path.parse().map_err(|_| "the path is not valid".to_owned())?;
    let fields = request.headers_mut();
    fields.insert(USER_AGENT, HeaderValue::from_static("Consul Health Check"));
    fields.insert(ACCEPT, HeaderValue::from_static("text/plain, text/*, */*"));
    fields.insert(HOST, HeaderValue::from_str(&target.authority).map_err(|e| e.to_string())?);
    for (name, values) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
        fields.remove(&name);
        for value in values {
            fields.append(name.clone(), HeaderValue::from_str(value).map_err(|e| e.to_string())?);
        }
    }
    let stream = TcpStream::connect((&*target.host, target.port)).await.map_err(|e| e.to_string())?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake::<_, Full<Bytes>>(io)
        .await
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let text = collect(response.into_body()).await;
        Ok(Outcome { health: judge(status), output: format!("HTTP {method} {url}: {status} Output: {text}") })
    };
    let (mut exchange, mut connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
    let ended = tokio::select! {
        outcome = exchange.as_mut() => return outcome,
        ended = connection.as_mut() => ended,
    };
    // The connection has ended, but what it brought before that may still be on its way through.
    exchange.await.map_err(|error| ended.err().map_or(error, |cause| cause.to_string()))
}

/// 2xx passes, 429 warns, everything else is critical.
fn judge(status: StatusCode) -> Health {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Health::Warning,
        status if status.is_success() => Health::Passing,
        _ => Health::Critical,
    }
}

/// The beginning of a body as text. A body that breaks off is no reason to doubt the status.
async fn collect(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < OUTPUT_BYTES_MAX {
        let Some(Ok(frame)) = body.frame().await else { break };
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data[..data.len().min(OUTPUT_BYTES_MAX - bytes.len())]);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use weir_model::units::Span;

    use super::*;

    /// A server that gives one answer to whatever comes, and returns what came.
    async fn answering(answer: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 8192];
            let mut got = 0;
            while !bytes[..got].windows(4).any(|w| w == b"\r\n\r\n") {
                got += stream.read(&mut bytes[got..]).await.unwrap();
            }
            stream.write_all(answer).await.unwrap();
            if answer.is_empty() {
                // Stays silent until the other side gives up.
                let _ = stream.read(&mut bytes[got..]).await;
            }
            String::from_utf8_lossy(&bytes[..got]).into_owned()
        });
        (address, served)
    }

    fn definition(kind: CheckKind) -> CheckDefinition {
        CheckDefinition {
            kind,
            interval: Span(Duration::from_secs(1)),
            timeout: Span(Duration::from_secs(30)),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: None,
        }
    }

    fn http_check(address: SocketAddr) -> CheckDefinition {
        definition(CheckKind::Http {
            url: format!("http://{address}/health?a=b"),
            method: "GET".to_owned(),
            headers: BTreeMap::from([("X-Who".to_owned(), vec!["me".to_owned(), "you".to_owned()])]),
            body: String::new(),
        })
    }

    #[tokio::test]
    async fn an_answers_status_decides() {
        let cases: [(&[u8], Health, &str); 7] = [
            (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Health::Passing, "200 OK Output: ok"),
            (b"HTTP/1.0 204 No Content\r\n\r\n", Health::Passing, "204 No Content Output: "),
            (
                b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end",
                Health::Passing,
                "Output: until the end",
            ),
            (b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\njunk", Health::Passing, "204"),
            (b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n", Health::Warning, "429"),
            (
                b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
                Health::Critical,
                "302",
            ),
            (b"nonsense\r\n\r\n", Health::Critical, "GET http://"),
        ];
        for (answer, health, output) in cases {
            let (address, served) = answering(answer).await;
            let outcome = probe(&http_check(address)).await.unwrap();
            assert_eq!(outcome.health, health, "{outcome:?}");
            assert!(outcome.output.contains(output), "{outcome:?}");
            let request = served.await.unwrap();
            assert!(request.starts_with("GET /health?a=b HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("x-who: me\r\nx-who: you\r\n"), "{request}");
            assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
        }
    }

    #[tokio::test]
    async fn other_methods_are_asked_with_their_body() {
        for (method, body) in [("POST", "ping"), ("PUT", ""), ("OPTIONS", ""), ("HEAD", "")] {
            let (address, served) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let mut check = http_check(address);
            if let CheckKind::Http { method: asked, body: sent, .. } = &mut check.kind {
                (*asked, *sent) = (method.to_owned(), body.to_owned());
            }
            let outcome = probe(&check).await.unwrap();
            assert_eq!(outcome.health, Health::Passing, "{outcome:?}");
            assert!(outcome.output.starts_with(&format!("HTTP {method} http://")), "{outcome:?}");
            let request = served.await.unwrap();
            assert!(request.starts_with(&format!("{method} /health?a=b HTTP/1.1\r\n")), "{request}");
            let length = request.contains(&format!("content-length: {}\r\n", body.len()));
            assert!(body.is_empty() || length, "{request}");
        }
    }

    #[tokio::test]
    async fn silence_and_refusal_are_critical() {
        let (address, served) = answering(b"").await;
        let hasty = CheckDefinition { timeout: Span(Duration::from_millis(300)), ..http_check(address) };
        let outcome = probe(&hasty).await.unwrap();
        assert_eq!(outcome.health, Health::Critical);
        assert!(outcome.output.contains("no answer within 300ms"), "{outcome:?}");
        served.await.unwrap();
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        for check in [http_check(closed), definition(CheckKind::Tcp { address: closed.to_string() })] {
            let outcome = probe(&check).await.unwrap();
            assert_eq!(outcome.health, Health::Critical);
            assert!(outcome.output.contains("refused"), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_large_answer_is_cut() {
        let body: &'static [u8] = Box::leak(
            [b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".as_slice(), &[b'x'; 100_000]]
                .concat()
                .into_boxed_slice(),
        );
        let (address, _served) = answering(body).await;
        let outcome = probe(&http_check(address)).await.unwrap();
        assert_eq!(outcome.health, Health::Passing);
        assert!(outcome.output.len() < OUTPUT_BYTES_MAX + 200);
    }

    #[tokio::test]
    async fn an_open_port_passes_and_ttl_is_not_looked_at() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let outcome = probe(&definition(CheckKind::Tcp { address })).await.unwrap();
        assert_eq!(outcome.health, Health::Passing);
        assert_eq!(probe(&definition(CheckKind::Ttl)).await, None);
    }
}
