//! The shop's applications, one at a time.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(name: &str, version: &str, outbound: Option<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = ShopConfig { name: name.to_owned(), version: version.to_owned(), outbound };
    tokio::spawn(serve(config, listener, std::future::pending()));
    address
}

/// Sends one request and returns the whole answer as text.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (head, body) = request.split_once('|').unwrap_or((request, ""));
    let text = format!(
        "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_application_answers_and_fails_as_told() {
    let catalog = start("catalog", "v2", None).await;
    let answer = ask(catalog, "GET /items").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"recommended\"") && answer.contains("\"version\":\"v2\""), "{answer}");

    assert!(ask(catalog, "GET /?status=503").await.starts_with("HTTP/1.1 503"));
    assert!(ask(catalog, "PUT /fault|{\"status\": 500, \"ratio\": 1}").await.starts_with("HTTP/1.1 200"));
    assert!(ask(catalog, "GET /").await.starts_with("HTTP/1.1 500"));
    assert!(ask(catalog, "GET /healthz").await.starts_with("HTTP/1.1 200"));
    assert!(ask(catalog, "PUT /fault|{\"ratio\": 7}").await.starts_with("HTTP/1.1 400"));
    assert!(ask(catalog, "DELETE /fault").await.starts_with("HTTP/1.1 200"));
    assert!(ask(catalog, "GET /").await.starts_with("HTTP/1.1 200"));
    assert!(ask(catalog, "POST /fault").await.starts_with("HTTP/1.1 405"));
}

/// Stands in for a sidecar: shows what it was asked, and answers.
async fn sidecar(answer: &'static str) -> (SocketAddr, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, asked) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            seen.send(String::from_utf8(head).unwrap()).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, asked)
}

#[tokio::test]
async fn the_front_calls_through_its_sidecar_as_a_proxy() {
    let (outbound, mut asked) =
        sidecar("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").await;
    let front = start("front", "v1", Some(outbound)).await;
    let answer = ask(front, "GET /catalog/items?delay=1ms").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let request = asked.recv().await.unwrap();
    assert!(request.starts_with("GET http://catalog/items?delay=1ms HTTP/1.1\r\n"), "{request}");
    assert!(request.to_ascii_lowercase().contains("\r\nhost: catalog\r\n"), "{request}");
    assert!(ask(front, "GET /nowhere").await.starts_with("HTTP/1.1 404"));
}
