//! A ping over HTTP/2 with prior knowledge (RFC 9113, sections 3.3 and 6.7): the preface, one PING, and its acknowledgement.
//!
//! Nothing else of the protocol is needed, so frames are written and read by hand.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_model::registry::Health;

use super::look::Outcome;
use super::target::tcp_target;

/// The preface, our empty SETTINGS, and the PING.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x08\x06\x00\x00\x00\x00\x00weirping";
/// What the PING carries and the acknowledgement must.
const OPAQUE: &[u8] = b"weirping";
/// Acknowledges the other side's SETTINGS.
const SETTINGS_ACK: &[u8] = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00";
/// The largest frame that may come, since our SETTINGS allow no more (RFC 9113, section 4.2).
const FRAME_BYTES_MAX: usize = 16_384;
/// Frames that may come before the acknowledgement.
const FRAMES_MAX: usize = 64;

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// Pings once. An error is the reason, for people.
pub(super) async fn check(address: &str) -> Result<Outcome, String> {
    let target = tcp_target(address).ok_or("not HOST:PORT")?;
    let mut stream = TcpStream::connect(target).await.map_err(|error| error.to_string())?;
    stream.write_all(HELLO).await.map_err(|error| error.to_string())?;
    let mut payload = Vec::new();
    for number in 0..FRAMES_MAX {
        let (kind, flags) = frame(&mut stream, &mut payload).await?;
        match (kind, flags & ACK) {
            // The first frame of either side is its SETTINGS (section 3.4).
            (kind, _) if number == 0 && kind != SETTINGS => return Err("it does not speak HTTP/2".to_owned()),
            (SETTINGS, 0) => stream.write_all(SETTINGS_ACK).await.map_err(|error| error.to_string())?,
            (PING, ACK) if payload == OPAQUE => {
                let output = format!("HTTP2 ping {address}: Success");
                return Ok(Outcome { health: Health::Passing, output });
            }
            (GOAWAY, _) => return Err("it sent GOAWAY".to_owned()),
            _ => {}
        }
    }
    Err(format!("{FRAMES_MAX} frames and no acknowledgement"))
}

/// Reads one frame; answers with its type and flags.
async fn frame(stream: &mut TcpStream, payload: &mut Vec<u8>) -> Result<(u8, u8), String> {
    let ended = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the connection has ended".to_owned(),
        _ => error.to_string(),
    };
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.map_err(ended)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    if length > FRAME_BYTES_MAX {
        return Err("it does not speak HTTP/2".to_owned());
    }
    payload.resize(length, 0);
    stream.read_exact(payload).await.map_err(ended)?;
    Ok((head[3], head[4]))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Somebody who reads the greeting and says this.
    async fn saying(words: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut greeting = vec![0; HELLO.len()];
            stream.read_exact(&mut greeting).await.unwrap();
            stream.write_all(words).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn an_acknowledged_ping_passes_and_nothing_else_does() {
        let settings = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x06\x01\0\0\0\0weirping";
        let outcome = check(&saying(settings).await).await.unwrap();
        assert_eq!(outcome.health, Health::Passing);
        for (words, reason) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "does not speak HTTP/2"),
            (b"\0\0\x08\x06\x01\0\0\0\0weirping", "does not speak HTTP/2"),
            (b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x06\x01\0\0\0\0another!", "has ended"),
            (b"\0\0\0\x04\0\0\0\0\0\0\0\0\x07\0\0\0\0\0", "GOAWAY"),
            (b"\0\0", "has ended"),
        ] {
            let error = check(&saying(words).await).await.unwrap_err();
            assert!(error.contains(reason), "{error}: {words:?}");
        }
    }

    #[tokio::test]
    async fn too_many_frames_are_not_waited_through() {
        let flood: &'static [u8] = Box::leak(b"\0\0\0\x04\x01\0\0\0\0".repeat(FRAMES_MAX).into_boxed_slice());
        assert!(check(&saying(flood).await).await.unwrap_err().contains("no acknowledgement"));
    }
}
