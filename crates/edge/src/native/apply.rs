//! Changes of declared resources: apply, delete, roll back.

use std::sync::Arc;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use weir_api::native::{
    Applied, Change, Deleted, IgnoredField, Problem, SOURCES_TYPE, SourceText, Sources, Warning,
};
use weir_control::resources::{ApplyReport, ChangeKind, ChangeRequest};
use weir_control::{Control, Error};
use weir_model::document::{self, Document, Ignored, decode_as};
use weir_model::validate::Scope;
use weir_model::{DEFAULT_NAMESPACE, ResourceId};

use super::read::parse_kind;
use super::refusal::{Refusal, problem};
use super::{NativeApi, flag, known_parameters, ok, text, warnings};
use crate::http::{Request, Response};
use crate::mesh::Mesh;

impl NativeApi {
    /// `POST /apply`: one text, or several named ones; all of it is one change set.
    pub(super) async fn apply(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["dry_run", "source", "message"])?;
        let change = ChangeRequest { dry_run: flag(&request, "dry_run")?, ..change_by(&request) };
        Ok(ok(&apply(&self.control, Some(&self.mesh), &sources(&request)?, change).await?))
    }

    /// `POST /delete`: the resources that stand in these texts.
    pub(super) async fn delete_documents(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["source", "message"])?;
        let parsed = parse(&sources(&request)?)?;
        let mut ids: Vec<ResourceId> =
            parsed.documents.iter().map(|document| document.resource.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        self.delete(&request, ids).await
    }

    /// `DELETE /resources/KIND/NAME`.
    pub(super) async fn delete_resource(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "message"])?;
        let Some((kind, name)) = request.rest().split_once('/').filter(|(_, name)| !name.is_empty()) else {
            return Err(Refusal::bad("name", "the path names no resource", "/weir/v1/resources/KIND/NAME"));
        };
        let namespace = request.query.get_filled("namespace").unwrap_or(DEFAULT_NAMESPACE);
        let id = ResourceId::new(parse_kind(kind)?, namespace, name);
        self.delete(&request, vec![id]).await
    }

    async fn delete(&self, request: &Request, deletes: Vec<ResourceId>) -> Result<Response, Refusal> {
        let change = ChangeRequest { deletes, ..change_by(request) };
        let report = self.control.apply(&change).await?;
        Ok(ok(&Deleted {
            position: report.position,
            change_set: report.change_set.map(|set| set.number),
            deleted: report.changes.iter().map(|(id, _)| id.to_string()).collect(),
        }))
    }

    /// `POST /changes/NUMBER/rollback`.
    pub(super) async fn rollback(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["dry_run", "message"])?;
        let dry_run = flag(&request, "dry_run")?;
        let number = request.rest().strip_suffix("/rollback").and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number else {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                Problem::new("no such path").expected("/weir/v1/changes/NUMBER/rollback"),
            ));
        };
        let ChangeRequest { author, message, .. } = change_by(&request);
        let report = self.control.rollback(number, &author, &message, dry_run).await?;
        Ok(ok(&applied(report, dry_run, Vec::new(), Vec::new())))
    }
}

/// Applies texts as one change set, as `POST /apply` does: for the documents that a server is started with. It gives no
/// warnings, because nobody can have registered or connected yet.
///
/// # Errors
/// All that is wrong, in the form of the API; nothing is changed then.
pub async fn apply_sources(
    control: &Control,
    sources: &[SourceText],
    author: &str,
) -> Result<Applied, Vec<Problem>> {
    let change = ChangeRequest { author: author.to_owned(), ..ChangeRequest::default() };
    apply(control, None, sources, change).await.map_err(Refusal::into_problems)
}

async fn apply(
    control: &Control,
    mesh: Option<&Mesh>,
    sources: &[SourceText],
    change: ChangeRequest,
) -> Result<Applied, Refusal> {
    let parsed = parse(sources)?;
    document::check(&parsed.documents, Scope::Cluster)
        .map_err(|errors| Refusal::documents(errors.into_iter().map(problem).collect()))?;
    let dry_run = change.dry_run;
    let puts = parsed.documents.iter().map(|document| document.resource.clone()).collect();
    let change = ChangeRequest { puts, ..change };
    let report = control.apply(&change).await.map_err(|error| placed(error, &parsed.documents))?;
    let warnings = mesh.map_or_else(Vec::new, |mesh| warnings::about(control, mesh, &change.puts));
    Ok(applied(report, dry_run, parsed.ignored, warnings))
}

/// A change that says who makes it and why.
fn change_by(request: &Request) -> ChangeRequest {
    ChangeRequest {
        author: request.header("user-agent").unwrap_or("unknown").to_owned(),
        message: request.query.get("message").unwrap_or_default().to_owned(),
        ..ChangeRequest::default()
    }
}

/// The texts in a request's body.
fn sources(request: &Request) -> Result<Vec<SourceText>, Refusal> {
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let several =
        content_type.is_some_and(|kind| kind.split(';').next().unwrap_or("").trim() == SOURCES_TYPE);
    let sources = if several {
        let sources: Sources = decode_as("body", text(request)?)
            .map_err(|errors| Refusal::documents(errors.into_iter().map(problem).collect()))?;
        sources.sources
    } else {
        let text = text(request)?;
        let name = request.query.get_filled("source").unwrap_or("body");
        vec![SourceText { name: name.to_owned(), text: text.to_owned() }]
    };
    Ok(sources)
}

/// What texts hold.
struct ParsedSources {
    documents: Vec<Document>,
    ignored: Vec<IgnoredField>,
}

/// Reads all texts, and finds all that is wrong with their form.
fn parse(sources: &[SourceText]) -> Result<ParsedSources, Refusal> {
    let (mut parsed, mut problems) =
        (ParsedSources { documents: Vec::new(), ignored: Vec::new() }, Vec::new());
    for source in sources {
        match document::parse(&source.name, &source.text) {
            Ok(found) => {
                let within = |ignored: &Ignored, of: Option<&Document>| IgnoredField {
                    source: Some(source.name.clone()),
                    line: (ignored.line > 0).then_some(ignored.line),
                    path: match of {
                        Some(document) => format!("{} {}", document.resource.id(), ignored.path),
                        None => ignored.path.clone(),
                    },
                };
                parsed.ignored.extend(found.ignored.iter().map(|ignored| within(ignored, None)));
                for document in found.documents {
                    parsed.ignored.extend(document.ignored.iter().map(|i| within(i, Some(&document))));
                    parsed.documents.push(document);
                }
            }
            Err(errors) => problems.extend(errors.into_iter().map(problem)),
        }
    }
    if !problems.is_empty() {
        return Err(Refusal::documents(problems));
    }
    if parsed.documents.is_empty() && parsed.ignored.is_empty() {
        let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let message = format!(
            "no documents in {}",
            if names.is_empty() { "the body".to_owned() } else { names.join(", ") }
        );
        return Err(Refusal::bad("", message, "documents with kind, metadata and spec"));
    }
    Ok(parsed)
}

/// Gives problems that the whole set has the file and line of the document they are about.
fn placed(error: Error, documents: &[Document]) -> Refusal {
    let Error::Rejected { problems } = error else { return error.into() };
    let problems = problems
        .into_iter()
        .map(|found| {
            let document =
                documents.iter().find(|document| document.resource.id().to_string() == found.resource);
            let (source, line) = match document {
                Some(document) => {
                    let line = document.origin.locate(&found.path).line;
                    (Some(document.origin.source().to_owned()), (line > 0).then_some(line))
                }
                None => (None, None),
            };
            let path = format!("{} {}", found.resource, found.path);
            Problem { source, line, ..Problem::new(found.reason).at(path.trim_end()) }
        })
        .collect();
    Refusal::documents(problems)
}

fn applied(
    report: ApplyReport,
    dry_run: bool,
    ignored: Vec<IgnoredField>,
    warnings: Vec<Warning>,
) -> Applied {
    let changes = report
        .changes
        .into_iter()
        .map(|(id, kind)| {
            let change = match kind {
                ChangeKind::Created => Change::Created,
                ChangeKind::Updated => Change::Updated,
                ChangeKind::Unchanged => Change::Unchanged,
                ChangeKind::Deleted => Change::Deleted,
            };
            (id, change)
        })
        .collect();
    Applied {
        position: report.position,
        change_set: report.change_set.map(|set| set.number),
        dry_run,
        changes,
        ignored,
        warnings,
    }
}
