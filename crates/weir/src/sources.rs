//! Reads the files that commands are given.

use std::io::Read;
use std::path::{Path, PathBuf};

use weir_api::native::SourceText;

use crate::exit::{Exit, Failure};

/// The largest file that is read, in bytes: what a server accepts at once.
const FILE_BYTES_MAX: u64 = weir_api::native::APPLY_BYTES_MAX as u64;

/// Reads the files in order; `-` is standard input and may stand once.
///
/// # Errors
/// When a file cannot be read, is too large or is no text.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<SourceText>, Failure> {
    let stdin = Path::new("-");
    if files.iter().filter(|file| *file == stdin).count() > 1 {
        return Err(Failure::new(
            Exit::Usage,
            "`-f -` was given twice: standard input can be read only once",
        ));
    }
    files.iter().map(|file| if file == stdin { read_stdin() } else { read_file(file) }).collect()
}

fn read_stdin() -> Result<SourceText, Failure> {
    read_text("-", std::io::stdin().lock())
}

fn read_file(path: &Path) -> Result<SourceText, Failure> {
    let shown = path.display().to_string();
    let failed = |error: &std::io::Error| {
        let failure = Failure::new(Exit::Usage, format!("cannot read {shown}: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                let folder = std::env::current_dir().unwrap_or_default();
                failure.hint(format!("the name is looked up in {}", folder.display()))
            }
            _ => failure,
        }
    };
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Failure::new(Exit::Usage, format!("{shown} is a directory"))
            .hint("name each file with its own -f"));
    }
    read_text(&shown, file)
}

fn read_text(name: &str, reader: impl Read) -> Result<SourceText, Failure> {
    let mut bytes = Vec::new();
    reader
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(Exit::Usage, format!("{name} is larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::new(Exit::Usage, format!("{name} is no text: expected YAML or JSON in UTF-8"))
    })?;
    Ok(SourceText { name: name.to_owned(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let bad = |path: &Path, part: &str| {
            let failure = read(&[path.to_owned()]).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(part), "{}", failure.message);
        };
        bad(&folder.path().join("none.yaml"), "none.yaml");
        bad(folder.path(), "is a directory");
        let file = folder.path().join("binary");
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        bad(&file, "is no text");
        std::fs::write(&file, "kind: Service").unwrap();
        assert_eq!(read(&[file]).unwrap()[0].text, "kind: Service");
        assert!(read(&["-".into(), "-".into()]).is_err());
    }
}
