//! Echoes and pours out bytes, plain or as WebSocket frames.
//!
//! A connection that begins with `GET` is upgraded to WebSocket; `/bulk` pours out, every other path echoes. One that begins
//! with [`BULK`] pours out, one that begins with [`ECHO`] echoes.

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The first byte of a connection that wants an echo; it is echoed too.
pub(crate) const ECHO: u8 = b'E';
/// The first byte of a connection that wants as much as will flow.
pub(crate) const BULK: u8 = b'B';

const HEAD_BYTES_MAX: usize = 16 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of one poured-out frame, its head not counted.
const FRAME_BYTES: u16 = 16 * 1024;

/// The answer to an upgrade. The accept key is right for the one key that the load sends.
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Serves one connection until its peer ends it.
pub(crate) async fn serve(mut stream: TcpStream) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let read = stream.read(&mut buffer).await?;
    match buffer.first() {
        _ if read == 0 => Ok(()),
        Some(b'G') => upgrade(stream, buffer[..read].to_vec()).await,
        Some(&BULK) => pour(stream, &[b'b'; BUFFER_BYTES]).await,
        _ => {
            stream.write_all(&buffer[..read]).await?;
            echo(stream, &mut buffer).await
        }
    }
}

async fn echo(mut stream: TcpStream, buffer: &mut [u8]) -> Result<()> {
    loop {
        let read = stream.read(buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

async fn pour(mut stream: TcpStream, block: &[u8]) -> Result<()> {
    loop {
        stream.write_all(block).await?;
    }
}

async fn upgrade(mut stream: TcpStream, mut head: Vec<u8>) -> Result<()> {
    let end = loop {
        if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        ensure!(head.len() < HEAD_BYTES_MAX, "a head without an end");
        ensure!(stream.read_buf(&mut head).await? > 0, "ended in the head");
    };
    stream.write_all(SWITCHING).await?;
    if head.starts_with(b"GET /bulk") {
        let mut block = vec![0x82, 126];
        block.extend(FRAME_BYTES.to_be_bytes());
        block.resize(block.len() + usize::from(FRAME_BYTES), b'b');
        return pour(stream, &block.repeat(4)).await;
    }
    let mut input = head.split_off(end);
    let mut output = Vec::new();
    loop {
        let used = unmask_frames(&input, &mut output);
        input.drain(..used);
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Turns whole short frames from a client into a server's; gives how many bytes it used.
fn unmask_frames(input: &[u8], output: &mut Vec<u8>) -> usize {
    const HEAD: usize = 6;
    let mut used = 0;
    while let [kind, length, key @ ..] = &input[used..]
        && key.len() >= 4
    {
        let length = usize::from(length & 0x7f);
        let Some(masked) = input.get(used + HEAD..used + HEAD + length) else { break };
        output.extend([*kind, length as u8]);
        output.extend(masked.iter().zip(key[..4].iter().cycle()).map(|(byte, key)| byte ^ key));
        used += HEAD + length;
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_are_unmasked() {
        // "Hello" as in RFC 6455, section 5.7; then a frame that is not whole.
        let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let input = [&frame[..], &frame[..7]].concat();
        let mut output = Vec::new();
        assert_eq!(unmask_frames(&input, &mut output), frame.len());
        assert_eq!(output, b"\x81\x05Hello");
    }
}
