//! A snapshot's archive: a tar of `meta.json`, `state.bin` and `SHA256SUMS`, compressed with gzip (RFC 1952).
//!
//! `state.bin` may be large, and its size stands before it. So it is read twice: to measure it, and to send it. It is compressed
//! by itself, and so is what stands before and behind it: a file of gzip may have several parts, and the length of all
//! of them is known before the first is sent.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, Digest, SHA256};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::tar;

const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";
/// Files that an archive may hold.
const FILES_MAX: usize = 8;
/// The longest `meta.json` or `SHA256SUMS`.
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// The longest `state.bin` that is restored over HTTP: all of it is in memory before anything is replaced.
const STATE_BYTES_MAX: u64 = 1 << 30;
/// All that is read of an archive, whatever is in it: padding, and entries that are no files, too.
const CONTENTS_BYTES_MAX: u64 = STATE_BYTES_MAX + (16 << 20);
/// What a backup of Weir's begins with.
const WEIR_MAGIC: &[u8] = b"weir-store ";
/// What a file of gzip begins with.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// Why a file is no snapshot to restore.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error(
        "it is not a snapshot: expected the file that `GET /v1/snapshot` gives (a tar compressed with gzip)"
    )]
    Other,
    #[error(
        "this is a snapshot of Consul, whose inside is the state of its Raft; it cannot be read here. Copy what it holds \
         over from a running Consul: keys with `consul kv export`, config entries with GET and PUT /v1/config"
    )]
    Consuls,
    #[error(
        "its {STATE} has {0} bytes, more than the {STATE_BYTES_MAX} that are restored over HTTP; unpack it and use `weir store \
         restore {STATE}`"
    )]
    TooLarge(u64),
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it is cut short".to_owned()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// `state.bin` as it stands in an archive, compressed while it comes. What is compressed is taken out by whoever sends it, or
/// only counts it.
pub(super) struct State {
    compressed: GzEncoder<Vec<u8>>,
    taken: u64,
    sum: Context,
    bytes: u64,
}

impl State {
    pub(super) fn new() -> Self {
        Self { compressed: encoder(), taken: 0, sum: Context::new(&SHA256), bytes: 0 }
    }

    /// Adds a piece; gives what is compressed by then, which may be nothing.
    pub(super) fn add(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        self.sum.update(piece);
        self.bytes += piece.len() as u64;
        self.compressed.write_all(piece)?;
        let ready = std::mem::take(self.compressed.get_mut());
        self.taken += ready.len() as u64;
        Ok(ready)
    }

    /// What is left to be compressed, and what all of it was.
    pub(super) fn end(self) -> io::Result<(Vec<u8>, Measure)> {
        let rest = self.compressed.finish()?;
        let compressed = self.taken + rest.len() as u64;
        Ok((rest, Measure { bytes: self.bytes, compressed, sum: hex(&self.sum.finish()) }))
    }
}

/// What has to be known of `state.bin` before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Measure {
    /// How long it is.
    pub(super) bytes: u64,
    /// How long it is once it is compressed.
    pub(super) compressed: u64,
    /// Its SHA-256, in hexadecimal.
    sum: String,
}

impl Measure {
    /// What stands before the compressed `state.bin` in an archive, and what behind it, both compressed.
    pub(super) fn frame(&self, meta: &[u8]) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut before = encoder();
        file(&mut before, META, meta)?;
        before.write_all(&tar::header(STATE, self.bytes))?;
        let meta_sum = aws_lc_rs::digest::digest(&SHA256, meta);
        let sums = format!("{}  {META}\n{}  {STATE}\n", hex(&meta_sum), self.sum);
        let mut after = encoder();
        after.write_all(&[0; tar::BLOCK][..tar::padding(self.bytes)])?;
        file(&mut after, SUMS, sums.as_bytes())?;
        after.write_all(&tar::END)?;
        Ok((before.finish()?, after.finish()?))
    }
}

fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

fn file(to: &mut impl Write, name: &str, content: &[u8]) -> io::Result<()> {
    let size = content.len() as u64;
    to.write_all(&tar::header(name, size))?;
    to.write_all(content)?;
    to.write_all(&[0; tar::BLOCK][..tar::padding(size)])
}

fn hex(digest: &Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An archive that is known to be whole, unaltered, and Weir's.
pub(super) struct Archive {
    bytes: Bytes,
}

impl Archive {
    /// Reads it to its end.
    pub(super) fn check(bytes: Bytes) -> Result<Self, Unfit> {
        Self::check_within(bytes, CONTENTS_BYTES_MAX)
    }

    fn check_within(bytes: Bytes, contents_max: u64) -> Result<Self, Unfit> {
        if !bytes.starts_with(GZIP_MAGIC) {
            return Err(Unfit::Other);
        }
        let mut from = Bounded { from: MultiGzDecoder::new(&*bytes), left: contents_max };
        let (mut found, mut sums) = (Vec::new(), None);
        let mut is_weirs = false;
        while let Some(entry) = tar::next(&mut from)? {
            if found.len() == FILES_MAX {
                return Err(Unfit::Damaged(format!("it has more than {FILES_MAX} files")));
            }
            let is_state = entry.name == STATE;
            let max = if is_state { STATE_BYTES_MAX } else { SMALL_BYTES_MAX };
            if entry.size > max {
                return Err(match is_state {
                    true => Unfit::TooLarge(entry.size),
                    false => {
                        Unfit::Damaged(format!("{} has {} bytes, more than {max}", entry.name, entry.size))
                    }
                });
            }
            if found.iter().any(|(name, _)| *name == entry.name) {
                return Err(Unfit::Damaged(format!("it has two files {}", entry.name)));
            }
            let mut content = Content::of(&mut from, entry.size);
            content.read_to_end()?;
            is_weirs |= is_state && content.begin.starts_with(WEIR_MAGIC);
            if entry.name == SUMS {
                sums = Some(String::from_utf8_lossy(&content.begin).into_owned());
            }
            found.push((entry.name, hex(&content.sum.finish())));
            let padding = tar::padding(entry.size);
            from.read_exact(&mut [0; tar::BLOCK][..padding])?;
        }
        // Checksums of gzip stand at the end of its parts.
        io::copy(&mut from, &mut io::sink())?;
        let sums = sums.ok_or_else(|| Unfit::Damaged(format!("it has no {SUMS}")))?;
        for name in [META, STATE] {
            compare(name, &found, &sums)?;
        }
        if is_weirs { Ok(Self { bytes }) } else { Err(Unfit::Consuls) }
    }

    /// What `state.bin` holds.
    pub(super) fn into_state(self) -> impl Read + Send + 'static {
        StateReader { from: MultiGzDecoder::new(Cursor(self.bytes, 0)), left: None }
    }
}

fn compare(name: &str, found: &[(String, String)], sums: &str) -> Result<(), Unfit> {
    let damaged = |reason: String| Err(Unfit::Damaged(reason));
    let Some((_, sum)) = found.iter().find(|(found, _)| found == name) else {
        return damaged(format!("it has no {name}"));
    };
    let said = sums.lines().filter_map(|line| line.split_once("  ")).find(|(_, of)| *of == name);
    match said {
        Some((said, _)) if said == sum => Ok(()),
        Some(_) => damaged(format!("{name} is not what its checksum says")),
        None => damaged(format!("{SUMS} has no line for {name}")),
    }
}

/// A file's content while it is read: its sum, and how it begins.
struct Content<'a, R> {
    from: io::Take<&'a mut R>,
    size: u64,
    sum: Context,
    begin: Vec<u8>,
}

impl<'a, R: Read> Content<'a, R> {
    /// How much of a beginning is kept: all of `SHA256SUMS`.
    const BEGIN_MAX: usize = 4096;

    fn of(from: &'a mut R, size: u64) -> Self {
        Self { from: from.take(size), size, sum: Context::new(&SHA256), begin: Vec::new() }
    }

    fn read_to_end(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut left = self.size;
        while left > 0 {
            let read = self.from.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let piece = &buffer[..read];
            self.sum.update(piece);
            let room = Self::BEGIN_MAX - self.begin.len();
            self.begin.extend_from_slice(&piece[..read.min(room)]);
            left -= read as u64;
        }
        Ok(())
    }
}

/// A reader that fails where more comes than it may read.
struct Bounded<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        let more =
            || io::Error::new(io::ErrorKind::InvalidData, "it holds more than any snapshot that is restored");
        self.left = self.left.checked_sub(count as u64).ok_or_else(more)?;
        Ok(count)
    }
}

/// Bytes read from their beginning.
struct Cursor(Bytes, usize);

impl Read for Cursor {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = (&self.0[self.1..]).read(to)?;
        self.1 += count;
        Ok(count)
    }
}

/// Reads `state.bin` out of an archive.
struct StateReader {
    from: MultiGzDecoder<Cursor>,
    /// What is left of it; nothing before it was found.
    left: Option<u64>,
}

impl Read for StateReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.left.is_none() {
            let entry = tar::next(&mut self.from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if entry.name == STATE {
                self.left = Some(entry.size);
            } else {
                tar::skip(&mut self.from, entry.size)?;
            }
        }
        let left = self.left.unwrap_or_default();
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(to.len());
        let read = self.from.read(&mut to[..most])?;
        self.left = Some(left - read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(state: &[u8]) -> Vec<u8> {
        let mut made = State::new();
        let mut compressed: Vec<u8> = state.chunks(1000).flat_map(|piece| made.add(piece).unwrap()).collect();
        let (rest, measure) = made.end().unwrap();
        compressed.extend(rest);
        assert_eq!((measure.bytes, measure.compressed), (state.len() as u64, compressed.len() as u64));
        let (before, after) = measure.frame(b"{}").unwrap();
        [before, compressed, after].concat()
    }

    fn fault(bytes: Vec<u8>) -> String {
        Archive::check(bytes.into()).err().map_or_else(String::new, |unfit| unfit.to_string())
    }

    #[test]
    fn what_was_written_reads_back() {
        for length in [11, 501, 512, 100_000] {
            let state: Vec<u8> = WEIR_MAGIC.iter().copied().cycle().take(length).collect();
            let mut read = Vec::new();
            let archive = Archive::check(archive(&state).into()).unwrap();
            archive.into_state().read_to_end(&mut read).unwrap();
            assert_eq!(read, state);
        }
    }

    #[test]
    fn what_is_something_else_is_said() {
        assert!(fault(archive(b"\x84Index")).contains("snapshot of Consul"));
        assert!(fault(b"PK".to_vec()).contains("not a snapshot"));
        assert!(fault(Vec::new()).contains("not a snapshot"));
        let mut empty = encoder();
        empty.write_all(&tar::END).unwrap();
        assert!(fault(empty.finish().unwrap()).contains("no SHA256SUMS"));
        let mut other = encoder();
        file(&mut other, META, b"{}").unwrap();
        file(&mut other, SUMS, b"00  meta.json\n").unwrap();
        other.write_all(&tar::END).unwrap();
        assert!(fault(other.finish().unwrap()).contains("meta.json is not what its checksum says"));
    }

    #[test]
    fn what_is_larger_than_it_may_be_is_refused_while_it_is_read() {
        const MAX: u64 = 1 << 20;
        let within = |bytes: Vec<u8>| {
            let checked = Archive::check_within(bytes.into(), MAX);
            checked.err().map_or_else(String::new, |unfit| unfit.to_string())
        };
        let whole = archive(b"weir-store 1\nand so on");
        let zeros = |count: u64| {
            let mut more = encoder();
            io::copy(&mut io::repeat(0).take(count), &mut more).unwrap();
            more.finish().unwrap()
        };
        assert_eq!(within([&*whole, &*zeros(MAX - 4096)].concat()), "");
        let behind = within([&*whole, &*zeros(MAX)].concat());
        assert!(behind.contains("holds more than"), "{behind}");
        let mut large = encoder();
        large.write_all(&tar::header(STATE, STATE_BYTES_MAX + 1)).unwrap();
        assert!(fault(large.finish().unwrap()).contains("weir store restore state.bin"));
        let mut twice = encoder();
        file(&mut twice, META, b"{}").unwrap();
        file(&mut twice, META, b"{}").unwrap();
        assert!(fault(twice.finish().unwrap()).contains("two files meta.json"));
        let mut directory = tar::header("many", MAX);
        directory[156] = b'5';
        directory[148..156].fill(b' ');
        let sum: u32 = directory.iter().map(|byte| u32::from(*byte)).sum();
        directory[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut skipped = encoder();
        skipped.write_all(&directory).unwrap();
        let skipped = within([skipped.finish().unwrap(), zeros(MAX)].concat());
        assert!(skipped.contains("holds more than"), "{skipped}");
    }

    #[test]
    fn what_was_cut_short_or_altered_is_refused() {
        let whole = archive(b"weir-store 1\nand so on");
        for end in 0..whole.len() {
            assert_ne!(fault(whole[..end].to_vec()), "", "cut at {end}");
        }
        let content = |bytes: &[u8]| {
            let mut read = Vec::new();
            MultiGzDecoder::new(bytes).read_to_end(&mut read).map(|_| read)
        };
        let right = content(&whole).unwrap();
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            // A few bits of gzip's headers mean nothing: then what is inside is the same.
            let same = content(&altered).is_ok_and(|content| content == right);
            assert!(same || !fault(altered).is_empty(), "byte {at}");
        }
    }
}
