//! A control plane in this process: what it needs to start, and that it ends.

use super::*;
use crate::cli::dns::DnsArgs;
use crate::cli::roles::ServerArgs;

fn config(change: impl FnOnce(&mut ServerArgs)) -> ServerConfig {
    let any = || Some("127.0.0.1:0".parse().unwrap());
    let dns = DnsArgs { listen: Some("127.0.0.1:0".parse().unwrap()), ..DnsArgs::default() };
    let mut args = ServerArgs { http: any(), grpc: any(), dns, ..ServerArgs::default() };
    change(&mut args);
    ServerConfig::load(args).unwrap()
}

/// Starts as soon as the store of the former server is closed, which its last task does on its way out.
async fn start_once_free(config: &ServerConfig) -> ControlPlane {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match ControlPlane::start(config).await {
            Ok(plane) => return plane,
            Err(failure) if tokio::time::Instant::now() > deadline => panic!("{failure}"),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    }
}

async fn refusal(config: &ServerConfig) -> Failure {
    match ControlPlane::start(config).await {
        Ok(_) => panic!("it started"),
        Err(failure) => failure,
    }
}

#[tokio::test]
async fn it_serves_and_stops() {
    let plane = ControlPlane::start(&config(|_| {})).await.unwrap();
    let client = weir_api::client::Client::new(plane.http.to_string().parse().unwrap());
    let answer: weir_api::native::PositionAnswer = client.get("/weir/v1/position").await.unwrap();
    assert!(answer.position.revision > 0);
    let http = plane.http;
    plane.stop().await;
    assert!(std::net::TcpStream::connect(http).is_err(), "it still listens");
}

#[tokio::test]
async fn a_data_directory_is_used_by_one_server_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(|args| args.data_dir = Some(folder.path().join("new")));
    let first = ControlPlane::start(&config).await.unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&folder.path().join("new").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700, "others may look into it");
    let failure = refusal(&config).await;
    assert_eq!(failure.exit, Exit::CannotStart);
    assert!(failure.message.contains("in use by another weir server"), "{}", failure.message);

    let document = weir_api::native::SourceText {
        name: "-".into(),
        text: "kind: Service\nmetadata: {name: cart}\nspec: {}\n".into(),
    };
    apply_sources(&first.control, &[document], "test").await.unwrap();
    let epoch = first.control.position().epoch;
    first.stop().await;
    let again = start_once_free(&config).await;
    assert_eq!(again.control.catalog().resources().entries.len(), 1);
    assert_eq!(again.control.position().epoch, epoch);
    again.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_said_with_a_hint() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--http", "--grpc", "--dns"] {
        let failure = refusal(&config(|args| match flag {
            "--http" => args.http = Some(address.parse().unwrap()),
            "--grpc" => args.grpc = Some(address.parse().unwrap()),
            _ => args.dns.listen = Some(address.parse().unwrap()),
        }))
        .await;
        assert_eq!(failure.exit, Exit::CannotStart);
        assert!(failure.message.contains(&address) && failure.message.contains(flag), "{}", failure.message);
        assert!(failure.hint.is_some());
    }
}

#[tokio::test]
async fn it_does_not_listen_beyond_loopback_unasked() {
    let failure = refusal(&config(|args| args.http = Some("0.0.0.0:0".parse().unwrap()))).await;
    assert!(failure.to_string().contains("--insecure"), "{failure}");
}

#[tokio::test]
async fn bad_documents_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, "kind: Service\nmetadata: {name: cart}\nspec: {protocl: http}\n").unwrap();
    let failure = refusal(&config(|args| args.files = vec![file])).await;
    assert_eq!(failure.exit, Exit::Invalid);
    assert!(
        failure.message.contains("bad.yaml:3") && failure.message.contains("protocol"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn a_file_in_the_place_of_the_data_directory_is_called_one() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let failure = refusal(&config(|args| args.data_dir = Some(file.path().to_owned()))).await;
    assert_eq!(failure.exit, Exit::CannotStart);
    assert!(failure.message.ends_with("it is a file, expected a directory"), "{failure}");
}

#[tokio::test]
async fn the_address_towards_another_is_that_of_the_way_there() {
    assert_eq!(address_towards("127.0.0.1:9").await, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(address_towards(("::ffff:127.0.0.1", 9)).await, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(address_towards("no port").await, None);
}
