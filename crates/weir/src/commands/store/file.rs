//! Archives as files: written beside their name until they are whole, and read to the end before they are believed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use weir_store::archive::{self, ArchiveError, Summary};

use super::what;
use crate::exit::{Exit, Failure};

/// A file in the making. It gets its name when it is whole; until then, and if it never is, what has the name stays.
pub(super) struct NewFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
    is_whole: bool,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        if path.is_dir() {
            let message = format!("{} is a directory; expected the name of a file", path.display());
            return Err(Failure::new(Exit::Usage, message));
        }
        let mut part = path.to_owned().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        // Keys and values are nobody else's business.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let file = file.map_err(|error| failed(&part, &error))?;
        Ok(Self { path: path.to_owned(), part, file, is_whole: false })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)
    }

    /// Reads what was written, from the disk's side, and gives it its name.
    pub(super) fn finish(mut self) -> Result<Summary, Failure> {
        self.file.sync_all().map_err(|error| failed(&self.part, &error))?;
        let summary = verify(&self.part).map_err(|failure| Failure { exit: Exit::Failed, ..failure })?;
        fs::rename(&self.part, &self.path).map_err(|error| failed(&self.path, &error))?;
        self.is_whole = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let synced = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        synced.map_err(|error| failed(&self.path, &error))?;
        Ok(summary)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Reads a file to its end.
pub(super) fn verify(path: &Path) -> Result<Summary, Failure> {
    archive::verify(open(path)?).map_err(|error| unfit(path, &error))
}

pub(super) fn open(path: &Path) -> Result<File, Failure> {
    let exit = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::Failed,
    };
    File::open(path)
        .map_err(|error| Failure::new(exit(&error), format!("cannot read {}: {error}", path.display())))
}

pub(super) fn unfit(path: &Path, error: &ArchiveError) -> Failure {
    let failure = Failure::new(Exit::Invalid, format!("{}: {error}", path.display()));
    let is_other = matches!(error, ArchiveError::Other | ArchiveError::Io(_));
    match is_other.then(|| what::instead_of_archive(path)).flatten() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

pub(super) fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
}
