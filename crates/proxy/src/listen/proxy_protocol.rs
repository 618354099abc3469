//! The PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2): the header by which one proxy tells the next who
//! its client is, read and written.
//!
//! A connection either must begin with it or must not: it is never guessed, or any client could claim any address. This
//! module only reads and writes; whose word counts is decided where connections are accepted.

mod crc32c;
mod write;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;

pub use write::Version;
pub(crate) use write::write;

/// Bytes of a version 1 header, the end of the line included.
const V1_BYTES_MAX: usize = 107;
/// Bytes of a whole header. Version 2 could say 64 KiB; what is known to be sent (names, checksums, certificates'
/// subjects) stays far below this.
pub(crate) const HEADER_BYTES_MAX: usize = 4096;

/// How version 2 begins.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Its signature, version, family and length.
const V2_PREFIX: usize = 16;
/// The type of the checksum among version 2's extra values.
const TLV_CRC32C: u8 = 0x03;

/// What was found at the beginning of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The beginning of a header.
    Partial,
    /// A header of so many bytes.
    Complete(usize, Addresses),
}

/// Whom the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// The sender's own (a health check, say), or one that it cannot name: the connection's own addresses count.
    Own,
    /// The client's, and the one that it connected to. Both of one family.
    Of {
        /// The client.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
}

/// Why there is no header where there must be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The connection begins with something else.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// Beyond [`HEADER_BYTES_MAX`], or a version 1 line beyond its 107 bytes.
    #[error("the PROXY protocol header is too long")]
    TooLong,
    /// A version 1 line that is not as it must be.
    #[error("the PROXY protocol line is malformed")]
    Line,
    /// An unknown version, command, family or transport.
    #[error("the PROXY protocol header has an unknown version, command or family")]
    Unknown,
    /// Addresses or extra values that do not fit their length.
    #[error("the PROXY protocol header's length does not fit what it holds")]
    Length,
    /// The checksum is not that of the header.
    #[error("the PROXY protocol header's checksum is wrong")]
    Checksum,
}

/// Reads a header at the beginning of what was read so far.
///
/// # Errors
/// What is there is no header, or a malformed one: as early as that shows.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    if is_beginning_of(bytes, b"PROXY ") {
        return parse_v1(bytes);
    }
    if is_beginning_of(bytes, V2_SIGNATURE) {
        return parse_v2(bytes);
    }
    Err(HeaderError::Missing)
}

/// Whether one is as much as is there of the other.
fn is_beginning_of(bytes: &[u8], whole: &[u8]) -> bool {
    let n = bytes.len().min(whole.len());
    bytes[..n] == whole[..n]
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() < V1_BYTES_MAX { Ok(Parsed::Partial) } else { Err(HeaderError::TooLong) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(HeaderError::Line)?;
    let line = str::from_utf8(line).map_err(|_| HeaderError::Line)?;
    // A lone CR within the line would end it for others.
    if line.contains('\r') {
        return Err(HeaderError::Line);
    }
    let addresses = v1_addresses(line).ok_or(HeaderError::Line)?;
    Ok(Parsed::Complete(end + 1, addresses))
}

fn v1_addresses(line: &str) -> Option<Addresses> {
    let rest = line.strip_prefix("PROXY ")?;
    let (family, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Some(Addresses::Own);
    }
    let mut parts = rest.split(' ');
    let mut next = || parts.next();
    let (source, destination, source_port, destination_port) = (next()?, next()?, next()?, next()?);
    if next().is_some() {
        return None;
    }
    let ip = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    Some(Addresses::Of {
        source: SocketAddr::new(ip(source)?, port(source_port)?),
        destination: SocketAddr::new(ip(destination)?, port(destination_port)?),
    })
}

/// A number in decimal without sign or leading zero.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let local = match bytes.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(HeaderError::Unknown),
    };
    let family = match bytes.get(13) {
        None => return Ok(Parsed::Partial),
        // A local connection's family and content are to be ignored.
        Some(_) if local => Family::Unspecified,
        Some(0x00) => Family::Unspecified,
        Some(0x11) => Family::V4,
        Some(0x21) => Family::V6,
        Some(0x31) => Family::Unix,
        // Datagrams do not come through a stream.
        Some(_) => return Err(HeaderError::Unknown),
    };
    let (Some(&high), Some(&low)) = (bytes.get(14), bytes.get(15)) else { return Ok(Parsed::Partial) };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if V2_PREFIX + len > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    if len < family.bytes() {
        return Err(HeaderError::Length);
    }
    let Some(header) = bytes.get(..V2_PREFIX + len) else { return Ok(Parsed::Partial) };
    if !matches!(family, Family::Unspecified) {
        check_extras(header, V2_PREFIX + family.bytes())?;
    }
    Ok(Parsed::Complete(header.len(), family.addresses(&header[V2_PREFIX..])))
}

#[derive(Clone, Copy)]
enum Family {
    Unspecified,
    V4,
    V6,
    Unix,
}

impl Family {
    /// Bytes of its addresses.
    const fn bytes(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unix => 216,
        }
    }

    fn addresses(self, content: &[u8]) -> Addresses {
        let port = |at: usize| u16::from_be_bytes([content[at], content[at + 1]]);
        match self {
            // A path is nothing that a limit or a log could use as an address.
            Self::Unspecified | Self::Unix => Addresses::Own,
            Self::V4 => {
                let ip = |at: usize| -> [u8; 4] { std::array::from_fn(|i| content[at + i]) };
                Addresses::Of {
                    source: SocketAddr::from((ip(0), port(8))),
                    destination: SocketAddr::from((ip(4), port(10))),
                }
            }
            Self::V6 => {
                let ip = |at: usize| -> [u8; 16] { std::array::from_fn(|i| content[at + i]) };
                Addresses::Of {
                    source: SocketAddr::from((ip(0), port(32))),
                    destination: SocketAddr::from((ip(16), port(34))),
                }
            }
        }
    }
}

/// Walks over the extra values, which must fill the header exactly, and verifies the checksum if it is among them.
fn check_extras(header: &[u8], from: usize) -> Result<(), HeaderError> {
    let mut at = from;
    let mut checksum = None;
    while at < header.len() {
        let Some(&[kind, high, low]) = header[at..].first_chunk::<3>() else {
            return Err(HeaderError::Length);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let value = at + 3;
        at = value + len;
        if at > header.len() {
            return Err(HeaderError::Length);
        }
        if kind == TLV_CRC32C && (len != 4 || checksum.replace(value).is_some()) {
            return Err(HeaderError::Length);
        }
    }
    let Some(value) = checksum else { return Ok(()) };
    // It is that of the header with zeros in its place.
    let mut zeroed = header.to_vec();
    zeroed[value..value + 4].fill(0);
    if header[value..value + 4] == crc32c::crc32c(&zeroed).to_be_bytes() {
        Ok(())
    } else {
        Err(HeaderError::Checksum)
    }
}

#[cfg(test)]
mod tests;
