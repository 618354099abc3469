use super::*;

async fn status_error(proxy: &Proxy) -> String {
    let told = async {
        loop {
            if let Some(error) = proxy.shared.status().error {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("no error in time")
}

#[tokio::test]
async fn a_proxy_of_the_same_id_is_told_about_and_given_time() {
    let mut server = Server::start().await;
    let proxy = start(settings(server.addr, edge())).await;
    let replace = async |stream: Stream| {
        let taken = Status::aborted("a newer stream of the same proxy id has taken this one's place");
        stream.outbox.send(Err(taken)).await.unwrap();
    };
    let (stream, _) = server.welcome().await;
    replace(stream).await;
    let error = status_error(&proxy).await;
    assert!(
        error.starts_with("another proxy with the id `proxy-1` joined; give each its own --id"),
        "{error}"
    );
    let waited = Instant::now();
    let _stream = server.welcome().await;
    assert!(waited.elapsed() > BACKOFF_MAX / 4, "came back at once: {:?}", waited.elapsed());
    proxy.stop().await;
}

#[tokio::test]
async fn an_http_address_is_recognized() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut ignored = [0; 64];
            let _ = socket.read(&mut ignored).await;
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    let proxy = start(settings(addr, edge())).await;
    let error = status_error(&proxy).await;
    assert!(error.contains("is this the HTTP address? Proxies join on the --grpc address (8502)"), "{error}");
    proxy.stop().await;
    answering.abort();
}
