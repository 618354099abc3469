use std::sync::Arc;

use super::*;
use crate::snapshot::{Role, Settings};
use crate::source::Shared;
use crate::source::publish::tests::FakeSockets;

const GATEWAY: &str = "kind: Gateway
metadata: {name: edge}
spec:
  listeners: [{name: web, port: 8080, protocol: HTTP}]
";

fn route(service: &str) -> String {
    format!(
        "kind: HTTPRoute
metadata: {{name: shop}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
    - backendRefs:
        - name: {service}
---
kind: Service
metadata: {{name: cart}}
spec:
  endpoints: [{{address: 127.0.0.1, port: 9001}}]
"
    )
}

struct Never;

impl Hangup for Never {
    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

struct Fixture {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
    sockets: Arc<FakeSockets>,
}

impl Fixture {
    fn new() -> Self {
        let fixture =
            Self { directory: tempfile::tempdir().unwrap(), shared: Shared::new(), sockets: Arc::default() };
        fixture.write("gateway.yaml", GATEWAY);
        fixture.write("shop.yml", &route("cart"));
        fixture
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn source(&self, paths: &[&str]) -> FileSource {
        let role = Role::Gateway { gateways: vec![] };
        let publisher = Publisher::new(self.shared.clone(), self.sockets.clone(), role, Settings::default());
        let publisher = publisher.loopback_only(true);
        FileSource::new(paths.iter().map(|path| self.directory.path().join(path)).collect(), publisher)
    }

    fn rules(&self) -> Vec<String> {
        let snapshot = self.shared.snapshot.load();
        let listeners = snapshot.listeners.iter();
        listeners.flat_map(|l| l.routes.rules()).map(|rule| rule.label.to_string()).collect()
    }

    async fn refused(&self, paths: &[&str]) -> Vec<String> {
        let FileErrors { lines: errors, .. } = self.source(paths).start().await.unwrap_err();
        let prefix = format!("{}/", self.directory.path().display());
        errors.into_iter().map(|error| error.replace(&prefix, "")).collect()
    }
}

#[tokio::test]
async fn files_and_directories_are_one_set() {
    for paths in [&[""][..], &["gateway.yaml", "shop.yml"]] {
        let fixture = Fixture::new();
        fixture.write("notes.txt", "not: [a document");
        fixture.source(paths).start().await.unwrap();
        assert_eq!(fixture.rules(), ["HTTPRoute/shop#0"]);
        let position = fixture.shared.snapshot.load().position;
        assert_eq!(position, Position::new(0, 1));
    }
}

#[tokio::test]
async fn faults_have_file_line_field_and_suggestion() {
    let fixture = Fixture::new();
    let check = async |name: &str, text: &str, expected: &str| {
        fixture.write(name, text);
        let errors = fixture.refused(&[""]).await;
        assert!(errors.iter().any(|error| error == expected), "{errors:#?}\nexpected {expected}");
    };
    check(
        "shop.yml",
        &route("crat"),
        "shop.yml:7: HTTPRoute/shop spec.rules[0].backendRefs[0].name: there is no Service/crat; did you mean `cart`?",
    )
    .await;
    fixture.write("shop.yml", &route("cart"));
    check(
        "bytes.yaml",
        "kind: TCPRoute\nmetadata: {name: db}\nspec:\n  parentRefs: [{name: edge}]\n  rules:\n  - backendRefs: [{name: db}]\n",
        "bytes.yaml:6: TCPRoute/db spec.rules[0].backendRefs[0].name: there is no Service/db; expected the name of a \
         `Service` in these files",
    )
    .await;
    let copies = "      filters: [{type: RequestMirror, requestMirror: {backendRef: {name: crat}}}]\n---\n";
    fixture.write("bytes.yaml", "");
    check(
        "shop.yml",
        &route("cart").replacen("---\n", copies, 1),
        "shop.yml:8: HTTPRoute/shop spec.rules[0].filters[0].requestMirror.backendRef.name: there is no Service/crat; \
         did you mean `cart`?",
    )
    .await;
    fixture.write("shop.yml", &route("cart"));
    check(
        "gateway.yaml",
        &format!("{GATEWAY}  addresses: [{{value: 10.0.0.1}}]\n"),
        "gateway.yaml:5: Gateway/edge spec.addresses[0].value: others can reach 10.0.0.1 and listener `web` has no TLS: \
         start the proxy with --insecure, or use a loopback address",
    )
    .await;
    fixture.write("gateway.yaml", GATEWAY);
    assert_eq!(fixture.refused(&["none.yaml"]).await.len(), 1);
    let empty = tempfile::tempdir_in(fixture.directory.path()).unwrap();
    let name = empty.path().file_name().unwrap().to_str().unwrap();
    assert!(fixture.refused(&[name]).await[0].contains("no documents: expected files"));
}

#[tokio::test]
async fn a_change_is_put_in_force_and_a_fault_is_not() {
    let fixture = Fixture::new();
    let mut source = fixture.source(&[""]);
    source.start().await.unwrap();
    let mut in_force = fixture.shared.in_force();
    let following = tokio::spawn(async { source.follow(Never).await });
    let revision = async |in_force: &mut tokio::sync::watch::Receiver<_>, revision| {
        let reached = in_force.wait_for(|p: &Option<Position>| p.is_some_and(|p| p.revision == revision));
        tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap().unwrap();
    };

    fixture.write("shop.yml", &route("cart").replace("name: shop", "name: store"));
    revision(&mut in_force, 2).await;
    assert_eq!(fixture.rules(), ["HTTPRoute/store#0"]);

    fixture.write("shop.yml", "kind: HTTPRoute\nmetadata: {nam");
    let refused = async {
        while fixture.shared.status().error.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
    assert_eq!(fixture.rules(), ["HTTPRoute/store#0"]);
    assert_eq!(fixture.shared.status().refused_documents, 1);
    let shown = crate::Metrics::new(1).render(&fixture.shared, crate::MetricsFormat::Text);
    assert!(shown.contains("\nweir_proxy_rejected_resources 1\n"), "{shown}");
    fixture.write("shop.yml", &route("cart").replace("name: shop", "name: third"));
    revision(&mut in_force, 3).await;
    assert_eq!(fixture.rules(), ["HTTPRoute/third#0"]);
    let mended = async {
        while fixture.shared.status().refused_documents > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), mended).await.unwrap();
    assert_eq!(fixture.shared.status().kind, "file");
    following.abort();
}

#[tokio::test]
async fn the_same_content_is_not_loaded_twice() {
    let fixture = Fixture::new();
    let mut source = fixture.source(&[""]);
    source.start().await.unwrap();
    fixture.write("gateway.yaml", GATEWAY);
    assert!(!source.load(false).await.unwrap());
    assert!(source.load(true).await.unwrap(), "a hangup loads in any case");
    fixture.write("gateway.yaml", "nonsense");
    assert!(source.load(false).await.is_err());
    assert!(!source.load(false).await.unwrap(), "the same fault is reported once");
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_read() {
    let fixture = Fixture::new();
    let mut source = fixture.source(&[""]);
    source.start().await.unwrap();
    fixture.write("shop.yml", &route("cart").replace("name: shop", "name: half"));
    source.poll().await;
    assert_eq!(fixture.rules(), ["HTTPRoute/shop#0"], "it has only just changed");
    fixture.write("shop.yml", &route("cart").replace("name: shop", "name: full"));
    source.poll().await;
    assert_eq!(fixture.rules(), ["HTTPRoute/shop#0"], "and again");
    source.poll().await;
    assert_eq!(fixture.rules(), ["HTTPRoute/full#0"]);
}

#[test]
fn policies_for_services_that_no_document_states_are_doubted() {
    let text = "kind: Service\nmetadata: {name: cart}\nspec: {endpoints: [{address: 127.0.0.1, port: 9001}]}\n---\n\
                kind: RateLimit\nmetadata: {name: l}\nspec: {targetRefs: [{name: cat}, {name: cart}, {name: own}], rates: [{requests: 5}]}\n---\n\
                kind: TrafficPolicy\nmetadata: {name: p}\nspec: {targetRefs: [{kind: HTTPRoute, name: shop}], retry: {}}\n";
    let parsed = document::parse("test", text).unwrap();
    let own = ServiceRef::new("default", "own");
    let found = doubts(&parsed.documents, Some(&own));
    let found: Vec<String> = found.iter().map(|(id, hint)| format!("{id}: {hint}")).collect();
    assert_eq!(
        found,
        [
            "RateLimit/l: spec.targetRefs[0].name: service `cat` is neither declared nor registered yet; expected `cart`?",
            "TrafficPolicy/p: spec.targetRefs[0].name: there is no HTTPRoute/shop yet",
        ]
    );
}

#[test]
fn limits_that_nobody_shares_out_are_doubted() {
    let limit = |name: &str, more: &str| {
        format!(
            "---\nkind: RateLimit\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{{name: cart}}], rates: [{{requests: 1}}]{more}}}\n"
        )
    };
    let text = format!(
        "kind: Service\nmetadata: {{name: cart}}\n{}{}{}{}",
        limit("a", ""),
        limit("b", ", scope: global"),
        limit("c", ", scope: global, alone: open"),
        limit("d", ", scope: global, alone: closed"),
    );
    let parsed = document::parse("-", &text).unwrap();
    let found = doubts(&parsed.documents, None);
    let found: Vec<String> = found.iter().map(|(id, hint)| format!("{id}: {hint}")).collect();
    let said = "spec.scope: nobody shares it out without a control plane: this proxy";
    let instead = "expected `scope: process`, or a control plane";
    assert_eq!(
        found,
        [
            format!(
                "RateLimit/b: {said} takes itself for the only one, and admits as much as all together may; {instead}"
            ),
            format!("RateLimit/c: {said} limits nothing, as `alone: open` says; {instead}"),
            format!("RateLimit/d: {said} refuses every request, as `alone: closed` says; {instead}"),
        ]
    );
}
