//! Reading an archive, and refusing what is not one.

use std::io::{BufReader, ErrorKind, Read};

use aws_lc_rs::digest::{Context, SHA256};

use super::{
    ArchiveError, BLOCK_BYTES_MAX, BLOCK_HEAD, END, END_BYTES, ENTRY, ENTRY_HEAD, FIRST_LINE_MAX, FORMAT,
    HEAD, Head, MAGIC,
};
use crate::{Entry, Key};

/// How much is read from the file at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// The entries of an archive, in the order of their keys. It ends with an error where the archive is not whole, or altered:
/// what it gave until then must not be used.
pub struct Reader<R> {
    file: BufReader<R>,
    /// How many bytes were read.
    at: u64,
    sum: Context,
    head: Head,
    keys: u64,
    last: Option<Key>,
    ended: bool,
    buffer: Vec<u8>,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("head", &self.head).field("at", &self.at).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(file: R) -> Result<Self, ArchiveError> {
        let head = Head { reader_min: 0, position: Default::default(), version: String::new() };
        let mut reader = Self {
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            at: 0,
            sum: Context::new(&SHA256),
            head,
            keys: 0,
            last: None,
            ended: false,
            buffer: Vec::new(),
        };
        reader.first_line()?;
        if reader.block()? != HEAD {
            return Err(reader.damaged("it does not begin with its head"));
        }
        reader.sum.update(&reader.buffer);
        reader.head = serde_json::from_slice(&reader.buffer)
            .map_err(|error| reader.damaged(&format!("its head: {error}")))?;
        newer(reader.head.reader_min)?;
        Ok(reader)
    }

    /// What stands at its beginning.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The line that says what the file is. Its format may be newer than what is known, if older programs may read it.
    fn first_line(&mut self) -> Result<(), ArchiveError> {
        let mut line = Vec::with_capacity(FIRST_LINE_MAX);
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            let is_other = line.len() == FIRST_LINE_MAX
                || !MAGIC.as_bytes().starts_with(&line[..line.len().min(MAGIC.len())]);
            if is_other || self.file.read(&mut byte)? == 0 {
                return Err(ArchiveError::Other);
            }
            line.extend_from_slice(&byte);
        }
        let text = std::str::from_utf8(&line).ok().and_then(|line| line.trim_end().strip_prefix(MAGIC));
        text.and_then(|format| format.parse::<u32>().ok()).ok_or(ArchiveError::Other)?;
        self.at += line.len() as u64;
        self.sum.update(&line);
        Ok(())
    }

    /// Reads a block into the buffer. What stands before its content is in the sum, its content is not yet.
    fn block(&mut self) -> Result<u8, ArchiveError> {
        let mut head = [0; BLOCK_HEAD];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_le_bytes(length) as usize;
        if length > BLOCK_BYTES_MAX {
            return Err(self.damaged(&format!("a block of {length} bytes")));
        }
        if kind != END {
            self.sum.update(&head);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(length, 0);
        self.fill(&mut buffer)?;
        self.buffer = buffer;
        Ok(kind)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read(&mut bytes[filled..]) {
                Ok(0) => return Err(ArchiveError::Truncated { at: self.at }),
                Ok(read) => {
                    filled += read;
                    self.at += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn entry(&mut self) -> Result<(Key, Entry), ArchiveError> {
        self.sum.update(&self.buffer);
        let cut = || "an entry is cut short".to_owned();
        let read = || {
            let (head, rest) = self.buffer.split_at_checked(ENTRY_HEAD).ok_or_else(cut)?;
            let number = |index: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&head[index * 8..][..8]);
                u64::from_le_bytes(bytes)
            };
            let key_length = usize::from(u16::from_le_bytes([head[24], head[25]]));
            let (key, value) = rest.split_at_checked(key_length).ok_or_else(cut)?;
            let key = std::str::from_utf8(key).map_err(|error| format!("a key: {error}"))?;
            let key = Key::parse(key).map_err(|error| error.to_string())?;
            let (create_revision, mod_revision, version) = (number(0), number(1), number(2));
            if create_revision > mod_revision || mod_revision > self.head.position.revision || version == 0 {
                return Err(format!("the revisions of {key} are impossible"));
            }
            if self.last.as_ref().is_some_and(|last| *last >= key) {
                return Err(format!("{key} is out of order"));
            }
            Ok((key, Entry { value: value.into(), create_revision, mod_revision, version, lease: None }))
        };
        let (key, entry) = read().map_err(|reason| self.damaged(&reason))?;
        self.last = Some(key.clone());
        self.keys += 1;
        Ok((key, entry))
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let sum = std::mem::replace(&mut self.sum, Context::new(&SHA256)).finish();
        let whole = self.buffer.len() == END_BYTES
            && self.buffer[..8] == self.keys.to_le_bytes()
            && self.buffer[8..] == *sum.as_ref();
        if !whole {
            return Err(ArchiveError::Altered);
        }
        let mut more = [0];
        if self.file.read(&mut more)? > 0 { Err(self.damaged("it goes on behind its end")) } else { Ok(()) }
    }

    fn damaged(&self, reason: &str) -> ArchiveError {
        ArchiveError::Damaged { at: self.at, reason: reason.to_owned() }
    }

    fn step(&mut self) -> Result<Option<(Key, Entry)>, ArchiveError> {
        match self.block()? {
            ENTRY => self.entry().map(Some),
            END => self.end().map(|()| None),
            other => Err(self.damaged(&format!("a block of the unknown kind {:?}", char::from(other)))),
        }
    }
}

fn newer(found: u32) -> Result<(), ArchiveError> {
    if found > FORMAT { Err(ArchiveError::NewerFormat { found, supported: FORMAT }) } else { Ok(()) }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<(Key, Entry), ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step().transpose();
        self.ended = !matches!(step, Some(Ok(_)));
        step
    }
}
