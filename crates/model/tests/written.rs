//! What is written for people to copy must be right: the documents in `docs/documents.md` and under `examples/`.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use weir_model::document::{self, Document};
use weir_model::resource::{Spec, TrafficPolicySpec};
use weir_model::validate::{Scope, hints, validate, validate_spec};
use weir_model::{Kind, Resource};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The indented blocks of a page that are documents, each with the line on which it begins.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in page.lines().enumerate() {
        match line.strip_prefix("    ") {
            Some(code) if open => {
                let (_, block) = blocks.last_mut().unwrap();
                block.push_str(code);
                block.push('\n');
            }
            Some(code) => {
                open = true;
                blocks.push((number + 1, format!("{code}\n")));
            }
            None => open = false,
        }
    }
    blocks
}

fn is_document(block: &str) -> bool {
    block.starts_with("apiVersion:") || block.starts_with("kind:")
}

/// A part of a document, which may say what documents cannot say yet.
#[derive(Debug, serde::Deserialize)]
struct Part {
    spec: Box<TrafficPolicySpec>,
}

#[test]
fn the_page_about_documents_shows_documents_that_are_right() {
    let page = std::fs::read_to_string(root().join("docs/documents.md")).unwrap();
    let blocks = blocks(&page);
    let mut shown = Vec::new();
    let parts = blocks.iter().filter(|(_, block)| block.starts_with("spec:"));
    let mut policies = 0;
    for (line, block) in parts {
        let part = document::decode_as::<Part>("documents.md", block);
        let Part { spec } = part.unwrap_or_else(|e| panic!("line {line}: {e:?}"));
        assert_eq!(validate_spec(&Spec::TrafficPolicy(spec)), [], "documents.md, line {line}");
        policies += 1;
    }
    assert!(policies > 2, "documents.md shows no parts of policies");
    for (line, block) in blocks.iter().filter(|(_, block)| is_document(block)) {
        let parsed = document::parse("documents.md", block).unwrap_or_else(|e| panic!("line {line}: {e:?}"));
        for Document { resource, .. } in &parsed.documents {
            assert_eq!(validate(resource), [], "documents.md, line {line}");
            shown.push(resource.kind());
        }
    }
    for kind in Kind::ALL {
        assert!(shown.contains(&kind), "documents.md shows no {kind}");
        assert!(page.contains(&format!("\n## {kind}\n")), "documents.md has no part about {kind}");
    }
}

fn examples(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            examples(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_example_is_right() {
    let root = root().join("examples");
    let mut files = Vec::new();
    examples(&root, &mut files);
    files.sort();
    let mut checked = 0;
    for path in files {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        // A server's settings, and rules for other programs, are no documents of Weir's.
        if !text.lines().any(|line| line.starts_with("kind: ") || line.starts_with("apiVersion: ")) {
            continue;
        }
        let parsed = document::parse(&name, &text).unwrap_or_else(|errors| panic!("{errors:?}"));
        document::check(&parsed.documents, Scope::OneProxy).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(parsed.ignored, [], "{name}");
        // Those for one proxy alone stand on their own: nothing in them leads nowhere.
        if name.starts_with("gateway/") || name.starts_with("static/") {
            let resources: Vec<&Resource> = parsed.documents.iter().map(|d| &d.resource).collect();
            let found = hints(resources.iter().copied(), resources.iter().copied(), |_| false);
            assert_eq!(found, [], "{name}");
        }
        checked += 1;
    }
    assert!(checked >= 8, "only {checked} examples were found");
}
