//! What a process has in force, in memory that has no name but for the descriptor that is passed on.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// The largest state that is passed on.
const STATE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// A descriptor of these bytes.
#[cfg(target_os = "linux")]
pub(super) fn store(bytes: &[u8]) -> io::Result<OwnedFd> {
    if bytes.len() as u64 > STATE_BYTES_MAX {
        return Err(too_long());
    }
    let mut file = File::from(rustix::fs::memfd_create("weir-state", rustix::fs::MemfdFlags::CLOEXEC)?);
    io::Write::write_all(&mut file, bytes)?;
    Ok(file.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn store(_: &[u8]) -> io::Result<OwnedFd> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has memory that can be passed on"))
}

/// The bytes behind a descriptor.
pub(super) fn load(state: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(state);
    let length = file.metadata()?.len();
    if length > STATE_BYTES_MAX {
        return Err(too_long());
    }
    let mut bytes = vec![0; length as usize];
    // The position is the writer's as well.
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
    Ok(bytes)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {STATE_BYTES_MAX} bytes"))
}
