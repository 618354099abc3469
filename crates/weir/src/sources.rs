//! Reads the files that commands are given.

use std::io::Read;
use std::path::{Path, PathBuf};

use weir_api::native::SourceText;

use crate::exit::{Exit, Failure};

/// The largest file that is read, in bytes: what a server accepts at once.
const FILE_BYTES_MAX: u64 = weir_api::native::APPLY_BYTES_MAX as u64;

/// Most files that are read from one directory.
const DIRECTORY_FILES_MAX: usize = 1024;
/// What names of documents end in, in a directory.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads the files in order; `-` is standard input and may stand once; a directory stands for its files that end in
/// `.yaml`, `.yml` or `.json`, in the order of their names.
///
/// # Errors
/// When a file cannot be read, is too large or is no text, or a directory holds none.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<SourceText>, Failure> {
    let stdin = Path::new("-");
    if files.iter().filter(|file| *file == stdin).count() > 1 {
        return Err(Failure::new(
            Exit::Usage,
            "`-f -` was given twice: standard input can be read only once",
        ));
    }
    let mut sources = Vec::new();
    for file in files {
        if file == stdin {
            sources.push(read_stdin()?);
        } else if file.is_dir() {
            for file in files_in(file)? {
                sources.push(read_file(&file)?);
            }
        } else {
            sources.push(read_file(file)?);
        }
    }
    Ok(sources)
}

/// The documents' files in a directory, by name. What lies in directories below is left alone.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let shown = directory.display();
    let failed = |error: std::io::Error| Failure::new(Exit::Invalid, format!("cannot read {shown}: {error}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|found| EXTENSIONS.contains(&found)) && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        let message = format!("{shown}: no documents: expected files that end in .yaml, .yml or .json");
        return Err(Failure::new(Exit::Invalid, message));
    }
    if files.len() > DIRECTORY_FILES_MAX {
        let message = format!("{shown}: {} files: at most {DIRECTORY_FILES_MAX}", files.len());
        return Err(Failure::new(Exit::Invalid, message));
    }
    files.sort_unstable();
    Ok(files)
}

fn read_stdin() -> Result<SourceText, Failure> {
    read_text("-", std::io::stdin().lock())
}

/// Reads one file.
///
/// # Errors
/// When it cannot be read, is too large or is no text.
pub(crate) fn read_file(path: &Path) -> Result<SourceText, Failure> {
    let shown = path.display().to_string();
    let failed = |error: &std::io::Error| {
        let failure = Failure::new(Exit::Invalid, format!("cannot read {shown}: {error}"));
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
        return Err(Failure::new(Exit::Invalid, format!("{shown} is a directory, expected a file")));
    }
    read_text(&shown, file)
}

fn read_text(name: &str, reader: impl Read) -> Result<SourceText, Failure> {
    let mut bytes = Vec::new();
    reader
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Exit::Invalid, format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(
            Exit::Invalid,
            format!("{name} is larger than {} MiB", FILE_BYTES_MAX >> 20),
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::new(Exit::Invalid, format!("{name} is no text: expected YAML or JSON in UTF-8"))
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
            assert_eq!(failure.exit, Exit::Invalid);
            assert!(failure.message.contains(part), "{}", failure.message);
        };
        bad(&folder.path().join("none.yaml"), "none.yaml");
        bad(folder.path(), "no documents: expected files that end in .yaml, .yml or .json");
        let file = folder.path().join("binary");
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        bad(&file, "is no text");
        std::fs::write(&file, "kind: Service").unwrap();
        assert_eq!(read(&[file]).unwrap()[0].text, "kind: Service");
        assert!(read(&["-".into(), "-".into()]).is_err());
    }

    #[test]
    fn a_directory_stands_for_its_documents_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["20.yml", "10.yaml", "30.json", "README.md"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::fs::create_dir(folder.path().join("below.yaml")).unwrap();
        let read = read(&[folder.path().to_owned()]).unwrap();
        let texts: Vec<&str> = read.iter().map(|source| source.text.as_str()).collect();
        assert_eq!(texts, ["10.yaml", "20.yml", "30.json"]);
    }
}
