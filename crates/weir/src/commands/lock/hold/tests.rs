//! Servers that take a claim and lose their answers.

use clap::Parser as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::cli::{Cli, Command};
use crate::exit::Exit;

/// Reads a request; its first line, and its body.
async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let mut some = [0; 4096];
        let count = stream.read(&mut some).await.unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&some[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length: ").and_then(|length| length.parse::<usize>().ok())
        });
        if body.len() == length.unwrap_or(0) {
            return (head.lines().next().unwrap().to_owned(), body.to_owned());
        }
    }
}

fn args(port: u16) -> LockArgs {
    let server = format!("127.0.0.1:{port}");
    let cli = Cli::try_parse_from(["weir", "lock", "--server", &server, "a", "--", "true"]).unwrap();
    let Command::Lock(args) = cli.command else { panic!("not a lock") };
    *args
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_released() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let args = args(listener.local_addr().unwrap().port());
    let lock = Lock::new(&args).unwrap();
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (line, _) = request(&mut stream).await;
        assert!(line.contains("/locks/a/acquire"), "{line}");
        drop(stream);
        let (mut stream, _) = listener.accept().await.unwrap();
        let released = request(&mut stream).await;
        let body = r#"{"position":{"epoch":1,"revision":1},"released":1}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        released
    };
    let (held, (line, body)) = tokio::join!(lock.acquire(&args), serving);
    let Err(failure) = held else { panic!("nobody said that it is held") };
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.message.contains("is lost"), "{failure}");
    assert!(line.contains("/locks/a/release") && body.contains(&lock.claim), "{line} {body}");
}

#[tokio::test]
async fn where_nobody_is_there_is_nothing_to_release() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let args = args(listener.local_addr().unwrap().port());
    drop(listener);
    let began = Instant::now();
    let lock = Lock::new(&args).unwrap();
    let Err(failure) = lock.acquire(&args).await else { panic!("nobody holds it") };
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(began.elapsed() < RELEASE_LIMIT, "it does not wait for a release");
}

/// Answers one request with this.
async fn say(listener: &TcpListener, status: &str, body: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (line, _) = request(&mut stream).await;
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    line
}

#[tokio::test]
async fn it_is_said_what_became_of_the_instance() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lock = Lock::new(&args(listener.local_addr().unwrap().port())).unwrap();
    let limit = Duration::from_secs(60);
    let lost = || Lost::Ended(Some("host-a/db".to_owned()));
    let view = |health: Health| {
        let check = weir_model::registry::Check {
            node: "host-a".to_owned(),
            id: "disk".to_owned(),
            name: "disk".to_owned(),
            output: "full".to_owned(),
            health,
            ..Default::default()
        };
        let instance = weir_model::registry::Instance {
            node: "host-a".to_owned(),
            id: "db".to_owned(),
            service: "db".to_owned(),
            ..Default::default()
        };
        serde_json::to_string(&InstanceView { health, instance, checks: vec![check], agent_silent_ms: None })
            .unwrap()
    };
    for (status, body, says) in [
        ("200 OK", view(Health::Critical), "its instance host-a/db is critical: node host-a: disk: full"),
        ("200 OK", view(Health::Passing), "or its instance host-a/db was critical for a moment"),
        (
            "404 Not Found",
            r#"{"errors":[{"message":"there is no such instance"}]}"#.to_owned(),
            "host-a/db is not registered any more",
        ),
    ] {
        let (why, line) = tokio::join!(lock.why(lost(), limit), say(&listener, status, &body));
        assert!(why.contains(says), "{why}");
        assert!(line.starts_with("GET /weir/v1/instances/db?node=host-a&namespace=default "), "{line}");
    }
    assert_eq!(lock.why(Lost::Ended(None), limit).await, GIVEN_AWAY);
    assert_eq!(lock.why(Lost::NotRenewed("so".to_owned()), limit).await, "so");
    let hanging = lock.why(lost(), Duration::from_millis(50)).await;
    assert!(hanging.starts_with(GIVEN_AWAY), "{hanging}");
}
