//! A file that says which process serves, for as long as it does.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// The file; it is removed with this, unless it names another process by then.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it. Whoever calls this serves already: one that cannot start leaves the file of one that runs alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(path: &Path) -> Result<Self, Failure> {
        std::fs::write(path, content()).map_err(|error| {
            Failure::new(Exit::CannotStart, format!("pid_file: cannot write {}: {error}", path.display()))
        })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if std::fs::read_to_string(&self.0).is_ok_and(|text| text == content()) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

fn content() -> String {
    format!("{}\n", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_process_unless_it_is_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content());
        drop(file);
        assert!(!path.exists());
        let file = PidFile::write(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
        let error = PidFile::write(&dir.path().join("no/pid")).err().unwrap();
        assert!(error.message.contains("pid_file: cannot write"), "{}", error.message);
    }
}
