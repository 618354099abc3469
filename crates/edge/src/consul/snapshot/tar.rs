//! As much of the tar format (POSIX.1-1988, "ustar") as snapshots need: a few plain files, one after the other.

use std::io::{self, Read};

/// Everything in an archive is padded to a multiple of this.
pub(super) const BLOCK: usize = 512;
/// A file's name in its header.
const NAME: std::ops::Range<usize> = 0..100;
/// Its size in octal digits; or, where the first bit is set, as a big-endian number.
const SIZE: std::ops::Range<usize> = 124..136;
/// The sum of the header's bytes, these taken as blanks.
const SUM: std::ops::Range<usize> = 148..156;
/// What kind of entry it is.
const KIND: usize = 156;
/// The mark of the format.
const MAGIC: std::ops::Range<usize> = 257..265;
/// An archive ends with two empty blocks.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// What stands before a file's content.
pub(super) fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(NAME.start, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(SIZE.start, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(KIND, "0");
    put(MAGIC.start, "ustar\x0000");
    let sum = format!("{:06o}\0 ", sum(&header));
    header[SUM].copy_from_slice(sum.as_bytes());
    header
}

/// How many bytes follow a content of this size, so that the next header begins with a block.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    if over == 0 { 0 } else { BLOCK - over }
}

/// A file in an archive: its content comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) size: u64,
}

/// Reads up to the next file; nothing at the archive's end. What is no plain file is left out.
pub(super) fn next(from: &mut impl Read) -> io::Result<Option<Entry>> {
    loop {
        let mut header = [0; BLOCK];
        from.read_exact(&mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let said = number(&header[SUM]);
        if said != Some(u64::from(sum(&header))) {
            return Err(invalid("a header's checksum is wrong"));
        }
        let size = number(&header[SIZE]).ok_or_else(|| invalid("a file's size cannot be read"))?;
        if matches!(header[KIND], b'0' | 0) {
            let name = &header[NAME];
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            return Ok(Some(Entry { name: String::from_utf8_lossy(&name[..end]).into_owned(), size }));
        }
        skip(from, size)?;
    }
}

/// Reads over a file's content and its padding.
pub(super) fn skip(from: &mut impl Read, size: u64) -> io::Result<()> {
    let whole = size.saturating_add(padding(size) as u64);
    let read = io::copy(&mut from.take(whole), &mut io::sink())?;
    if read == whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn sum(header: &[u8; BLOCK]) -> u32 {
    let blank = |at: usize, byte: u8| if SUM.contains(&at) { b' ' } else { byte };
    header.iter().enumerate().map(|(at, byte)| u32::from(blank(at, *byte))).sum()
}

fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let fits = high[0] == 0x80 && high[1..].iter().all(|byte| *byte == 0);
        return fits.then(|| low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    u64::from_str_radix(text, 8).ok()
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back() {
        for size in [0, 1, 511, 512, 8_589_934_591] {
            let entry = next(&mut &header("state.bin", size)[..]).unwrap();
            assert_eq!(entry, Some(Entry { name: "state.bin".to_owned(), size }));
            assert_eq!((size + padding(size) as u64) % BLOCK as u64, 0);
        }
        assert_eq!(next(&mut &END[..]).unwrap(), None);
        let mut altered = header("state.bin", 7);
        altered[SIZE.start] = b'1';
        assert!(next(&mut &altered[..]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(bytes: Vec<u8>, size: [u8; 12]) {
            let _ = next(&mut &bytes[..]);
            let mut header = header("x", 0);
            header[SIZE].copy_from_slice(&size);
            let right = format!("{:06o}\0 ", sum(&header));
            header[SUM].copy_from_slice(right.as_bytes());
            let _ = next(&mut &header[..]);
        }
    }
}
