//! Asks a subject once, as the load will, and compares the answer: nobody is measured while failing.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::case::{Case, Load, Upstream};
use crate::client::{self, Answer};
use crate::load::messages::Kind;
use crate::setup::{Back, Front, REQUEST_FIELD, RESPONSE_FIELD};
use crate::subject;
use crate::upstream::{self, grpc};

/// How long a subject that listens already may take until it answers rightly: some accept before they know any route.
const LOADING_MAX: Duration = Duration::from_secs(8);

/// The same for a subject that has just been started.
pub(crate) fn answers_soon(case: &Case, port: u16) -> Result<()> {
    let start = Instant::now();
    loop {
        match answers(case, port) {
            Err(_) if start.elapsed() < LOADING_MAX => std::thread::sleep(Duration::from_millis(50)),
            outcome => return outcome,
        }
    }
}

/// Fails if the answer is not what the upstreams say.
pub(crate) fn answers(case: &Case, port: u16) -> Result<()> {
    let check = || match case.load {
        Load::Echo => echoes(case, port),
        Load::Bulk => pours(case, port),
        _ if case.setup.back == Back::Grpc => calls(case, port),
        _ => responds(case, port),
    };
    check().with_context(|| format!("the check of `{}` before measuring", case.name))
}

fn responds(case: &Case, port: u16) -> Result<()> {
    let request = client::request(case.path, false);
    let answer = match case.setup.front {
        Front::Http2 => client::Http2::connect(port)?.ask(case.path, None)?,
        Front::Tls => client::ask(&mut client::connect_tls(port, &client::tls_config()?)?, &request)?,
        Front::Http1 | Front::Tcp => client::ask(&mut client::connect(port)?, &request)?,
    };
    expect(&answer, upstream::body(case.upstream).as_bytes())?;
    // The floor does nothing of the kind.
    if case.upstream == Upstream::Fields && port != subject::port("floor") {
        let (_, value) = REQUEST_FIELD;
        ensure!(answer.field("x-seen") == Some(value), "the upstream did not see the field: {}", answer.head);
        let (name, value) = RESPONSE_FIELD;
        ensure!(answer.field(name) == Some(value), "the answer lacks {name}: {}", answer.head);
    }
    Ok(())
}

fn calls(case: &Case, port: u16) -> Result<()> {
    let answer = client::Http2::connect(port)?.ask(case.path, Some(grpc::message()))?;
    expect(&answer, &grpc::message())?;
    ensure!(answer.field("grpc-status") == Some("0"), "no grpc-status of 0: {}", answer.head);
    Ok(())
}

fn expect(answer: &Answer, body: &[u8]) -> Result<()> {
    ensure!(answer.status == 200, "answered with {}: {}", answer.status, answer.head);
    ensure!(
        answer.body == body,
        "{} bytes of body, or other ones, instead of {}",
        answer.body.len(),
        body.len()
    );
    Ok(())
}

fn echoes(case: &Case, port: u16) -> Result<()> {
    let kind = Kind::of(case);
    let mut stream = client::connect(port)?;
    begin(&mut stream, case)?;
    stream.write_all(&kind.message())?;
    let mut back = vec![0; kind.echoed().len()];
    stream.read_exact(&mut back)?;
    ensure!(back == kind.echoed(), "the message came back changed");
    Ok(())
}

fn pours(case: &Case, port: u16) -> Result<()> {
    let mut stream = client::connect(port)?;
    begin(&mut stream, case)?;
    if Kind::of(case) == Kind::Bytes {
        stream.write_all(&[upstream::streams::BULK])?;
    }
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    ensure!(bytes.ends_with(b"bbbb"), "other bytes than the upstream pours out");
    Ok(())
}

/// Upgrades the connection where the case is about WebSocket.
fn begin(stream: &mut std::net::TcpStream, case: &Case) -> Result<()> {
    if Kind::of(case) == Kind::WebSocket {
        stream.write_all(&client::upgrade(case.path))?;
        // Byte for byte, so that no frame behind it is swallowed.
        let mut head = Vec::new();
        let mut byte = [0];
        while client::head_end(&head).is_none() {
            stream.read_exact(&mut byte).context("in the head of the upgrade")?;
            head.push(byte[0]);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101"), "not upgraded: {}", String::from_utf8_lossy(&head));
    }
    Ok(())
}
