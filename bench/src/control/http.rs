//! A lean HTTP/1.1 client: one connection, one request at a time.

use std::borrow::Cow;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::head_end;

const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A connection.
pub(crate) struct Http {
    stream: TcpStream,
    seen: Vec<u8>,
}

/// What of an answer is of interest.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A field of the head, by its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// `X-Consul-Index`.
    pub(crate) fn index(&self) -> Option<u64> {
        self.field("x-consul-index")?.parse().ok()
    }

    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// How often the body has this text.
    pub(crate) fn occurrences(&self, wanted: &[u8]) -> u64 {
        self.body.windows(wanted.len()).filter(|part| *part == wanted).count() as u64
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.text())
    }
}

impl Http {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, seen: Vec::new() })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.send(request).await?;
        self.answer().await
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Reads the whole answer to the request that was sent. A waiting connection holds no buffer here.
    pub(crate) async fn answer(&mut self) -> Result<Answer> {
        self.stream.readable().await?;
        let end = loop {
            if let Some(end) = head_end(&self.seen) {
                break end;
            }
            ensure!(self.seen.len() < HEAD_BYTES_MAX, "a head without an end");
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.seen[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
        let length = match (field(&head, "content-length"), field(&head, "transfer-encoding")) {
            (Some(length), _) => Some(length.parse::<usize>().context("a length")?),
            (None, Some("chunked")) => None,
            _ => bail!("an answer without its length: {head}"),
        };
        self.seen.drain(..end);
        let body = match length {
            Some(length) => {
                while self.seen.len() < length {
                    self.more().await?;
                }
                self.seen.drain(..length).collect()
            }
            None => self.chunks().await?,
        };
        if self.seen.is_empty() {
            self.seen = Vec::new();
        }
        Ok(Answer { status, head, body })
    }

    async fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = self.seen.windows(2).position(|two| two == b"\r\n") {
                    break at;
                }
                self.more().await?;
            };
            let size =
                usize::from_str_radix(std::str::from_utf8(&self.seen[..line])?, 16).context("a size")?;
            while self.seen.len() < line + 2 + size + 2 {
                self.more().await?;
            }
            body.extend_from_slice(&self.seen[line + 2..][..size]);
            self.seen.drain(..line + 2 + size + 2);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn more(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.seen).await?;
        ensure!(read > 0, "the connection ended");
        Ok(())
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A request with a body.
pub(crate) fn put(path: &str, body: &str) -> Vec<u8> {
    format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// A request with a form, and further lines of the head if there are any.
pub(crate) fn post_form(path: &str, lines: &[&str], form: &str) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         {lines}content-length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}

/// A request without one.
pub(crate) fn get(path: &str) -> Vec<u8> {
    crate::client::request(path, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_of_both_kinds_are_read_whole() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 2\r\n\r\nok")
                .await
                .unwrap();
            let chunked =
                b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
            stream.write_all(chunked).await.unwrap();
        });
        let mut http = Http::connect(port).await.unwrap();
        let first = http.answer().await.unwrap();
        assert_eq!((first.status, first.index(), first.body.as_slice()), (200, Some(7), b"ok".as_slice()));
        let second = http.answer().await.unwrap();
        assert_eq!((second.status, second.index(), second.body.as_slice()), (404, None, b"abcd".as_slice()));
        server.await.unwrap();
        assert!(http.answer().await.is_err(), "there is no third");
    }
}
