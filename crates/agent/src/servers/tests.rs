//! Servers that answer, refuse, hang and break off, on loopback.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-consul-index: 7\r\n\r\nok";

fn ask(method: Method) -> Ask {
    Ask {
        method,
        target: "/v1/kv/a".to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
        patience: Duration::from_secs(30),
    }
}

/// A server that says this on each request and counts its connections; nothing, if there is nothing to say.
async fn saying(words: &'static [u8]) -> (ServerUrl, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = listener.local_addr().unwrap().to_string().parse().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    if words == b"break" {
                        return;
                    }
                    stream.write_all(words).await.unwrap();
                }
            });
        }
    });
    (url, count)
}

/// An address where nobody listens.
async fn nobody() -> ServerUrl {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string().parse().unwrap()
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let (url, connections) = saying(ANSWER).await;
    let servers = Servers::new(vec![url], 5);
    for _ in 0..10 {
        let answered = servers.ask(&ask(Method::PUT)).await.unwrap();
        assert_eq!((answered.status, &*answered.body), (StatusCode::OK, &b"ok"[..]));
        assert_eq!(answered.headers["x-consul-index"], "7");
        assert!(!answered.headers.contains_key("content-length"));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_does_not_answer_is_left_for_another() {
    let (good, _) = saying(ANSWER).await;
    let (breaking, _) = saying(b"break").await;
    for bad in [nobody().await, breaking.clone()] {
        let servers = Servers::new(vec![bad, good.clone()], 0);
        assert!(servers.ask(&ask(Method::GET)).await.is_ok());
        assert_eq!(servers.in_use(), good.authority());
    }
    // A change that cannot have arrived is made elsewhere; one that may have is not made twice.
    let servers = Servers::new(vec![nobody().await, good.clone()], 0);
    assert!(servers.ask(&ask(Method::PUT)).await.is_ok());
    let servers = Servers::new(vec![breaking, good], 0);
    let error = servers.ask(&ask(Method::PUT)).await.unwrap_err();
    assert!(matches!(error, Unanswered::Unknown { .. }), "{error}");
    assert!(servers.ask(&ask(Method::PUT)).await.is_ok(), "the next one goes to the other");
}

#[tokio::test]
async fn a_change_is_not_made_twice_though_the_answer_cannot_be_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = listener.local_addr().unwrap().to_string().parse().unwrap();
    let (good, asked) = saying(ANSWER).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        for words in [ANSWER, b"no HTTP at all\r\n\r\n"] {
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream.write_all(words).await.unwrap();
        }
    });
    let servers = Servers::new(vec![url, good], 0);
    assert!(servers.ask(&ask(Method::PUT)).await.is_ok());
    let error = servers.ask(&ask(Method::PUT)).await.unwrap_err();
    assert!(matches!(error, Unanswered::Unknown { .. }), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn who_waits_at_a_server_that_does_not_answer_goes_along_to_the_next() {
    let (hanging, connections) = saying(b"").await;
    let (good, _) = saying(ANSWER).await;
    let servers = Arc::new(Servers::new(vec![hanging, good], 0));
    let waiting = tokio::spawn({
        let servers = Arc::clone(&servers);
        async move { servers.ask(&Ask { patience: Duration::from_secs(600), ..ask(Method::GET) }).await }
    });
    while connections.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let impatient = Ask { patience: Duration::from_secs(2), ..ask(Method::GET) };
    assert!(servers.ask(&impatient).await.is_ok());
    assert!(waiting.await.unwrap().is_ok());
}

/// A server that lets each request wait until it is told to answer, and hears when a client is gone.
async fn slow(go: watch::Receiver<bool>) -> (ServerUrl, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = listener.local_addr().unwrap().to_string().parse().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (counted, mut go) = (Arc::clone(&counted), go.clone());
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    tokio::select! {
                        _ = go.wait_for(|go| *go) => {}
                        // Nothing more is sent: this is the end of it.
                        _ = stream.read(&mut buffer) => break,
                    }
                    // In pieces, of which the first is no whole head.
                    for piece in [&ANSWER[..9], &ANSWER[9..]] {
                        stream.write_all(piece).await.unwrap();
                        stream.flush().await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
                counted.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (url, asked)
}

#[tokio::test]
async fn an_answer_that_does_not_come_at_once_is_waited_for_and_read_all_the_same() {
    let (go, gone) = watch::channel(false);
    let (url, asked) = slow(gone).await;
    let servers = Arc::new(Servers::new(vec![url], 0));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..2 * crate::bounds::LINGERING_MAX {
        let servers = Arc::clone(&servers);
        let waits = Arc::new(AtomicUsize::new(0));
        waiting.spawn(async move {
            let told = || _ = waits.fetch_add(1, Ordering::SeqCst);
            let answered = servers.ask_patiently(&ask(Method::GET), &told).await.unwrap();
            (answered, waits.load(Ordering::SeqCst))
        });
    }
    while asked.load(Ordering::SeqCst) < 2 * crate::bounds::LINGERING_MAX {
        tokio::task::yield_now().await;
    }
    // Longer than any may linger.
    tokio::time::sleep(2 * crate::bounds::AT_ONCE_MAX).await;
    go.send_replace(true);
    while let Some(answered) = waiting.join_next().await {
        let (answered, waits) = answered.unwrap();
        assert_eq!((answered.status, &*answered.body, waits), (StatusCode::OK, &b"ok"[..], 1));
        assert_eq!(answered.headers["x-consul-index"], "7");
    }
    // What was waited on is used again.
    assert!(servers.ask(&ask(Method::PUT)).await.is_ok());
}

#[tokio::test]
async fn who_waits_no_more_is_gone_for_the_server_and_a_server_that_goes_is_left() {
    let (go, gone) = watch::channel(false);
    let (url, asked) = slow(gone).await;
    let (good, _) = saying(ANSWER).await;
    let servers = Arc::new(Servers::new(vec![url], 0));
    let waiting = tokio::spawn(async move { servers.ask(&ask(Method::GET)).await });
    while asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(2 * crate::bounds::AT_ONCE_MAX).await;
    waiting.abort();
    while asked.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    drop(go);
    // One that breaks off while it is waited for: a read is asked elsewhere, of a change nobody knows.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let breaking: ServerUrl = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            tokio::time::sleep(2 * crate::bounds::AT_ONCE_MAX).await;
        }
    });
    let servers = Servers::new(vec![breaking.clone(), good.clone()], 0);
    assert!(servers.ask(&ask(Method::GET)).await.is_ok());
    let error = Servers::new(vec![breaking, good], 0).ask(&ask(Method::PUT)).await.unwrap_err();
    assert!(matches!(error, Unanswered::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn who_waits_is_not_given_up_because_others_have_no_patience() {
    let [(first, connections), (second, _)] = [saying(b"").await, saying(b"").await];
    let servers = Arc::new(Servers::new(vec![first, second], 0));
    let waiting = tokio::spawn({
        let servers = Arc::clone(&servers);
        async move { servers.ask(&Ask { patience: Duration::from_secs(600), ..ask(Method::GET) }).await }
    });
    while connections.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let impatient = Ask { patience: Duration::from_millis(20), ..ask(Method::GET) };
    for _ in 0..3 {
        assert!(matches!(servers.ask(&impatient).await, Err(Unanswered::Nobody(_))));
    }
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn what_cannot_be_sent_is_not_held_against_the_servers() {
    let (good, connections) = saying(ANSWER).await;
    let servers = Servers::new(vec![good.clone(), nobody().await], 0);
    let target = format!("/v1/kv/{}", "a".repeat(70_000));
    let error = servers.ask(&Ask { target, ..ask(Method::PUT) }).await.unwrap_err();
    assert!(matches!(error, Unanswered::Unsendable(_)), "{error}");
    assert_eq!((servers.in_use(), connections.load(Ordering::SeqCst)), (good.authority(), 0));
    let secure = format!("https://{}", good.authority()).parse().unwrap();
    let error = Servers::new(vec![secure], 0).ask(&ask(Method::GET)).await.unwrap_err();
    assert!(error.to_string().contains("https:// without what TLS needs"), "{error}");
}

#[tokio::test]
async fn where_nobody_answers_each_is_named() {
    let (a, b) = (nobody().await, nobody().await);
    let servers = Servers::new(vec![a.clone(), b.clone()], 0);
    let Unanswered::Nobody(text) = servers.ask(&ask(Method::GET)).await.unwrap_err() else { panic!() };
    assert!(text.contains(&a.authority()) && text.contains(&b.authority()), "{text}");
    let error = Servers::new(Vec::new(), 3).ask(&ask(Method::GET)).await.unwrap_err();
    assert_eq!(error.to_string(), "none of the servers answers: no server is known");
}
