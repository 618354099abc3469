//! What is used of etcd's API: a few calls over HTTP/2, their messages put together by hand (field numbers of etcd's
//! `rpc.proto`). A client of a library would cost the load more than the call.

use anyhow::{Context, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use tokio::net::TcpStream;

/// A message in the making.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A field of bytes, text, or a message.
    #[must_use]
    pub(crate) fn bytes(mut self, field: u8, bytes: &[u8]) -> Self {
        self.0.push(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// A field of a number.
    #[must_use]
    pub(crate) fn number(mut self, field: u8, number: u64) -> Self {
        self.0.push(field << 3);
        self.varint(number);
        self
    }

    /// A field of a message.
    #[must_use]
    pub(crate) fn message(self, field: u8, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn framed(&self) -> Bytes {
        let mut frame = BytesMut::with_capacity(self.0.len() + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(self.0.len()).expect("messages here are small"));
        frame.put_slice(&self.0);
        frame.freeze()
    }
}

/// The number that a message has in a field, if it has one.
pub(crate) fn number_in(mut message: &[u8], wanted: u64) -> Option<u64> {
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        let number = match tag & 7 {
            0 => take_varint(&mut message)?,
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
                continue;
            }
            _ => return None,
        };
        if tag >> 3 == wanted {
            return Some(number);
        }
    }
    None
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A connection.
pub(crate) struct Grpc {
    send: SendRequest<Bytes>,
}

impl Grpc {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self { send })
    }

    /// A call with one message each way.
    pub(crate) async fn call(&mut self, path: &str, message: &Message) -> Result<Vec<u8>> {
        let mut call = self.open(path).await?;
        call.send(message, true)?;
        let answer = call.next().await?;
        call.end().await?;
        Ok(answer)
    }

    /// A call whose messages go both ways for as long as it lives.
    pub(crate) async fn open(&mut self, path: &str) -> Result<Call> {
        let request = ::http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let send = self.send.clone().ready().await?;
        self.send = send.clone();
        let (answer, say) = self.send.send_request(request, false)?;
        Ok(Call { say, answer: Some(answer), body: None, seen: BytesMut::new() })
    }
}

/// A call under way.
pub(crate) struct Call {
    say: SendStream<Bytes>,
    answer: Option<h2::client::ResponseFuture>,
    body: Option<RecvStream>,
    seen: BytesMut,
}

impl Call {
    pub(crate) fn send(&mut self, message: &Message, last: bool) -> Result<()> {
        Ok(self.say.send_data(message.framed(), last)?)
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(length) = self.seen.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
                if self.seen.len() >= 5 + length {
                    return Ok(self.seen.split_to(5 + length)[5..].to_vec());
                }
            }
            let data = self.body().await?.data().await;
            let data = match data {
                Some(data) => data?,
                None => anyhow::bail!("{}", self.status().await?),
            };
            self.body().await?.flow_control().release_capacity(data.len())?;
            self.seen.extend_from_slice(&data);
        }
    }

    async fn body(&mut self) -> Result<&mut RecvStream> {
        if let Some(answer) = self.answer.take() {
            let answer = answer.await?;
            ensure!(answer.status() == 200, "answered with {}", answer.status());
            self.body = Some(answer.into_body());
        }
        self.body.as_mut().context("an answer that failed before")
    }

    async fn status(&mut self) -> Result<String> {
        let trailers = self.body().await?.trailers().await?.unwrap_or_default();
        let text = |name| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        Ok(format!("grpc-status {} {}", text("grpc-status"), text("grpc-message")))
    }

    async fn end(mut self) -> Result<()> {
        ensure!(self.body().await?.data().await.is_none(), "a second message");
        let status = self.status().await?;
        ensure!(status.starts_with("grpc-status 0"), "{status}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_protobuf_has_them() {
        let inner = Message::default().number(1, 300);
        let message = Message::default().bytes(1, b"ab").message(2, &inner).number(3, 1);
        assert_eq!(message.0, [0x0a, 2, b'a', b'b', 0x12, 3, 0x08, 0xac, 0x02, 0x18, 1]);
        assert_eq!(message.framed()[..5], [0, 0, 0, 0, 11]);
        assert_eq!((number_in(&message.0, 3), number_in(&message.0, 4)), (Some(1), None));
        assert_eq!(number_in(&inner.0, 1), Some(300));
        assert_eq!(number_in(&[0x08], 1), None);
    }
}
