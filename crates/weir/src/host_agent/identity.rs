//! The node's id, which stays the same for as long as its data directory does: by it two agents are told apart that were
//! given one name.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use crate::exit::{Exit, Failure};

/// The file in the data directory.
pub(crate) const FILE: &str = "node-id";

/// The id that is kept, or a new one; without a data directory, one that this process has and no other.
///
/// # Errors
/// When it cannot be read or written.
pub(super) fn load(data_dir: Option<&Path>) -> Result<String, Failure> {
    let Some(dir) = data_dir else { return Ok(uuid(rand::random())) };
    let path = dir.join(FILE);
    let failed = |error: io::Error| {
        let message = format!("cannot use the data directory {}: {FILE}: {error}", dir.display());
        Failure::new(Exit::CannotStart, message)
            .hint("name a directory that this user may create or write to with --data-dir")
    };
    match fs::read_to_string(&path) {
        Ok(id) if is_uuid(id.trim()) => Ok(id.trim().to_owned()),
        Ok(_) => Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it is no UUID"))
            .hint("delete the file, and the agent gives itself a new id")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = uuid(rand::random());
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
            fs::write(&path, format!("{id}\n")).map_err(failed)?;
            Ok(id)
        }
        Err(error) => Err(failed(error)),
    }
}

/// A random UUID (RFC 9562, section 5.4).
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(Some(&dir.path().join("new"))).unwrap();
        assert!(is_uuid(&first), "{first}");
        assert_eq!(load(Some(&dir.path().join("new"))).unwrap(), first);
        assert_ne!(load(Some(dir.path())).unwrap(), first);
        let nowhere = load(None).unwrap();
        assert!(is_uuid(&nowhere) && nowhere != load(None).unwrap(), "{nowhere}");
        fs::write(dir.path().join(FILE), "nonsense").unwrap();
        assert!(load(Some(dir.path())).unwrap_err().message.contains("no UUID"));
    }

    #[test]
    fn a_uuid_says_how_it_was_made() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
