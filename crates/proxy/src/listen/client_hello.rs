//! What a TLS client asks for before anything is encrypted: the server name (RFC 6066 section 3) and the application
//! protocols (RFC 7301) of its ClientHello.
//!
//! Looks at bytes that were read but not consumed, as often as more arrive; the same bytes then go to the TLS library
//! or, untouched, to the upstream. So it must not be more lenient than those: what it reads is what they will read.
//! This module must not decide where a connection goes.

use std::str;

/// Bytes within which a ClientHello must be complete, record headers included. Those of today need 200 to 2,000.
pub(crate) const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a record's header.
const RECORD_HEADER: usize = 5;
/// Bytes of a handshake message's header.
const MESSAGE_HEADER: usize = 4;
/// The content type of handshake records.
const HANDSHAKE: u8 = 22;
/// The type of the message.
const CLIENT_HELLO: u8 = 1;
/// The longest plaintext of a record (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;
/// Names of hosts are no longer (RFC 1035).
const NAME_BYTES_MAX: usize = 255;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sniffed {
    /// Perhaps a ClientHello; more bytes will tell.
    NeedMore,
    /// A ClientHello, complete.
    Found(ClientHello),
    /// Nothing that a TLS server would answer with a handshake. The text says why.
    NotTls(&'static str),
}

/// What the client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// The name of the server, in lower case, without a final dot. None also when the client wrongly gives an address.
    pub(crate) server_name: Option<Box<str>>,
    /// The protocols that the client would speak, in its order; empty when it does not say.
    pub(crate) alpn: Vec<Box<[u8]>>,
}

/// Looks for a ClientHello at the beginning of what was read so far. Its handshake message may be spread over several
/// records, and what follows it is not looked at.
pub(crate) fn sniff(bytes: &[u8]) -> Sniffed {
    match message(bytes) {
        Ok(Some(message)) => match parse(&message) {
            Ok(hello) => Sniffed::Found(hello),
            Err(why) => Sniffed::NotTls(why),
        },
        Ok(None) if bytes.len() >= CLIENT_HELLO_BYTES_MAX => Sniffed::NotTls("the ClientHello is too long"),
        Ok(None) => Sniffed::NeedMore,
        Err(why) => Sniffed::NotTls(why),
    }
}

/// The ClientHello's body out of its records, once all of it is there.
fn message(bytes: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let bytes = &bytes[..bytes.len().min(CLIENT_HELLO_BYTES_MAX)];
    let mut message = Vec::new();
    let mut rest = bytes;
    while let Some((fragment, missing)) = next_record(&mut rest)? {
        message.extend_from_slice(fragment);
        if let Some(wanted) = wanted(&message)? {
            // Only at a record's end, or a server would wait for more than was looked at here.
            if message.len() + missing > wanted {
                return Err("something follows the ClientHello in its record");
            }
            if message.len() == wanted {
                message.drain(..MESSAGE_HEADER);
                return Ok(Some(message));
            }
        }
    }
    Ok(None)
}

/// What is there of the next record's content, and how many bytes of it are missing: none when not even its first is
/// there.
fn next_record<'a>(rest: &mut &'a [u8]) -> Result<Option<(&'a [u8], usize)>, &'static str> {
    match rest.first() {
        None => return Ok(None),
        Some(&HANDSHAKE) => {}
        Some(_) => return Err("not a TLS handshake record"),
    }
    // SSL 3.0 to TLS 1.3 all say 3 here.
    if rest.get(1).is_some_and(|&major| major != 3) {
        return Err("not a version of TLS");
    }
    if rest.len() < RECORD_HEADER {
        return Ok(None);
    }
    let len = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
    if len == 0 {
        return Err("an empty handshake record");
    }
    if len > RECORD_BYTES_MAX {
        return Err("a record that is too long");
    }
    let content = &rest[RECORD_HEADER..];
    let fragment = &content[..content.len().min(len)];
    *rest = &content[fragment.len()..];
    Ok((!fragment.is_empty()).then_some((fragment, len - fragment.len())))
}

/// How long the message will be with its header, once that is there.
fn wanted(message: &[u8]) -> Result<Option<usize>, &'static str> {
    if message.first().is_some_and(|&kind| kind != CLIENT_HELLO) {
        return Err("the first handshake message is no ClientHello");
    }
    let Some(header) = message.first_chunk::<MESSAGE_HEADER>() else { return Ok(None) };
    let len = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    if len > CLIENT_HELLO_BYTES_MAX - RECORD_HEADER - MESSAGE_HEADER {
        return Err("the ClientHello is too long");
    }
    Ok(Some(MESSAGE_HEADER + len))
}

/// Reads a ClientHello's body (RFC 8446 section 4.1.2; the same in TLS 1.2).
fn parse(body: &[u8]) -> Result<ClientHello, &'static str> {
    const CUT: &str = "the ClientHello is cut short";
    let mut reader = Reader(body);
    let version = reader.take(2).ok_or(CUT)?;
    if version[0] != 3 {
        return Err("not a version of TLS");
    }
    reader.take(32).ok_or(CUT)?;
    let session = reader.vector_u8().ok_or(CUT)?;
    let suites = reader.vector_u16().ok_or(CUT)?;
    let compressions = reader.vector_u8().ok_or(CUT)?;
    if session.len() > 32 || suites.len() < 2 || !suites.len().is_multiple_of(2) || compressions.is_empty() {
        return Err("the ClientHello is malformed");
    }
    let mut hello = ClientHello::default();
    if reader.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Reader(reader.vector_u16().ok_or(CUT)?);
    if !reader.0.is_empty() {
        return Err("something follows the extensions");
    }
    let (mut named, mut negotiated) = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.take(2).ok_or(CUT)?;
        let content = extensions.vector_u16().ok_or(CUT)?;
        match kind {
            [0, 0] if named => return Err("two server_name extensions"),
            [0, 0] => {
                named = true;
                hello.server_name = server_name(content)?;
            }
            [0, 16] if negotiated => return Err("two ALPN extensions"),
            [0, 16] => {
                negotiated = true;
                hello.alpn = protocols(content).ok_or("the ALPN extension is malformed")?;
            }
            _ => {}
        }
    }
    Ok(hello)
}

/// The one name of the server_name extension.
fn server_name(content: &[u8]) -> Result<Option<Box<str>>, &'static str> {
    const MALFORMED: &str = "the server_name extension is malformed";
    let mut outer = Reader(content);
    let mut list = Reader(outer.vector_u16().ok_or(MALFORMED)?);
    if !outer.0.is_empty() || list.0.is_empty() {
        return Err(MALFORMED);
    }
    let mut name = None;
    while !list.0.is_empty() {
        let kind = list.take(1).ok_or(MALFORMED)?;
        let value = list.vector_u16().ok_or(MALFORMED)?;
        // No other kind was ever defined, and of each kind there may be one.
        if kind != [0] || name.is_some() {
            return Err(MALFORMED);
        }
        name = Some(value);
    }
    let name = name.ok_or(MALFORMED)?;
    let name = name.strip_suffix(b".").unwrap_or(name);
    let text = str::from_utf8(name).map_err(|_| MALFORMED)?;
    // RFC 6066 forbids addresses; clients that send them all the same are served as if they had not.
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(None);
    }
    if !is_host(name) {
        return Err("the server name is no name of a host");
    }
    Ok(Some(text.to_ascii_lowercase().into()))
}

/// Whether a name could be a host's: labels of letters, digits, hyphens and (as seen in practice) underscores.
fn is_host(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.split(|&byte| byte == b'.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

fn protocols(content: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let mut outer = Reader(content);
    let mut list = Reader(outer.vector_u16()?);
    if !outer.0.is_empty() || list.0.is_empty() {
        return None;
    }
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.vector_u8()?;
        if protocol.is_empty() {
            return None;
        }
        protocols.push(protocol.into());
    }
    Some(protocols)
}

/// Takes from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn vector_u8(&mut self) -> Option<&'a [u8]> {
        let len = self.take(1)?[0];
        self.take(usize::from(len))
    }

    fn vector_u16(&mut self) -> Option<&'a [u8]> {
        let len = self.take(2)?;
        self.take(usize::from(u16::from_be_bytes([len[0], len[1]])))
    }
}

/// Writes ClientHellos, for tests and fuzzing.
pub(crate) mod build {
    use super::{CLIENT_HELLO, HANDSHAKE};

    /// A ClientHello's body with these extensions, each a type and its content; without the list when there are none.
    pub(crate) fn body(session: &[u8], extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(session.len() as u8);
        body.extend_from_slice(session);
        body.extend([0, 4, 0x13, 0x01, 0x13, 0x02, 1, 0]);
        if !extensions.is_empty() {
            let mut list = Vec::new();
            for (kind, content) in extensions {
                list.extend(kind.to_be_bytes());
                list.extend(vector_u16(content));
            }
            body.extend(vector_u16(&list));
        }
        body
    }

    pub(crate) fn server_name(name: &[u8]) -> (u16, Vec<u8>) {
        let mut entry = vec![0];
        entry.extend(vector_u16(name));
        (0, vector_u16(&entry))
    }

    pub(crate) fn alpn(protocols: &[&[u8]]) -> (u16, Vec<u8>) {
        let list: Vec<u8> = protocols.iter().flat_map(|p| [&[p.len() as u8][..], p].concat()).collect();
        (16, vector_u16(&list))
    }

    fn vector_u16(content: &[u8]) -> Vec<u8> {
        [&(content.len() as u16).to_be_bytes()[..], content].concat()
    }

    /// The message in records of at most `record_max` bytes of content.
    pub(crate) fn records(body: &[u8], record_max: usize) -> Vec<u8> {
        let mut message = vec![CLIENT_HELLO];
        message.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
        message.extend_from_slice(body);
        let mut records = Vec::new();
        for fragment in message.chunks(record_max) {
            records.extend([HANDSHAKE, 3, 1]);
            records.extend(vector_u16(fragment));
        }
        records
    }
}

#[cfg(test)]
mod tests;
