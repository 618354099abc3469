//! An application to put behind Weir: answers every request with its name; a process of its own, so that it can be
//! killed like one. `test-app NAME PORT [ADDRESS]`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// More than the buffers of the sockets on the way can hold.
const LARGE_BYTES: usize = 16 * 1024 * 1024;

/// To the key `dGhlIHNhbXBsZSBub25jZQ==`, that of the examples (RFC 6455 section 1.3).
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().expect("a name");
    let port: u16 = args.next().and_then(|port| port.parse().ok()).expect("a port");
    let address = args.next().unwrap_or_else(|| "127.0.0.1".to_owned());
    let listener = TcpListener::bind((address.as_str(), port)).expect("the port is free");
    for stream in listener.incoming().flatten() {
        let name = name.clone();
        std::thread::spawn(move || serve(&stream, &name));
    }
}

/// Answers requests on one connection until the other side closes it.
fn serve(stream: &TcpStream, name: &str) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut request_line = String::new();
        if reader.read_line(&mut request_line).ok()? == 0 {
            return None;
        }
        let (mut length, mut last, mut is_websocket) = (0, false, false);
        let mut head = request_line.clone();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if line == "\r\n" || line.is_empty() {
                break;
            }
            is_websocket |= line.eq_ignore_ascii_case("upgrade: websocket\r\n");
            last |= line.eq_ignore_ascii_case("connection: close\r\n");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if is_websocket {
            writer.write_all(SWITCHED).ok()?;
            // Whatever it is, it goes back.
            return std::io::copy(&mut reader, &mut writer).ok().map(drop);
        }
        if request_line.contains(" /large") {
            write_large(writer)?;
            continue;
        }
        // `/echo` shows what arrived, everything else who answered.
        let answer = if request_line.contains(" /echo") { head } else { name.to_owned() };
        let text = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-app: {name}\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        writer.write_all(text.as_bytes()).ok()?;
        if last {
            return None;
        }
    }
}

/// Answers with more than fits on the way, holding little of it at a time.
fn write_large(mut to: &TcpStream) -> Option<()> {
    const PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];
    to.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE_BYTES}\r\n\r\n").as_bytes()).ok()?;
    (0..LARGE_BYTES / PIECE.len()).try_for_each(|_| to.write_all(&PIECE).ok())
}
