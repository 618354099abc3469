//! A client for one question at a time: checks that subjects answer rightly, holds idle connections, makes handshakes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A response as a client sees it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head as text, or the fields and trailers of HTTP/2 one in a line; in small letters.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A connection in the clear.
pub(crate) fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection over TLS, its handshake not begun.
pub(crate) fn connect_tls(
    port: u16,
    config: &Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let session = ClientConnection::new(config.clone(), ServerName::try_from("localhost")?)?;
    Ok(StreamOwned::new(session, connect(port)?))
}

/// TLS 1.3 with X25519, as all subjects can; believes every certificate and resumes nothing.
pub(crate) fn tls_config() -> Result<Arc<ClientConfig>> {
    let provider =
        CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believing))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Who is on the other side is known, and the load's own time is not what is measured.
#[derive(Debug)]
struct Believing;

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}

/// A request; the last one of its connection if it closes.
pub(crate) fn request(path: &str, closes: bool) -> Vec<u8> {
    let last = if closes { "connection: close\r\n" } else { "" };
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{last}\r\n").into_bytes()
}

/// The request that asks for WebSocket.
pub(crate) fn upgrade(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// Asks over HTTP/1.1 and reads the whole answer, whose length must be given by the head.
pub(crate) fn ask(stream: &mut (impl Read + Write), request: &[u8]) -> Result<Answer> {
    stream.write_all(request)?;
    stream.flush()?;
    read_answer(stream)
}

fn read_answer(stream: &mut impl Read) -> Result<Answer> {
    let mut seen = Vec::new();
    let end = loop {
        if let Some(at) = head_end(&seen) {
            break at;
        }
        ensure!(seen.len() < HEAD_BYTES_MAX, "a head without an end");
        read_some(stream, &mut seen).context("in the head of an answer")?;
    };
    let body = seen.split_off(end);
    let head = String::from_utf8_lossy(&seen).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
    let mut answer = Answer { status, head, body };
    let length: usize = match answer.field("content-length") {
        Some(length) => length.parse().context("a length")?,
        None if status == 101 => 0,
        None => bail!("an answer without its length: {}", answer.head),
    };
    while answer.body.len() < length {
        read_some(stream, &mut answer.body).context("in the body of an answer")?;
    }
    Ok(answer)
}

/// Where a head ends, if it does.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn read_some(stream: &mut impl Read, into: &mut Vec<u8>) -> Result<()> {
    let mut buffer = [0; 16 * 1024];
    let read = stream.read(&mut buffer)?;
    ensure!(read > 0, "the connection ended");
    into.extend_from_slice(&buffer[..read]);
    Ok(())
}

impl Answer {
    /// A field of the head, or a trailer of HTTP/2.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// HTTP/2 with prior knowledge: requests on one connection, one after the other.
pub(crate) struct Http2 {
    /// How long an answer may take.
    pub(crate) patience: Duration,
    send: h2::client::SendRequest<Bytes>,
    runtime: tokio::runtime::Runtime,
}

impl Http2 {
    /// Opens a connection.
    pub(crate) fn connect(port: u16) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let send = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let (send, connection) = h2::client::handshake(stream).await?;
            tokio::spawn(connection);
            anyhow::Ok(send)
        })?;
        Ok(Self { patience: PATIENCE, send, runtime })
    }

    /// Asks and reads the whole answer; with a message the question is a gRPC call.
    pub(crate) fn ask(&mut self, path: &str, message: Option<Bytes>) -> Result<Answer> {
        let request = http::Request::builder().uri(format!("http://localhost{path}"));
        let request = match message {
            None => request.body(()),
            Some(_) => request
                .method("POST")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(()),
        }?;
        let send = self.send.clone();
        self.runtime.block_on(async {
            let answer = async {
                let (response, mut stream) = send.ready().await?.send_request(request, message.is_none())?;
                if let Some(message) = message {
                    stream.send_data(message, true)?;
                }
                read_http2(response.await?).await
            };
            tokio::time::timeout(self.patience, answer).await.context("no answer in time")?
        })
    }
}

async fn read_http2(response: http::Response<h2::RecvStream>) -> Result<Answer> {
    let mut answer = Answer { status: response.status().as_u16(), ..Answer::default() };
    let (head, mut body) = response.into_parts();
    let mut fields = head.headers;
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        answer.body.extend_from_slice(&part);
    }
    fields.extend(body.trailers().await?.unwrap_or_default());
    for (name, value) in &fields {
        answer.head += &format!("{name}: {}\n", value.to_str().unwrap_or("?"));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Served-By: Bench\r\n\r\nhello";
        let answer = read_answer(&mut text.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
        assert_eq!(answer.field("x-served-by"), Some("bench"));
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello";
        assert!(read_answer(&mut cut.as_bytes()).is_err());
    }
}
