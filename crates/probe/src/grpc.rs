//! The health protocol of gRPC (grpc/grpc, doc/health-checking.md): one unary call, over HTTP/2 with prior knowledge.
//!
//! Its two messages are a string and a number, so they are written and read by hand.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use weir_model::registry::Health;

use super::look::{OUTPUT_BYTES_MAX, Outcome};
use super::target::tcp_target;

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// `HealthCheckResponse.ServingStatus`.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;

/// Asks how a service is; the empty name means the server as a whole. An error is the reason, for people.
pub(super) async fn check(address: &str, service: &str) -> Result<Outcome, String> {
    let target = tcp_target(address).ok_or("not HOST:PORT")?;
    let stream = TcpStream::connect(target).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request(address, service)?).await;
        let response = response.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("HTTP status {}", response.status()));
        }
        let head = response.headers().clone();
        let (body, trailers) = collect(response.into_body()).await?;
        // A call that is over with its head has no trailers.
        grpc_status(trailers.as_ref().unwrap_or(&head))?;
        let status = serving_status(&body).ok_or("the answer is no HealthCheckResponse")?;
        let word = usize::try_from(status).ok().and_then(|status| STATUSES.get(status));
        let health = if status == SERVING { Health::Passing } else { Health::Critical };
        Ok(Outcome {
            health,
            output: format!("gRPC check {address}/{service}: {}", word.unwrap_or(&"UNKNOWN")),
        })
    };
    tokio::select! {
        biased;
        outcome = exchange => outcome,
        ended = connection => Err(ended.err().map_or("the connection has ended".to_owned(), |error| error.to_string())),
    }
}

fn request(address: &str, service: &str) -> Result<hyper::Request<Full<Bytes>>, String> {
    let mut request = hyper::Request::new(Full::new(Bytes::from(message(service))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("http://{address}{METHOD}").parse().map_err(|_| "not HOST:PORT")?;
    let fields = request.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(TE, HeaderValue::from_static("trailers"));
    fields.insert(USER_AGENT, HeaderValue::from_static("Consul Health Check"));
    Ok(request)
}

/// `HealthCheckRequest { service = 1 }` with its prefix of five bytes.
fn message(service: &str) -> Vec<u8> {
    let mut field = Vec::new();
    if !service.is_empty() {
        field.push(0x0a);
        varint(service.len(), &mut field);
        field.extend_from_slice(service.as_bytes());
    }
    let len = u32::try_from(field.len()).unwrap_or(u32::MAX);
    [&[0][..], &len.to_be_bytes(), &field].concat()
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The `status = 1` of a `HealthCheckResponse`; 0 when it is left out, as zero is.
fn serving_status(body: &[u8]) -> Option<u64> {
    let [0, a, b, c, d, message @ ..] = body else { return None };
    if message.len() != u32::from_be_bytes([*a, *b, *c, *d]) as usize {
        return None;
    }
    match message {
        [] => Some(0),
        [0x08, rest @ ..] => {
            let mut number = 0;
            for (index, byte) in rest.iter().enumerate().take(9) {
                number |= u64::from(byte & 0x7f) << (7 * index);
                if byte & 0x80 == 0 {
                    return Some(number);
                }
            }
            None
        }
        _ => None,
    }
}

fn grpc_status(fields: &HeaderMap) -> Result<(), String> {
    let text =
        |name| fields.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "0" => Ok(()),
        "" => Err("the answer has no grpc-status".to_owned()),
        "5" => Err("the service is not known there (NOT_FOUND)".to_owned()),
        "12" => Err("no health service there (UNIMPLEMENTED)".to_owned()),
        status => Err(format!("grpc-status {status}: {}", text("grpc-message"))),
    }
}

async fn collect(mut body: Incoming) -> Result<(Vec<u8>, Option<HeaderMap>), String> {
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| error.to_string())?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if bytes.len() > OUTPUT_BYTES_MAX {
            return Err("the answer is too long".to_owned());
        }
    }
    Ok((bytes, trailers))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;

    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn messages_are_protobuf() {
        assert_eq!(message(""), [0; 5]);
        assert_eq!(message("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = "x".repeat(300);
        assert_eq!(message(&long)[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 2]);
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 3, 8, 0x80, 1]), Some(128));
        for bad in [
            &b""[..],
            &[0, 0, 0, 0, 2, 8],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 1, 8],
            &[0, 0, 0, 0, 2, 16, 1],
        ] {
            assert_eq!(serving_status(bad), None, "{bad:?}");
        }
    }

    /// A server that answers each call with this status of the call and this message.
    async fn serving(status: &'static str, answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(move |request: hyper::Request<Incoming>| async move {
                    assert_eq!(request.uri().path(), METHOD);
                    assert_eq!(request.headers()["te"], "trailers");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(body, message("shop.Cart"));
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static(status));
                    let frames = [Frame::data(Bytes::from_static(answer)), Frame::trailers(trailers)];
                    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
                    Ok::<_, Infallible>(hyper::Response::new(body))
                });
                let served =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                tokio::spawn(served);
            }
        });
        address
    }

    #[tokio::test]
    async fn what_the_server_says_of_the_service_decides() {
        let serving_one = [0, 0, 0, 0, 2, 8, 1];
        for (status, answer, health, output) in [
            ("0", &serving_one[..], Some(Health::Passing), "SERVING"),
            ("0", &[0, 0, 0, 0, 2, 8, 2], Some(Health::Critical), "NOT_SERVING"),
            ("0", &[0, 0, 0, 0, 0], Some(Health::Critical), "UNKNOWN"),
            ("0", &[1, 2, 3], None, "HealthCheckResponse"),
            ("5", &[], None, "not known"),
            ("12", &[], None, "no health service"),
            ("14", &[], None, "grpc-status 14"),
        ] {
            let answer = Box::leak(answer.to_vec().into_boxed_slice());
            let address = serving(status, answer).await.to_string();
            match (check(&address, "shop.Cart").await, health) {
                (Ok(outcome), Some(health)) => {
                    assert_eq!(outcome.health, health, "{outcome:?}");
                    assert!(
                        outcome.output.contains(&format!("{address}/shop.Cart: {output}")),
                        "{outcome:?}"
                    );
                }
                (Err(reason), None) => assert!(reason.contains(output), "{reason}"),
                other => panic!("{status}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_speaks_no_http2_is_not_well() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        });
        assert!(check(&address, "").await.is_err());
    }
}
