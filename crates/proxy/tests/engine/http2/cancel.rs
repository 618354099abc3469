//! Clients of HTTP/2 that lose interest within a response whose upstream is silent.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use tokio::net::TcpStream;

use super::upstream::{H2Upstream, h2_documents};
use super::{connect, request, run};
use crate::support::{PATIENCE, Proxy, Upstream, eventually};

/// An upstream that begins its response, and tells of the reset that it gets for it.
fn streaming() -> (H2Upstream, Receiver<Reason>) {
    let (told, reset) = channel();
    let upstream = H2Upstream::start(move |mut call| {
        let told = told.clone();
        async move {
            let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
            stream.send_data("one".into(), false).unwrap();
            let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
            let _ = told.send(reason.unwrap());
        }
    });
    (upstream, reset)
}

/// The same that speaks HTTP/1.1, and tells of the end of its connection.
fn streaming_http1() -> (Upstream, Receiver<()>) {
    let (told, closed) = channel();
    let told = Mutex::new(told);
    let upstream = Upstream::start(move |conn| {
        conn.head()?;
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")?;
        conn.until_closed();
        let _ = told.lock().unwrap().send(());
        Ok(())
    });
    (upstream, closed)
}

/// Asks on a connection, and waits for the first piece of the response. `ended` says that the request ends with its head.
async fn first_piece(
    requests: &h2::client::SendRequest<Bytes>,
    ended: bool,
) -> (SendStream<Bytes>, RecvStream) {
    let mut requests = requests.clone().ready().await.unwrap();
    let (response, stream) = requests.send_request(request("POST", "/"), ended).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "one");
    (stream, body)
}

async fn told<T: Send + 'static>(by: Receiver<T>) -> T {
    tokio::task::spawn_blocking(move || by.recv_timeout(PATIENCE / 2).unwrap()).await.unwrap()
}

#[test]
fn a_stream_that_is_reset_is_cancelled_upstream() {
    for ended in [true, false] {
        let (upstream, reset) = streaming();
        let proxy = Proxy::gateway(&h2_documents(&[upstream.addr], ""));
        run(async {
            let requests = connect(proxy.addr()).await;
            let (mut stream, _body) = first_piece(&requests, ended).await;
            stream.send_reset(Reason::CANCEL);
            assert_eq!(told(reset).await, Reason::CANCEL);
        });
        eventually("it is counted", || proxy.text().contains("weir_proxy_client_gone_total 1"));
    }
}

#[test]
fn an_http1_upstream_of_a_stream_that_is_reset_is_left() {
    for ended in [true, false] {
        let (upstream, closed) = streaming_http1();
        let proxy = Proxy::to(&[upstream.addr]);
        run(async {
            let requests = connect(proxy.addr()).await;
            let (mut stream, _body) = first_piece(&requests, ended).await;
            stream.send_reset(Reason::CANCEL);
            told(closed).await;
            // The connection is as good as before.
            let _streams = first_piece(&requests, true).await;
        });
    }
}

#[test]
fn the_end_of_a_connection_cancels_its_streams() {
    let (upstream, reset) = streaming();
    let proxy = Proxy::gateway(&h2_documents(&[upstream.addr], ""));
    run(async {
        let socket = TcpStream::connect(proxy.addr()).await.unwrap();
        let (requests, connection) = h2::client::handshake(socket).await.unwrap();
        let driven = tokio::task::spawn_local(connection);
        let _streams = first_piece(&requests, true).await;
        driven.abort();
        assert_eq!(told(reset).await, Reason::CANCEL);
    });
    eventually("nothing is left", || proxy.metrics().active_connections() == 0);
}
