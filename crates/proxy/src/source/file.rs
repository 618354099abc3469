//! Static mode: a data plane from files alone.
//!
//! The files are one set, watched by what the file system says of them; SIGHUP makes them be read in any case. A set
//! that cannot be used is refused with file, line, field and what was expected, once; the one before it stays in force.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use weir_model::document::node::DOCUMENT_BYTES_MAX;
use weir_model::document::{self, Document, DocumentError, nearest};
use weir_model::resource::rate_limit::{LimitScope, WhenAlone};
use weir_model::validate::{FieldError, Scope, hints};
use weir_model::{Kind, Position, ResourceId, ServiceRef, Spec};

use super::certificates;
use super::names::REFRESH_EVERY;
use super::publish::Publisher;
use crate::snapshot::{Inputs, Rejection};

/// How often the files are looked at.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// The most files that make up a set; a directory with more is surely not the one that was meant.
const FILES_MAX: usize = 10_000;
/// Most hints that are logged about one state of the files.
const HINTS_MAX: usize = 100;
/// The largest file that is read, as `weir_model` reads no larger text.
const FILE_BYTES_MAX: u64 = DOCUMENT_BYTES_MAX as u64;
/// What files in a directory are taken for documents.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Everything wrong with a set of files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .lines.join("\n"))]
pub struct FileErrors {
    /// One line each.
    pub lines: Vec<String>,
    /// The documents that something is wrong with; a file that cannot be read counts as one.
    pub documents: usize,
}

impl FileErrors {
    /// What keeps files from being read at all.
    fn unread(lines: Vec<String>) -> Self {
        Self { documents: lines.len(), lines }
    }

    fn of(errors: &[DocumentError]) -> Self {
        let documents: BTreeSet<_> = errors.iter().map(|error| (&error.source, &error.resource)).collect();
        Self { lines: errors.iter().map(ToString::to_string).collect(), documents: documents.len() }
    }
}

/// Somebody's wish that the files be read now.
pub(super) trait Hangup {
    /// Waits for the next one.
    fn next(&mut self) -> impl Future<Output = ()>;
}

/// What the file system says of a file; changes when the file does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    path: PathBuf,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Snapshots from files.
pub(super) struct FileSource {
    paths: Vec<PathBuf>,
    publisher: Publisher,
    loads: u64,
    /// What the files looked like when they were last read.
    read: Vec<Mark>,
    /// What they looked like at the last poll: they are read once they have stopped changing.
    seen: Vec<Mark>,
    content: u64,
}

impl FileSource {
    /// A source over files and directories, none of them read yet.
    pub(super) fn new(paths: Vec<PathBuf>, publisher: Publisher) -> Self {
        publisher.shared().set_status(|status| status.kind = "file");
        Self { paths, publisher, loads: 0, read: Vec::new(), seen: Vec::new(), content: 0 }
    }

    /// Reads the files for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) async fn start(&mut self) -> Result<(), FileErrors> {
        self.read = marks(&self.paths);
        self.seen.clone_from(&self.read);
        self.load(true).await.map(drop)
    }

    /// Follows the files for ever; also reads them, whatever they look like, whenever there is a hangup.
    pub(super) async fn follow(mut self, mut hangup: impl Hangup) {
        let mut poll = tokio::time::interval(POLL_EVERY);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut certificates = tokio::time::interval(certificates::POLL_EVERY);
        certificates.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(self.publisher.shared());
        loop {
            tokio::select! {
                _ = poll.tick() => self.poll().await,
                _ = refresh.tick() => self.publisher.refresh_names().await,
                _ = certificates.tick() => self.poll_certificates().await,
                () = shared.checks.changed() => self.publisher.refresh_verdicts(),
                () = hangup.next() => {
                    tracing::info!("reading the files again, as told by SIGHUP");
                    self.reload(true).await;
                }
            }
        }
    }

    /// Reads the files if they have changed and look the same as at the last poll: an editor may be in the middle of
    /// writing, and half a file may well be a valid one.
    async fn poll(&mut self) {
        let now = marks(&self.paths);
        let settled = now == self.seen;
        let changed = now != self.read;
        self.seen = now;
        if changed && settled {
            self.read.clone_from(&self.seen);
            self.reload(false).await;
        }
    }

    /// Looks at the files of certificates. Documents that were refused may have been so because of one.
    async fn poll_certificates(&mut self) {
        if self.publisher.poll_certificates() && self.publisher.shared().status().error.is_some() {
            self.reload(true).await;
        }
    }

    async fn reload(&mut self, forced: bool) {
        let result = self.load(forced).await;
        match &result {
            Ok(false) => return,
            Ok(true) => tracing::info!(revision = self.loads, "the files have changed and are in force"),
            Err(FileErrors { lines, .. }) => {
                for error in lines {
                    tracing::error!("{error}");
                }
                self.publisher.shared().count_refused();
                let position = self.publisher.in_force().position;
                tracing::error!("the files were refused; revision {} stays in force", position.revision);
            }
        }
        let (error, refused) = match result {
            Ok(_) => (None, 0),
            Err(errors) => (Some(errors.to_string()), errors.documents),
        };
        self.publisher.shared().set_status(|status| {
            status.error = error;
            status.refused_documents = refused;
        });
    }

    /// Reads the files and puts them in force. `Ok(false)`: they say what they said before.
    async fn load(&mut self, forced: bool) -> Result<bool, FileErrors> {
        let texts = read_all(&self.paths)?;
        let mut hasher = DefaultHasher::new();
        texts.hash(&mut hasher);
        let content = hasher.finish();
        if content == self.content && !forced {
            return Ok(false);
        }
        // Also when it is refused: the same fault is reported once.
        self.content = content;
        let documents = parse(&texts, self.publisher.own_service())?;
        let position = Position::new(0, self.loads + 1);
        let resources = documents.iter().map(|document| document.resource.clone());
        let inputs = Inputs::of_resources(position, resources);
        self.publisher.resolve(&inputs).await;
        self.publisher.whole(&inputs).map_err(|rejections| {
            let errors: Vec<_> = rejections.iter().map(|rejection| place(rejection, &documents)).collect();
            FileErrors::of(&errors)
        })?;
        self.loads += 1;
        Ok(true)
    }
}

/// A rejection with the file and line of the field it is about.
fn place(rejection: &Rejection, documents: &[Document]) -> DocumentError {
    let fault = FieldError::new(&*rejection.path, &*rejection.reason);
    match documents.iter().find(|document| document.resource.id() == rejection.resource) {
        Some(document) => document.error(&fault),
        None => DocumentError {
            resource: Some(rejection.resource.to_string()),
            path: fault.path,
            message: fault.message,
            ..DocumentError::default()
        },
    }
}

/// Reads texts into one set of documents and judges it. `own` is the service that the proxy itself stands before.
fn parse(texts: &[(PathBuf, String)], own: Option<&ServiceRef>) -> Result<Vec<Document>, FileErrors> {
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    for (path, text) in texts {
        match document::parse(&path.to_string_lossy(), text) {
            Ok(parsed) => {
                for ignored in parsed.ignored {
                    let file = path.display();
                    tracing::info!(
                        "{file}:{}: {} has no meaning here: {}",
                        ignored.line,
                        ignored.path,
                        ignored.why
                    );
                }
                documents.extend(parsed.documents);
            }
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() {
        errors.extend(document::check(&documents, Scope::OneProxy).err().into_iter().flatten());
        errors.extend(unknown_services(&documents));
    }
    if !errors.is_empty() {
        return Err(FileErrors::of(&errors));
    }
    for (id, hint) in doubts(&documents, own).iter().take(HINTS_MAX) {
        tracing::warn!("{id}: {hint}");
    }
    for document in &documents {
        for ignored in &document.ignored {
            let file = document.origin.source();
            tracing::info!("{file}:{}: {} has no meaning here: {}", ignored.line, ignored.path, ignored.why);
        }
    }
    Ok(documents)
}

/// What is right in itself and does nothing. Nothing registers here, so a service that no document states is not there.
fn doubts(documents: &[Document], own: Option<&ServiceRef>) -> Vec<(ResourceId, FieldError)> {
    let resources = || documents.iter().map(|document| &document.resource);
    let mut doubts = hints(resources(), resources(), |service| own == Some(service));
    doubts.extend(resources().filter_map(|resource| Some((resource.id(), unshared(&resource.spec)?))));
    doubts
}

/// What comes of a limit that proxies share where there is no control plane to divide it.
fn unshared(spec: &Spec) -> Option<FieldError> {
    let Spec::RateLimit(limit) = spec else { return None };
    if limit.scope != LimitScope::Global {
        return None;
    }
    let comes = match limit.alone.unwrap_or_default() {
        WhenAlone::Share => {
            "this proxy takes itself for the only one, and admits as much as all together may"
        }
        WhenAlone::Open => "this proxy limits nothing, as `alone: open` says",
        WhenAlone::Closed => "this proxy refuses every request, as `alone: closed` says",
    };
    let message = format!("nobody shares it out without a control plane: {comes}");
    Some(FieldError::new("spec.scope", message).expected("`scope: process`, or a control plane"))
}

/// Routes to services that no document states. With a control plane a service may register later; in static mode
/// nothing can, so such a name is a mistake.
fn unknown_services(documents: &[Document]) -> Vec<DocumentError> {
    let services: BTreeSet<ResourceId> = documents
        .iter()
        .map(|document| document.resource.id())
        .filter(|id| id.kind == Kind::Service)
        .collect();
    let mut errors = Vec::new();
    for document in documents {
        for backend in document.resource.spec.backends() {
            let namespace = backend.namespace.unwrap_or(&document.resource.metadata.namespace);
            let id = ResourceId::new(Kind::Service, namespace, backend.name);
            if services.contains(&id) || backend.kind.is_some_and(|kind| kind != "Service") {
                continue;
            }
            let fault = FieldError::new(format!("{}.name", backend.place), format!("there is no {id}"));
            let names: Vec<&str> =
                services.iter().filter(|s| s.namespace == *namespace).map(|s| &*s.name).collect();
            let mut error = document.error(&fault.expected("the name of a `Service` in these files"));
            error.suggestion = nearest(backend.name, names).map(str::to_owned);
            errors.push(error);
        }
    }
    errors
}

/// The files that paths stand for: themselves, or the documents in a directory by name.
fn expand(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(path)?.take(FILES_MAX + 1) {
            let entry = entry?.path();
            let known = entry.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e));
            if known && entry.is_file() {
                inside.push(entry);
            }
        }
        inside.sort();
        files.extend(inside);
    }
    if files.len() > FILES_MAX {
        return Err(io::Error::other(format!("more than {FILES_MAX} files")));
    }
    Ok(files)
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<(PathBuf, String)>, FileErrors> {
    let files = expand(paths).map_err(|error| FileErrors::unread(vec![error.to_string()]))?;
    if files.is_empty() {
        let shown: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(FileErrors::unread(vec![format!(
            "{}: no documents: expected files that end in .yaml, .yml or .json",
            shown.join(", ")
        )]));
    }
    let mut texts = Vec::new();
    let mut errors = Vec::new();
    for file in files {
        match read(&file) {
            Ok(text) => texts.push((file, text)),
            Err(error) => errors.push(format!("{}: {error}", file.display())),
        }
    }
    if errors.is_empty() { Ok(texts) } else { Err(FileErrors::unread(errors)) }
}

fn read(path: &Path) -> io::Result<String> {
    let size = fs::metadata(path)?.len();
    if size > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("{size} bytes: expected at most {FILE_BYTES_MAX}")));
    }
    fs::read_to_string(path)
}

/// What the file system says of the files now. One that cannot be looked at has no mark, which is a change as well.
fn marks(paths: &[PathBuf]) -> Vec<Mark> {
    let files = expand(paths).unwrap_or_default();
    let mark = |path: PathBuf| {
        let data = fs::metadata(&path).ok()?;
        let modified = (data.mtime(), data.mtime_nsec());
        let changed = (data.ctime(), data.ctime_nsec());
        Some(Mark { path, inode: data.ino(), size: data.size(), modified, changed })
    };
    files.into_iter().filter_map(mark).collect()
}

#[cfg(test)]
mod tests;
