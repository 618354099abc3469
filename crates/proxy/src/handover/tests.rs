use std::net::TcpListener;
use std::path::Path;

use super::channel::{Channel, Found, SOCKETS_MAX, find};
use super::message::{Message, PROTOCOL, agree};
use super::*;

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn offered(number: u32, role: &str, sockets: Vec<OwnedFd>) -> Offered {
    Offered { number, role: role.to_owned(), wanted: SocketAddr::from(([127, 0, 0, 1], 80)), sockets }
}

/// A process that offers what a test wants.
struct Fake<F> {
    offer: F,
    listening: std::rc::Rc<std::cell::RefCell<Vec<(&'static str, SocketAddr)>>>,
}

impl<F: Fn() -> io::Result<Offer>> Running for Fake<F> {
    fn offer(&self) -> io::Result<Offer> {
        (self.offer)()
    }

    fn listening(&self) -> Vec<(&'static str, SocketAddr)> {
        self.listening.borrow().clone()
    }

    fn failed(&self) {}
}

/// A giver that offers what `offer` gives, for one process.
fn giver(
    path: &Path,
    offer: impl Fn() -> io::Result<Vec<Offered>> + 'static,
) -> tokio::task::JoinHandle<Vec<String>> {
    let offer = move || Ok(Offer { listeners: offer()?, state: None });
    giver_of(path, Fake { offer, listening: std::rc::Rc::default() })
}

fn giver_of(path: &Path, running: impl Running + 'static) -> tokio::task::JoinHandle<Vec<String>> {
    let mut giver = Giver::new(path, "gateway", None).unwrap();
    tokio::task::spawn_local(async move {
        let given = giver.give(&running).await;
        let roles = given.taken.iter().map(|(role, _)| role.clone()).collect();
        given.released().await;
        roles
    })
}

async fn local<T>(life: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(life).await
}

#[tokio::test]
async fn sockets_arrive_whole_however_many_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    local(async {
        let (one, admin) = (listener(), listener());
        let (addr, count) = (one.local_addr().unwrap(), 2 * SOCKETS_MAX + 3);
        let giver = giver(&path, move || {
            let many = (0..count).map(|_| one.try_clone().unwrap().into()).collect();
            Ok(vec![offered(0, "gateway", many), offered(1, "admin", vec![admin.try_clone()?.into()])])
        });
        let (takeover, got) = take(&path, "gateway").await.unwrap().unwrap();
        assert!(takeover.own.is_some());
        assert!(got.state.is_none());
        let got = got.listeners;
        let counts: Vec<_> = got.iter().map(|one| (one.role.as_str(), one.sockets.len())).collect();
        assert_eq!(counts, [("gateway", count), ("admin", 1)]);
        for socket in got.into_iter().next().unwrap().sockets {
            assert_eq!(TcpListener::from(socket).local_addr().unwrap(), addr);
        }
        takeover.serving(vec![0]).await.unwrap();
        assert_eq!(giver.await.unwrap(), ["gateway"]);
        assert!(path.exists(), "it is the new process's now");
    })
    .await;
}

#[tokio::test]
async fn whoever_does_not_fit_is_told_why_and_the_next_one_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    local(async {
        let giver = giver(&path, || Ok(vec![offered(0, "gateway", vec![listener().into()])]));
        let error = take(&path, "sidecar of shop/cart").await.unwrap_err();
        assert!(
            matches!(&error, HandoverError::Declined { reason } if reason.contains("expected a gateway")),
            "{error}"
        );

        // It names what it was not offered.
        let (takeover, _) = take(&path, "gateway").await.unwrap().unwrap();
        let error = takeover.serving(vec![7]).await.unwrap_err();
        assert!(
            matches!(&error, HandoverError::Declined { reason } if reason.contains("listener 7")),
            "{error}"
        );

        // It speaks something else altogether.
        let channel = Channel::connect(&path).await.unwrap();
        let hello = Message::Hello {
            protocol: PROTOCOL + 9,
            oldest: PROTOCOL + 8,
            role: "gateway".to_owned(),
            version: String::new(),
            pid: 0,
        };
        channel.send(&hello, &[]).await.unwrap();
        let (answer, _) = channel.receive().await.unwrap().unwrap();
        assert!(matches!(answer, Message::Declined { reason } if reason.contains("versions")));

        let (takeover, _) = take(&path, "gateway").await.unwrap().unwrap();
        takeover.serving(vec![]).await.unwrap();
        assert!(giver.await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn nobody_is_taken_over_from_where_nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    assert!(take(&path, "gateway").await.unwrap().is_none());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(
        matches!(find(&path).await.unwrap(), Found::Nobody),
        "a process that was killed leaves it behind"
    );
    drop(Giver::new(&path, "gateway", None).unwrap());
    assert!(!path.exists(), "one that ends does not");
    std::fs::write(&path, "text").unwrap();
    assert!(matches!(take(&path, "gateway").await, Err(HandoverError::NotASocket { .. })));
    assert!(Giver::new(&path, "gateway", None).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
}

#[tokio::test]
async fn a_process_that_ends_early_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    local(async {
        let socket = listener();
        let addr = socket.local_addr().unwrap();
        let giver = giver(&path, move || Ok(vec![offered(0, "gateway", vec![socket.try_clone()?.into()])]));
        for _ in 0..3 {
            drop(take(&path, "gateway").await.unwrap().unwrap());
        }
        assert!(!giver.is_finished());
        std::net::TcpStream::connect(addr).unwrap();
        let (takeover, _) = take(&path, "gateway").await.unwrap().unwrap();
        takeover.serving(vec![0]).await.unwrap();
        giver.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_process_goes_on_when_the_one_before_ends_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    local(async {
        let giver = giver(&path, || Ok(vec![offered(0, "gateway", vec![listener().into()])]));
        let (mut takeover, got) = take(&path, "gateway").await.unwrap().unwrap();
        giver.abort();
        assert!(giver.await.is_err());
        let own = takeover.own.take();
        takeover.serving(vec![0]).await.unwrap();
        assert_eq!(got.listeners[0].sockets.len(), 1);
        // The path is its own now.
        let _next = Giver::new(&path, "gateway", own).unwrap();
        assert!(matches!(find(&path).await.unwrap(), Found::Running(_)));
    })
    .await;
}

#[tokio::test]
async fn what_is_in_force_comes_along_however_long_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    local(async {
        let state: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let sent = state.clone();
        let offer = move || {
            Ok(Offer {
                listeners: vec![offered(0, "gateway", vec![listener().into()])],
                state: Some(sent.clone()),
            })
        };
        let giver = giver_of(&path, Fake { offer, listening: std::rc::Rc::default() });
        // The second one reads the same, although the first has read it already.
        for _ in 0..2 {
            let (_, got) = take(&path, "gateway").await.unwrap().unwrap();
            assert!(got.state.is_some_and(|got| got == state));
        }
        giver.abort();
    })
    .await;
}

#[tokio::test]
async fn a_process_that_listens_on_more_than_it_offered_is_not_taken_over_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    local(async {
        let web = ("gateway", SocketAddr::from(([127, 0, 0, 1], 80)));
        let listening = std::rc::Rc::new(std::cell::RefCell::new(vec![web]));
        let offer = || {
            let listeners = vec![offered(0, "gateway", vec![listener().into()])];
            Ok(Offer { listeners, state: None })
        };
        let giver = giver_of(&path, Fake { offer, listening: listening.clone() });
        let (takeover, _) = take(&path, "gateway").await.unwrap().unwrap();
        listening.borrow_mut().push(("gateway", SocketAddr::from(([127, 0, 0, 1], 81))));
        let error = takeover.serving(vec![0]).await.unwrap_err();
        assert!(
            matches!(&error, HandoverError::Declined { reason } if reason.contains("127.0.0.1:81 since")),
            "{error}"
        );
        // Once it is closed again there is nothing in the way.
        listening.borrow_mut().pop();
        let (takeover, _) = take(&path, "gateway").await.unwrap().unwrap();
        takeover.serving(vec![0]).await.unwrap();
        assert_eq!(giver.await.unwrap(), ["gateway"]);
    })
    .await;
}

#[test]
fn messages_of_other_versions_are_read_as_far_as_they_are_known() {
    let check = |text: &str, expected: Message| {
        assert_eq!(serde_json::from_str::<Message>(text).unwrap(), expected, "{text}");
    };
    check(r#"{"type":"serving","taken":[1,2],"later":{"a":1}}"#, Message::Serving { taken: vec![1, 2] });
    check(r#"{"type":"pause","for_ms":1}"#, Message::Unknown);
    let hello =
        Message::Hello { protocol: 3, oldest: 0, role: "gateway".to_owned(), version: String::new(), pid: 0 };
    check(r#"{"type":"hello","protocol":3,"role":"gateway"}"#, hello);
}

#[test]
fn two_processes_speak_the_newest_version_that_both_know() {
    assert_eq!(agree(PROTOCOL, PROTOCOL), Ok(PROTOCOL));
    assert_eq!(agree(PROTOCOL + 5, 1), Ok(PROTOCOL));
    assert!(agree(PROTOCOL + 5, PROTOCOL + 1).is_err());
    assert!(agree(0, 0).is_err());
}
