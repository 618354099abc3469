//! A connection as bytes, over TCP or TLS, of which every wait has a bound.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::databases::program;

/// How long anything that is expected may take to come.
const COME_LIMIT: Duration = Duration::from_secs(60);

/// A connection. What comes is read by a thread of its own.
pub struct Wire {
    writer: Box<dyn Write + Send>,
    incoming: Receiver<Vec<u8>>,
    /// What has come and was not asked for yet.
    buffer: Vec<u8>,
    carrier: Carrier,
}

enum Carrier {
    Socket(TcpStream),
    /// `openssl s_client`.
    Program(Child),
}

impl Wire {
    /// Connects to a port on 127.0.0.1.
    pub fn tcp(port: u16) -> io::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        let (reader, writer) = (socket.try_clone()?, socket.try_clone()?);
        Ok(Self::over(reader, writer, Carrier::Socket(socket)))
    }

    /// The same with TLS, as a client that trusts this certificate, asks for a name and offers one protocol.
    pub fn tls(port: u16, name: &str, trusted: &Path, protocol: &str) -> io::Result<Self> {
        let mut client = Command::new(program("openssl", "openssl"));
        client.args(["s_client", "-quiet", "-verify_return_error", "-servername", name, "-alpn", protocol]);
        client.args(["-connect", &format!("127.0.0.1:{port}"), "-CAfile"]).arg(trusted);
        let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(reader), Some(writer)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self::over(reader, writer, Carrier::Program(child)))
    }

    fn over(
        mut reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        carrier: Carrier,
    ) -> Self {
        let (pass_on, incoming) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 16 * 1024];
            // An end and an error come to the same: the channel closes.
            while let Ok(length @ 1..) = reader.read(&mut piece) {
                if pass_on.send(piece[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { writer: Box::new(writer), incoming, buffer: Vec::new(), carrier }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).and_then(|()| self.writer.flush()).expect("the connection takes bytes");
    }

    /// The next so many bytes.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        self.until("bytes", |buffer| (buffer.len() >= length).then_some(length))
    }

    /// Everything up to these bytes, and them.
    pub fn take_to(&mut self, end: &[u8]) -> Vec<u8> {
        self.until("an end", |buffer| {
            buffer.windows(end.len()).position(|seen| seen == end).map(|at| at + end.len())
        })
    }

    /// Sends bytes and takes as many, which must be the same.
    pub fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        assert_eq!(self.take(bytes.len()), bytes);
    }

    /// What still comes until the other side closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + COME_LIMIT;
        loop {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(more) => self.buffer.extend(more),
                Err(RecvTimeoutError::Disconnected) => return std::mem::take(&mut self.buffer),
                Err(RecvTimeoutError::Timeout) => panic!("the other side does not close"),
            }
        }
    }

    fn until(&mut self, what: &str, length: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
        let deadline = Instant::now() + COME_LIMIT;
        loop {
            if let Some(length) = length(&self.buffer) {
                return self.buffer.drain(..length).collect();
            }
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(more) => self.buffer.extend(more),
                Err(error) => {
                    panic!("no {what}: {error}; it came {:?}", String::from_utf8_lossy(&self.buffer));
                }
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        match &mut self.carrier {
            Carrier::Socket(socket) => drop(socket.shutdown(Shutdown::Both)),
            Carrier::Program(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
