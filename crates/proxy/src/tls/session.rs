//! One TLS session, server's or client's, without sockets and without buffers of its own: ciphertext comes in and goes
//! out in memory that the caller has.
//!
//! rustls' unbuffered interface, made one for both sides. What it keeps between calls is keys and protocol state only,
//! so an idle connection holds no buffer.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus,
};
use rustls::{CommonState, Error};

/// What the records of one plaintext may need beyond it, each: header, explicit nonce, content type, tag.
pub(super) const RECORD_OVERHEAD_BYTES: usize = 32;
/// The plaintext of one record at most (RFC 8446 section 5.1).
pub(super) const RECORD_PLAIN_BYTES_MAX: usize = 16 * 1024;
/// Room for what a session may have to say before the plaintext: a key update, an alert.
pub(super) const CONTROL_BYTES: usize = 1024;

/// The session.
pub(super) enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What came of ciphertext.
pub(super) struct Fed {
    /// How much of it was dealt with; the rest is the beginning of something.
    pub(super) taken: usize,
    /// The peer has said that it will send no more.
    pub(super) closed: bool,
    /// What is wrong with it. Alerts are in the outgoing bytes.
    pub(super) fault: Option<Error>,
}

/// Plaintext cannot be sent.
#[derive(Debug)]
pub(super) struct Unsealable;

/// What both kinds of connection can do.
trait Records {
    type Data;
    fn records<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether there are records to be sent, which are handed out before anything else is done.
    fn has_to_say(&self) -> bool;
}

impl Records for UnbufferedConnectionCommon<ServerConnectionData> {
    type Data = ServerConnectionData;

    #[inline]
    fn records<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn has_to_say(&self) -> bool {
        self.wants_write()
    }
}

impl Records for UnbufferedConnectionCommon<ClientConnectionData> {
    type Data = ClientConnectionData;

    #[inline]
    fn records<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn has_to_say(&self) -> bool {
        self.wants_write()
    }
}

impl Session {
    /// What both kinds know of the connection.
    #[inline]
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Server(session) => session,
            Self::Client(session) => session,
        }
    }

    /// Makes of ciphertext what can be made of it. `plain` gets contents in order, `outgoing` what must be sent.
    #[inline]
    pub(super) fn feed(
        &mut self,
        incoming: &mut [u8],
        plain: impl FnMut(&[u8]),
        outgoing: &mut Vec<u8>,
    ) -> Fed {
        match self {
            Self::Server(session) => feed(&mut **session, incoming, plain, outgoing),
            Self::Client(session) => feed(&mut **session, incoming, plain, outgoing),
        }
    }

    /// Encrypts plaintext into the beginning of `out`, which must have room for it, its records' overhead and
    /// [`CONTROL_BYTES`]. `held` is what [`Session::feed`] did not take. Gives the length.
    #[inline]
    pub(super) fn seal(
        &mut self,
        held: &mut [u8],
        plain: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Unsealable> {
        match self {
            Self::Server(session) => seal(&mut **session, held, Some(plain), out),
            Self::Client(session) => seal(&mut **session, held, Some(plain), out),
        }
    }

    /// Writes the announcement that nothing more will be sent. Gives its length.
    pub(super) fn close(&mut self, held: &mut [u8], out: &mut [u8]) -> Result<usize, Unsealable> {
        match self {
            Self::Server(session) => seal(&mut **session, held, None, out),
            Self::Client(session) => seal(&mut **session, held, None, out),
        }
    }
}

#[inline]
fn feed<R: Records>(
    session: &mut R,
    incoming: &mut [u8],
    mut plain: impl FnMut(&[u8]),
    outgoing: &mut Vec<u8>,
) -> Fed {
    let mut fed = Fed { taken: 0, closed: false, fault: None };
    loop {
        let UnbufferedStatus { mut discard, state } = session.records(&mut incoming[fed.taken..]);
        let starved = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            plain(record.payload);
                            discard += record.discard;
                        }
                        Err(fault) => fed.fault = Some(fault),
                    }
                }
                false
            }
            Ok(ConnectionState::EncodeTlsData(encoding)) => {
                encode(encoding, outgoing);
                false
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                transmit.done();
                false
            }
            Ok(ConnectionState::PeerClosed) => {
                fed.closed = true;
                false
            }
            Ok(ConnectionState::Closed) => {
                fed.closed = true;
                true
            }
            // 0-RTT is never asked for, so early data is not among these.
            Ok(_) => true,
            Err(fault) => {
                fed.fault = Some(fault);
                true
            }
        };
        fed.taken += discard;
        // After a fault only its alerts are asked for: what is at fault must not be looked at again.
        let over = if fed.fault.is_some() { !session.has_to_say() } else { starved };
        if over {
            return fed;
        }
    }
}

#[cold]
fn encode<D>(mut encoding: EncodeTlsData<'_, D>, outgoing: &mut Vec<u8>) {
    let from = outgoing.len();
    if let Err(EncodeError::InsufficientSize(needed)) = encoding.encode(&mut []) {
        outgoing.resize(from + needed.required_size, 0);
        // It has the size that it asked for.
        let _ = encoding.encode(&mut outgoing[from..]);
    }
}

#[inline]
fn seal<R: Records>(
    session: &mut R,
    held: &mut [u8],
    plain: Option<&[u8]>,
    out: &mut [u8],
) -> Result<usize, Unsealable> {
    let mut written = 0;
    loop {
        // What `feed` left needs no discarding: there is no whole record in it.
        match session.records(held).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let out = &mut out[written..];
                let sealed = match plain {
                    Some(plain) => traffic.encrypt(plain, out),
                    None => traffic.queue_close_notify(out),
                };
                return match sealed {
                    Ok(n) => Ok(written + n),
                    Err(EncryptError::InsufficientSize(_) | EncryptError::EncryptExhausted) => {
                        Err(Unsealable)
                    }
                };
            }
            Ok(ConnectionState::EncodeTlsData(mut encoding)) => {
                written += encoding.encode(&mut out[written..]).map_err(|_| Unsealable)?;
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
            _ => return Err(Unsealable),
        }
    }
}
