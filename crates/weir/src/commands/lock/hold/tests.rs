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
