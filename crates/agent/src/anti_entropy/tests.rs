//! Leaving, where servers answer this and that.

use std::sync::Mutex as StdMutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use weir_api::native::NodeChanges;
use weir_control::Settings;
use weir_store::Memory;

use super::*;

const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const NOT_NOW: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const ANOTHERS: &str =
    "HTTP/1.1 409 Conflict\r\ncontent-length: 29\r\n\r\n{\"errors\":[{\"message\":\"no\"}]}";
const WRONG: &str =
    "HTTP/1.1 400 Bad Request\r\ncontent-length: 29\r\n\r\n{\"errors\":[{\"message\":\"no\"}]}";

/// An agent of a server that answers this, one after the other, each after that time, and what that was asked.
async fn agent(
    answers: &'static [(&'static str, Duration)],
) -> (Arc<AntiEntropy>, Arc<StdMutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = listener.local_addr().unwrap().to_string().parse().unwrap();
    let asked = Arc::new(StdMutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                    let at = {
                        let mut heard = heard.lock().unwrap();
                        heard.push(text.split(' ').next().unwrap().to_owned());
                        heard.len() - 1
                    };
                    let (words, after) = answers[at.min(answers.len() - 1)];
                    tokio::time::sleep(after).await;
                    if stream.write_all(words.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let control = Control::start(Arc::new(Memory::new()), Settings::default()).await.unwrap();
    let servers = Arc::new(Servers::new(vec![url], 0));
    (Arc::new(AntiEntropy::new(control, servers, Arc::default(), "id".to_owned())), asked)
}

#[tokio::test]
async fn a_refusal_that_may_pass_is_tried_again() {
    const AT_ONCE: Duration = Duration::ZERO;
    let (leaving, asked) = agent(&[(NOT_NOW, AT_ONCE), (NOT_NOW, AT_ONCE), (DONE, AT_ONCE)]).await;
    assert_eq!(leaving.leave().await, Ok(()));
    assert_eq!(*asked.lock().unwrap(), ["DELETE"; 3]);
    // Nothing of an agent that was not let in is there.
    let (leaving, asked) = agent(&[(ANOTHERS, AT_ONCE)]).await;
    assert_eq!(leaving.leave().await, Ok(()));
    assert_eq!(*asked.lock().unwrap(), ["DELETE"]);
    let (leaving, asked) = agent(&[(WRONG, AT_ONCE)]).await;
    assert!(leaving.leave().await.unwrap_err().contains("400"));
    assert_eq!(*asked.lock().unwrap(), ["DELETE"]);
}

#[tokio::test]
async fn a_change_that_is_under_way_is_waited_for_but_not_for_long() {
    for (takes, ends) in [(Duration::from_millis(200), true), (LEAVE_CHANGE_MAX * 20, false)] {
        let answers: &'static [_] = Box::leak(Box::new([(DONE, takes), (DONE, Duration::ZERO)]));
        let (leaving, asked) = agent(answers).await;
        let began = Instant::now();
        let changing = tokio::spawn({
            let leaving = Arc::clone(&leaving);
            async move { leaving.change(&NodeChanges::default()).await.map(drop) }
        });
        while asked.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(leaving.leave().await, Ok(()));
        assert_eq!((changing.is_finished(), *asked.lock().unwrap() == ["PUT", "DELETE"]), (ends, true));
        assert!(began.elapsed() >= takes.min(LEAVE_CHANGE_MAX), "{:?}", began.elapsed());
        changing.abort();
    }
}
