//! What stands at a path where an archive or a data directory was expected: said so that whoever mixed them up finds the
//! command that fits.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::control_plane::STORE_FILE;

/// How much of a file is looked at: the place of a tar's mark is within it.
const BEGIN_BYTES: u64 = 512;
/// What the file of a store begins with.
const STORE_MAGIC: &[u8] = b"redb";
/// What the log of a store begins with.
const LOG_MAGIC: &[u8] = b"weir store log";
/// Where a tar has its mark (POSIX.1-1988).
const TAR_MARK: std::ops::Range<usize> = 257..262;

/// What to do with what stands at a path, which is no archive.
pub(super) fn instead_of_archive(path: &Path) -> Option<String> {
    if path.is_dir() {
        return Some(match path.join(STORE_FILE).exists() {
            true => format!("it is a data directory: --data-dir {}", path.display()),
            false => {
                "it is a directory; a file that `weir store backup` or `export` wrote is expected".to_owned()
            }
        });
    }
    let (begin, shown) = (begin(path)?, path.display());
    let has = |magic: &[u8]| begin.starts_with(magic);
    if has(STORE_MAGIC) || has(LOG_MAGIC) {
        let what = if has(STORE_MAGIC) { "the file of a store itself" } else { "the log of a store" };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(format!("it is {what}, whose directory is named: --data-dir {}", dir.display()))
    } else if has(&[0x1f, 0x8b]) {
        Some(format!(
            "it is compressed with gzip; if it is a snapshot, `tar xzf {shown} state.bin` takes out state.bin, which fits here, \
             and `weir consul snapshot restore {shown}` puts it in place at a running server"
        ))
    } else if has(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Some(format!("it is compressed with zstd: `zstd -d {shown}` unpacks it"))
    } else if begin.get(TAR_MARK) == Some(b"ustar") {
        Some(format!(
            "it is a tar; if it is that of a snapshot, `tar xf {shown} state.bin` takes out what fits here"
        ))
    } else if matches!(begin.trim_ascii_start().first(), Some(b'{' | b'['))
        || has(b"kind:")
        || has(b"apiVersion:")
    {
        let hint = "documents are put in force by `weir apply -f`, keys and values as JSON by `weir consul kv import`";
        Some(hint.to_owned())
    } else {
        None
    }
}

/// What is said of a data directory in which there is no store, and what to do.
pub(super) fn no_store_in(dir: &Path) -> (String, String) {
    let usual = "--data-dir names the directory that was given to `weir server` or `weir agent`";
    let shown = dir.display();
    if dir.is_file() {
        let has = |magic: &[u8]| begin(dir).is_some_and(|begin| begin.starts_with(magic));
        let hint = if has(b"weir-store ") {
            format!("a backup or an export stands by itself: `weir store check {shown}`")
        } else if has(STORE_MAGIC) {
            instead_of_archive(dir).unwrap_or_default()
        } else {
            usual.to_owned()
        };
        return (format!("{shown} is a file; expected a data directory"), hint);
    }
    if dir.is_dir() {
        return (format!("there is no store in {shown}: it has no {STORE_FILE}"), usual.to_owned());
    }
    (format!("there is no store: {shown} does not exist"), usual.to_owned())
}

fn begin(path: &Path) -> Option<Vec<u8>> {
    let mut begin = Vec::new();
    File::open(path).ok()?.take(BEGIN_BYTES).read_to_end(&mut begin).ok()?;
    Some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mixed_up_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut tar = [0; 512];
        tar[TAR_MARK].copy_from_slice(b"ustar");
        for (content, says) in [
            (&b"redb\x1a\x0a"[..], "--data-dir"),
            (b"weir store log 1", "it is the log of a store"),
            (&[0x1f, 0x8b, 8], "tar xzf"),
            (&[0x28, 0xb5, 0x2f, 0xfd, 0], "zstd -d"),
            (&tar, "tar xf"),
            (b" [{\"key\": \"a\"}]", "kv import"),
            (b"kind: Service\n", "weir apply -f"),
            (b"anything", ""),
            (b"", ""),
        ] {
            let path = dir.path().join("file");
            std::fs::write(&path, content).unwrap();
            let hint = instead_of_archive(&path).unwrap_or_default();
            assert!(hint.contains(says) && hint.is_empty() == says.is_empty(), "{says}: {hint}");
        }
        assert!(instead_of_archive(dir.path()).unwrap().contains("it is a directory"));
        std::fs::write(dir.path().join(STORE_FILE), "").unwrap();
        assert!(instead_of_archive(dir.path()).unwrap().contains("--data-dir /"));
        assert_eq!(instead_of_archive(&dir.path().join("none")), None);
    }

    #[test]
    fn a_data_directory_without_a_store_is_described() {
        let dir = tempfile::tempdir().unwrap();
        let said = |name: &str| no_store_in(&dir.path().join(name));
        assert!(said("none").0.contains("does not exist"));
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(said("empty").0.contains("it has no store.redb"));
        std::fs::write(dir.path().join("file"), "weir-store 1\n").unwrap();
        let (message, hint) = said("file");
        assert!(message.contains("is a file") && hint.contains("weir store check /"), "{message}: {hint}");
    }
}
