//! Streams of bytes or WebSocket frames: echoed one by one, or poured out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::case::Case;
use crate::client;
use crate::setup::Front;
use crate::upstream::streams::{BULK, ECHO};

const TCP_MESSAGE_BYTES: usize = 64;
const WEBSOCKET_MESSAGE_BYTES: usize = 32;
const READ_BYTES: usize = 256 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bytes,
    WebSocket,
}

impl Kind {
    pub(crate) fn of(case: &Case) -> Self {
        if case.setup.front == Front::Tcp { Self::Bytes } else { Self::WebSocket }
    }

    /// As the client sends it.
    pub(crate) fn message(self) -> Vec<u8> {
        match self {
            Self::Bytes => vec![ECHO; TCP_MESSAGE_BYTES],
            Self::WebSocket => {
                let key = [1, 2, 3, 4];
                let mut frame = vec![0x81, 0x80 | WEBSOCKET_MESSAGE_BYTES as u8];
                frame.extend(key);
                frame.extend(key.iter().cycle().take(WEBSOCKET_MESSAGE_BYTES).map(|key| b'm' ^ key));
                frame
            }
        }
    }

    /// As it comes back.
    pub(crate) fn echoed(self) -> Vec<u8> {
        match self {
            Self::Bytes => self.message(),
            Self::WebSocket => {
                let mut frame = vec![0x81, WEBSOCKET_MESSAGE_BYTES as u8];
                frame.resize(2 + WEBSOCKET_MESSAGE_BYTES, b'm');
                frame
            }
        }
    }
}

/// Sends a message on each connection as soon as the last has come back; gives how many came back.
pub(crate) fn echo(case: &Case, port: u16, seconds: u32) -> Result<u64> {
    let kind = Kind::of(case);
    all(case, port, seconds, move |mut stream, end| async move {
        let message = kind.message();
        let mut back = kind.echoed();
        let mut count = 0;
        while Instant::now() < end {
            stream.write_all(&message).await?;
            stream.read_exact(&mut back).await?;
            count += 1;
        }
        ensure!(back == kind.echoed(), "a message came back changed");
        Ok(count)
    })
}

/// Takes what flows on each connection; gives how many bytes did.
pub(crate) fn bulk(case: &Case, port: u16, seconds: u32) -> Result<u64> {
    let kind = Kind::of(case);
    all(case, port, seconds, move |mut stream, end| async move {
        if kind == Kind::Bytes {
            stream.write_all(&[BULK]).await?;
        }
        let mut buffer = vec![0; READ_BYTES];
        let mut count = 0;
        while Instant::now() < end {
            let read = stream.read(&mut buffer).await?;
            ensure!(read > 0, "the connection ended");
            count += read as u64;
        }
        Ok(count)
    })
}

/// Runs one task for each connection and adds up.
fn all<F>(case: &Case, port: u16, seconds: u32, one: impl Fn(TcpStream, Instant) -> F) -> Result<u64>
where
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let length = Duration::from_secs(seconds.into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..case.connections {
            streams.push(open(case, port).await?);
        }
        let end = Instant::now() + length;
        let mut tasks: JoinSet<Result<u64>> = streams.into_iter().map(|stream| one(stream, end)).collect();
        let mut total = 0;
        while let Some(done) =
            tokio::time::timeout(length + PATIENCE, tasks.join_next()).await.context("stuck")?
        {
            total += done??;
        }
        Ok(total)
    })
}

async fn open(case: &Case, port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    if Kind::of(case) == Kind::WebSocket {
        stream.write_all(&client::upgrade(case.path)).await?;
        let mut head = Vec::new();
        while client::head_end(&head).is_none() {
            head.push(stream.read_u8().await.context("in the head of the upgrade")?);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101"), "not upgraded");
    }
    Ok(stream)
}
