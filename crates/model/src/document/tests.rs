//! What people write, and what they are told.

use proptest::prelude::*;

use super::*;

mod all_faults;
mod leaves;
mod policies;
mod ranges;

fn errors(text: &str) -> Vec<String> {
    match parse("shop.yaml", text).and_then(|parsed| check(&parsed.documents, Scope::OneProxy)) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// The document is refused with exactly these errors, file name aside.
#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let found = errors(text);
    let found: Vec<&str> = found.iter().map(|e| e.strip_prefix("shop.yaml").unwrap()).collect();
    assert_eq!(found, expected, "for:\n{text}");
}

#[track_caller]
fn one(text: &str) -> Document {
    let mut parsed = parse("shop.yaml", text).unwrap_or_else(|e| panic!("{e:?} for:\n{text}"));
    assert_eq!(parsed.documents.len(), 1, "for:\n{text}");
    let document = parsed.documents.remove(0);
    assert_eq!(check(std::slice::from_ref(&document), Scope::OneProxy), Ok(()), "for:\n{text}");
    document
}

const ROUTE: &str = "\
kind: HTTPRoute
metadata: {name: cart}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs:
    - name: cart
";

/// The route above with more lines at the end, which begin at line 8.
fn route(more: &str) -> String {
    format!("{ROUTE}{more}")
}

const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: edge
spec:
  listeners:
  - name: http
    port: 8080
    protocol: HTTP
";

fn gateway(more: &str) -> String {
    format!("{GATEWAY}{more}")
}

#[test]
fn reads_several_documents() {
    let text = format!("# a shop\n---\n{GATEWAY}---\n---\n{ROUTE}...\n");
    let parsed = parse("shop.yaml", &text).unwrap();
    let found: Vec<(String, u32)> =
        parsed.documents.iter().map(|d| (d.resource.id().to_string(), d.line)).collect();
    assert_eq!(found, [("Gateway/edge".to_owned(), 3), ("HTTPRoute/cart".to_owned(), 14)]);
    assert!(parsed.ignored.is_empty());
    for nothing in ["", "# only a remark\n", "---\n---\n", "\u{feff}"] {
        assert_eq!(parse("-", nothing).unwrap().documents, [], "{nothing:?}");
    }
}

#[test]
fn a_manifest_from_kubernetes_is_read_as_it_is() {
    let document = one("\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata:
  name: store
  namespace: shop
  uid: 5c1bb2c2-8a3a-4b2e-9a8f-6a3d9b9f1c11
  resourceVersion: \"12345\"
  generation: 3
  creationTimestamp: \"2024-01-01T00:00:00Z\"
  managedFields: [{manager: kubectl}]
  labels:
    app.kubernetes.io/name: store
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {\"a\": 1}
spec:
  parentRefs:
  - group: gateway.networking.k8s.io
    kind: Gateway
    name: edge
    sectionName: http
  hostnames: [\"*.shop.example\", shop.example]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /cart}
      headers: [{type: Exact, name: X-Canary, value: \"yes\"}]
      queryParams: [{name: v, value: \"2\"}]
      method: GET
    filters: []
    backendRefs:
    - {group: \"\", kind: Service, name: cart-v1, port: 8080, weight: 90}
    - {name: cart-v2, port: 8080, weight: 10}
    timeouts: {request: 10s, backendRequest: 2s}
status:
  parents: []
");
    let ignored: Vec<(&str, u32)> = document.ignored.iter().map(|i| (i.path.as_str(), i.line)).collect();
    assert_eq!(
        ignored,
        [
            ("metadata.uid", 6),
            ("metadata.resourceVersion", 7),
            ("metadata.generation", 8),
            ("metadata.creationTimestamp", 9),
            ("metadata.managedFields", 10),
            ("status", 34),
        ]
    );
    assert_eq!(document.resource.metadata.labels["app.kubernetes.io/name"], "store");
    assert_eq!(document.resource.id().to_string(), "HTTPRoute/shop/store");
    assert_eq!(document.origin.locate("spec.rules[0].backendRefs[1].weight"), Place { line: 32, column: 35 });
    assert_eq!(document.origin.locate("metadata.labels[\"app.kubernetes.io/name\"]").line, 12);
    assert_eq!(document.origin.locate("spec.rules[0].nowhere[3].x").line, 24);
    assert_eq!(document.origin.locate("").line, 1);
}

#[test]
fn kinds_without_meaning_are_ignored_as_a_whole() {
    let parsed = parse(
        "x.yaml",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: weir}\nspec: {controllerName: x}\n",
    )
    .unwrap();
    assert!(parsed.documents.is_empty());
    assert_eq!(parsed.ignored[0].path, "GatewayClass/weir");
}

#[test]
fn a_list_is_its_items() {
    let parsed = parse(
        "x.yaml",
        "apiVersion: v1\nkind: List\nmetadata: {}\nitems:\n- kind: Service\n  metadata: {name: a}\n- kind: Service\n  metadata: {name: b}\n",
    )
    .unwrap();
    let lines: Vec<u32> = parsed.documents.iter().map(|document| document.line).collect();
    assert_eq!(lines, [5, 7]);
    refused("kind: List\nitems: 5\n", &[":2: List items: expected a list of documents"]);
}

#[test]
fn unknown_fields_are_all_named_with_a_suggestion() {
    refused(
        &route("    backendRef:\n    - name: x\n    timeout: 5s\n  hostname: [a]\nspeck: 1\n"),
        &[
            ":8: HTTPRoute/cart spec.rules[0].backendRef: unknown field; did you mean `backendRefs`?",
            ":10: HTTPRoute/cart spec.rules[0].timeout: unknown field; did you mean `timeouts`?",
            ":11: HTTPRoute/cart spec.hostname: unknown field; did you mean `hostnames`?",
            ":12: HTTPRoute/cart speck: unknown field; did you mean `spec`?",
        ],
    );
    refused(
        &route("      zzz: 1\n"),
        &[":8: HTTPRoute/cart spec.rules[0].backendRefs[0].zzz: unknown field; \
           expected one of `group`, `kind`, `name`, `namespace`, `port`, `weight`, `filters`"],
    );
    refused(
        "kind: Service\nmetadata: {name: a, \"no word\": 1}\n",
        &[
            ":2: Service/a metadata[\"no word\"]: unknown field; expected one of `name`, `namespace`, `labels`, `annotations`",
        ],
    );
    refused(
        "base: &base {protocol: http}\nkind: Service\nmetadata: {name: a}\nspec:\n  <<: *base\n",
        &[
            ":1: Service/a base: unknown field; expected one of `apiVersion`, `kind`, `metadata`, `spec`",
            ":5: Service/a spec[\"<<\"]: merge keys are not part of YAML 1.2; write the fields out, or use an alias for \
             the whole value; expected one of `protocol`, `metadata`, `check`, `endpoints`",
        ],
    );
}

#[test]
fn values_of_the_wrong_type_say_what_was_expected() {
    let weight = "HTTPRoute/cart spec.rules[0].backendRefs[0].weight";
    let integer = "was expected";
    for (value, found) in [
        ("\"1\"", "the string `1`"),
        ("1.5", "the number `1.5`"),
        ("-1", "the integer `-1`"),
        ("4294967296", "the integer `4294967296`"),
        (
            "99999999999999999999999999999999999999999999",
            "the number `100000000000000000000000000000000000000000000`",
        ),
        ("true", "the boolean `true`"),
        ("[1]", "a list"),
        ("{a: 1}", "a map"),
    ] {
        refused(
            &route(&format!("      weight: {value}\n")),
            &[&format!(":8: {weight}: {found} where an integer from 0 to 1000000 {integer}")],
        );
    }
    for whole in ["10.0", "1e1"] {
        let why = "the number `10` where an integer from 0 to 1000000 was expected (without a point or an exponent)";
        refused(&route(&format!("      weight: {whole}\n")), &[&format!(":8: {weight}: {why}")]);
    }
    refused(
        &gateway("    hostname: 5\n"),
        &[
            ":10: Gateway/edge spec.listeners[0].hostname: the integer `5` where a string was expected (put it in quotes)",
        ],
    );
    refused(
        "kind: Service\nmetadata: {name: a, labels: {v: 1.10}}\n",
        &[":2: Service/a metadata.labels.v: the number `1.1` where a string was expected (put it in quotes)"],
    );
    refused(
        "kind: Service\nmetadata: {name: a}\nspec:\n  endpoints:\n    address: x\n",
        &[":5: Service/a spec.endpoints: a map where a list was expected"],
    );
    refused(
        "kind: Service\nmetadata: a\nspec: []\n",
        &[
            ":2: Service metadata: the string `a` where a map of fields was expected",
            ":3: Service spec: a list where a map of fields was expected",
        ],
    );
    refused(
        &route("    timeouts: {request: 5}\n"),
        &[
            ":8: HTTPRoute/cart spec.rules[0].timeouts.request: the integer `5` where a duration such as `250ms`, `1.5s` or \
           `1m30s` was expected",
        ],
    );
    refused(
        &route("    timeouts: {request: 5 s}\n"),
        &[
            ":8: HTTPRoute/cart spec.rules[0].timeouts.request: `5 s` is not a duration: expected a number with a unit, such \
           as `250ms`, `1.5s` or `1m30s`",
        ],
    );
}

#[test]
fn missing_and_misspelt() {
    refused(
        "metadata: {name: a}\n",
        &[
            ":1: the field `kind` is missing; expected one of `Service`, `TrafficPolicy`, `RateLimit`, `Certificate`, `Gateway`, `ListenerPolicy`, `HTTPRoute`, `GRPCRoute`, `TLSRoute`, `TCPRoute`",
        ],
    );
    refused("kind: Service\n", &[":1: Service metadata: the field `name` is missing"]);
    refused("kind: Service\nmetadata: {name: ~}\n", &[":2: Service metadata: the field `name` is missing"]);
    refused(
        "kind: Gateway\nmetadata: {name: a}\n",
        &[":1: Gateway/a spec: the field `listeners` is missing"],
    );
    refused(
        "kind: HttpRoute\nmetadata: {name: a}\n",
        &[":1: HttpRoute/a kind: unknown kind `HttpRoute`; did you mean `HTTPRoute`?"],
    );
    refused(
        "kind: Deployment\nmetadata: {name: a}\n",
        &[
            ":1: Deployment/a kind: unknown kind `Deployment`; expected one of `Service`, `TrafficPolicy`, `RateLimit`, `Certificate`, `Gateway`, `ListenerPolicy`, `HTTPRoute`, `GRPCRoute`, `TLSRoute`, `TCPRoute`",
        ],
    );
    refused("kind: [1]\n", &[":1: kind: a list where the name of a kind was expected"]);
    refused(
        "just text\n",
        &[":1: the string `just text` where a document with `kind`, `metadata` and `spec` was expected"],
    );
    refused(
        "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: Gateway\nmetadata: {name: a}\n",
        &[
            ":1: Gateway/a apiVersion: `gateway.networking.k8s.io/v1alpha2` has no kind Gateway that Weir knows; expected one \
         of `gateway.networking.k8s.io/v1`, `gateway.networking.k8s.io/v1beta1`",
        ],
    );
    let service = errors("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}}\n");
    assert!(
        service[0].starts_with("shop.yaml:2: Service/a kind: this is Kubernetes' Service"),
        "{service:?}"
    );
    refused(
        &gateway("    tls: {mode: terminate}\n"),
        &[
            ":10: Gateway/edge spec.listeners[0].tls.mode: unknown value `terminate`; did you mean `Terminate`?",
        ],
    );
    refused(
        "kind: TrafficPolicy\nmetadata: {name: a}\nspec:\n  targetRefs: [{name: a}]\n  balance: {policy: round-robin}\n",
        &[
            ":5: TrafficPolicy/a spec.balance.policy: unknown value `round-robin`; did you mean `round_robin`?",
        ],
    );
}

#[test]
fn what_matters_and_is_not_there_yet_is_refused_not_dropped() {
    refused(
        &route("    retry: {attempts: 2}\n    sessionPersistence: {sessionName: a}\n"),
        &[
            ":8: HTTPRoute/cart spec.rules[0].retry: `retry` is not supported yet; retries are set by `retry` of a TrafficPolicy",
            ":9: HTTPRoute/cart spec.rules[0].sessionPersistence: `sessionPersistence` is not supported yet",
        ],
    );
    refused(
        &route("    filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP}}]\n"),
        &[
            ":8: HTTPRoute/cart spec.rules[0].filters[0].type: `ExternalAuth` is not supported yet",
            ":8: HTTPRoute/cart spec.rules[0].filters[0].externalAuth: `externalAuth` is not supported yet",
        ],
    );
    refused(
        &gateway("    allowedRoutes: {namespaces: {from: Selector, selector: {x: y}}}\n"),
        &[
            ":10: Gateway/edge spec.listeners[0].allowedRoutes.namespaces.from: `Selector` is not supported yet",
            ":10: Gateway/edge spec.listeners[0].allowedRoutes.namespaces.selector: `selector` is not supported yet",
        ],
    );
    refused(
        "kind: UDPRoute\nmetadata: {name: a}\n",
        &[":1: UDPRoute/a kind: the kind `UDPRoute` is not supported yet"],
    );
    let allowed = one(&gateway(
        "    allowedRoutes: {kinds: [{kind: GRPCRoute}], namespaces: {from: All}}\n  infrastructure: {labels: {a: b}}\n",
    ));
    assert_eq!(allowed.ignored.len(), 1, "{:?}", allowed.ignored);
}

#[test]
fn what_never_will_have_a_meaning_says_what_to_do_instead() {
    let found =
        errors(&route("    filters: [{type: ExtensionRef, extensionRef: {group: a.b, kind: C, name: d}}]\n"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with(
            "shop.yaml:8: HTTPRoute/cart spec.rules[0].filters[0].type: `ExtensionRef` has no meaning here: \
             Weir has no extensions to refer to: its filters are written in place"
        ),
        "{found:?}"
    );
    assert!(found[1].contains("filters[0].extensionRef: `extensionRef` has no meaning here"), "{found:?}");
    let found = errors(&gateway("  tls: {backend: {clientCertificateRef: {name: a}}}\n"));
    assert!(
        found[0].contains("spec.tls.backend: ") && found[0].contains("`tls.certificateRef`"),
        "{found:?}"
    );
}

#[test]
fn versions_that_kinds_have_had() {
    for (kind, versions) in [
        ("GRPCRoute", &["v1", "v1alpha2"][..]),
        ("TLSRoute", &["v1", "v1alpha3", "v1alpha2"]),
        ("TCPRoute", &["v1", "v1alpha2"]),
    ] {
        for version in versions {
            one(&format!(
                "apiVersion: gateway.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n  \
                 rules: [{{backendRefs: [{{name: a, port: 1}}]}}]\n"
            ));
        }
    }
    refused(
        "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: HTTPRoute\nmetadata: {name: a}\n",
        &[
            ":1: HTTPRoute/a apiVersion: `gateway.networking.k8s.io/v1alpha2` has no kind HTTPRoute that Weir knows; \
           expected one of `gateway.networking.k8s.io/v1`, `gateway.networking.k8s.io/v1beta1`",
        ],
    );
}

#[test]
fn filters_are_read_strictly() {
    refused(
        &route("    filters: [{type: Redirect}]\n"),
        &[":8: HTTPRoute/cart spec.rules[0].filters[0].type: unknown value `Redirect`; expected one of \
             `RequestHeaderModifier`, `ResponseHeaderModifier`, `RequestRedirect`, `URLRewrite`, `RequestMirror`, \
             `CORS`, `Fault`"],
    );
    refused(
        &route("    filters: [{type: URLRewrite, urlRewrite: {hostName: a}}]\n"),
        &[
            ":8: HTTPRoute/cart spec.rules[0].filters[0].urlRewrite.hostName: unknown field; did you mean `hostname`?",
        ],
    );
    refused(
        "kind: ListenerPolicy\nmetadata: {name: a}\nspec:\n  targetRefs: [{name: a}]\n  limits: {headBytes: 64KB}\n",
        &[
            ":5: ListenerPolicy/a spec.limits.headBytes: the string `64KB` where a size from 1KiB to 128KiB was expected",
        ],
    );
}

#[test]
fn broken_yaml_is_placed() {
    refused("kind: Service\nkind: Gateway\n", &[":2: the key `kind` is there twice"]);
    refused(
        "kind: Service\nmetadata: {name: a}\nspec: *nowhere\n",
        &[":3: not valid YAML: while parsing node, found unknown anchor"],
    );
    refused(
        "kind: Service\nspec: !secret x\n",
        &[":2: tags other than YAML's own (`!!str`, `!!int`, ...) have no meaning here"],
    );
    refused("kind: Service\n? [a]\n: b\n", &[":2: a key must be plain text, not a list, a map or an alias"]);
    refused("kind: Service\nmetadata:\n  name: a\0b\n", &[":3: a control character: is this a text file?"]);
    let tabs = errors("kind: Service\nmetadata:\n\tname: a\n");
    assert!(tabs[0].starts_with("shop.yaml:3: not valid YAML") && tabs[0].contains("tab"), "{tabs:?}");
    let open = errors("kind: Service\nmetadata: {name: \"a\n");
    assert!(open[0].contains("not valid YAML"), "{open:?}");
}

#[test]
fn hostile_text_costs_little() {
    let mut laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, last) in ('b'..='n').zip('a'..) {
        laughs.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{last}"); 9].join(",")));
    }
    let found = errors(&laughs);
    assert!(found[0].contains("values, aliases expanded"), "{found:?}");
    let long = "x".repeat(1 << 20);
    let repeated = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 100].join(","));
    assert!(errors(&repeated)[0].contains("bytes, aliases expanded"));
    for deep in [
        format!("kind: {}", "[".repeat(100_000)),
        format!("kind: {}", "{a: ".repeat(100_000)),
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
    ] {
        assert_eq!(errors(&deep).len(), 1);
    }
    let chain: String = (0..200)
        .map(|i| if i == 0 { "- &a0 [x]\n".to_owned() } else { format!("- &a{i} [*a{}]\n", i - 1) })
        .collect();
    assert!(errors(&chain)[0].contains("nested deeper"), "{:?}", errors(&chain));
    assert!(
        errors("a: &a [*a]\n")[0].contains("inside of what it names")
            || errors("a: &a [*a]\n")[0].contains("anchor")
    );
    let wide = "kind: Nothing\n---\n".repeat(5_000);
    assert_eq!(errors(&wide).len(), ERRORS_MAX);
}

#[test]
fn scalars_follow_yaml_1_2() {
    let read = |text: &str| match &read(&format!("- {text}\n")).unwrap()[0].value {
        node::Value::List(items) => items[0].value.clone(),
        other => panic!("{other:?}"),
    };
    use node::Value::{Bool, Float, Int, Null, String};
    let text = |text: &str| String(text.to_owned());
    for (written, value) in [
        ("~", Null),
        ("", Null),
        ("\"\"", text("")),
        ("true", Bool(true)),
        ("yes", text("yes")),
        ("on", text("on")),
        ("'true'", text("true")),
        ("0777", Int(777)),
        ("0o17", Int(15)),
        ("0x1F", Int(31)),
        ("-12", Int(-12)),
        ("+12", Int(12)),
        ("1e3", Float(1000.0)),
        (".5", Float(0.5)),
        ("-.inf", Float(f64::NEG_INFINITY)),
        ("1.2.3", text("1.2.3")),
        ("10.0.0.1", text("10.0.0.1")),
        ("12:30:00", text("12:30:00")),
        ("1_000", text("1_000")),
        ("2024-01-01", text("2024-01-01")),
        ("+", text("+")),
        (".", text(".")),
        ("e5", text("e5")),
        ("!!str 5", text("5")),
        ("! 5", text("5")),
        ("!!float 5", Float(5.0)),
    ] {
        assert_eq!(read(written), value, "{written}");
    }
    assert!(matches!(read(".nan"), Float(nan) if nan.is_nan()));
    assert!(super::read("- !!int x\n").is_err());
}

#[test]
fn json_is_read_with_its_own_rules() {
    let document = one(
        "{\n\t\"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"a\", \"labels\": {\"x\": \"\\ud83d\\ude00\\/\\n\"}},\n\t\"spec\": {\"protocol\": \"http2\"}\n}\n",
    );
    assert_eq!(document.resource.metadata.labels["x"], "\u{1f600}/\n");
    let check = |text: &str, expected: &str| {
        let found = errors(text);
        assert!(found[0].starts_with(&format!("shop.yaml:{expected}")), "{found:?}, wanted {expected}");
    };
    check("{\n\"kind\": \"Service\",\n\"kind\": \"Service\"}", "3: the key `kind` is there twice");
    check(
        "{\"kind\": \"Service\", \"metadata\": {\"name\": 5}}",
        "1: Service metadata.name: the integer `5`",
    );
    check("{\"kind\": \"\\ud800\"}", "1: not valid JSON: an unknown escape");
    check("{\n\"kind\" \"Service\"}", "2: not valid JSON: expected `:`");
    check("[1, 2", "1: not valid JSON: expected `,` or `]`");
    check("[{\"kind\": \"Service\"}]", "1: a list where a document");
    // Columns count characters, on one line and after line breaks.
    let document = one(
        "{\"kind\": \"Service\", \"metadata\": {\"labels\": {\"\u{e4}\": \"\u{1f600}\"},\n \"name\": \"a\"}, \"spec\": {}}",
    );
    assert_eq!(document.origin.locate("metadata.labels"), Place { line: 1, column: 34 });
    assert_eq!(document.origin.locate("metadata.name"), Place { line: 2, column: 2 });
    assert_eq!(document.origin.locate("spec"), Place { line: 2, column: 16 });
    // YAML's flow style is still YAML.
    one("{kind: Service, metadata: {name: a}, spec: {protocol: tcp,},}\n");
}

#[test]
fn null_is_absent() {
    let document = one(
        "kind: Service\napiVersion: ~\nmetadata: {name: a, namespace: , labels: }\nspec: {protocol: , endpoints: ~}\n",
    );
    assert_eq!(document.resource.metadata.namespace, "default");
    one("kind: Service\nmetadata: {name: a}\nspec:\n");
}

#[test]
fn errors_are_data_too() {
    let errors = parse("a.yaml", &route("    timeout: 5s\n")).unwrap_err();
    assert_eq!(
        serde_json::to_value(&errors[0]).unwrap(),
        serde_json::json!({
            "source": "a.yaml", "line": 8, "column": 5, "resource": "HTTPRoute/cart", "path": "spec.rules[0].timeout",
            "message": "unknown field", "expected": "one of `name`, `matches`, `filters`, `backendRefs`, `timeouts`",
            "suggestion": "timeouts"
        })
    );
}

#[test]
fn any_type_can_be_read() {
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "kebab-case")]
    struct Settings {
        data_dir: Option<std::path::PathBuf>,
        http: Option<std::net::SocketAddr>,
        ratio: f64,
        log: Log,
    }
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Log {
        json: bool,
    }
    let read = |text: &str| decode_as::<Settings>("weir.yaml", text).map_err(|errors| errors[0].to_string());
    assert_eq!(read("# nothing\n"), Ok(Settings::default()));
    let all = "data-dir: /var/lib/weir\nhttp: 127.0.0.1:8500\nratio: 1\nlog: {json: true}\n";
    let expected = Settings {
        data_dir: Some("/var/lib/weir".into()),
        http: Some(([127, 0, 0, 1], 8500).into()),
        ratio: 1.0,
        log: Log { json: true },
    };
    assert_eq!(read(all), Ok(expected));
    let refused = |text: &str, expected: &str| assert_eq!(read(text), Err(expected.to_owned()));
    refused("\ndata_dir: x\n", "weir.yaml:2: data_dir: unknown field; did you mean `data-dir`?");
    refused("log:\n  json: yes\n", "weir.yaml:2: log.json: the string `yes` where a boolean was expected");
    refused("http: 8500\n", "weir.yaml:1: http: the integer `8500` where socket address was expected");
    refused("log: {}\n---\nlog: {}\n", "weir.yaml:3: a second document, where one was expected");
    refused("- 1\n", "weir.yaml:1: a list where a map of fields was expected");
}

#[test]
fn variants_with_data_keep_lines_paths_and_strictness() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Arrivals {
        None,
        Poisson { rate: f64 },
        Trace(Vec<u64>),
        Between(u32, u32),
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct World {
        arrivals: Arrivals,
    }
    let read = |text: &str| decode_as::<World>("w.yaml", text).map_err(|errors| errors[0].to_string());
    let same = |text: &str, arrivals| assert_eq!(read(text), Ok(World { arrivals }), "{text}");
    same("arrivals: none\n", Arrivals::None);
    same("arrivals: {none: }\n", Arrivals::None);
    same("arrivals: {poisson: {rate: 3}}\n", Arrivals::Poisson { rate: 3.0 });
    same("arrivals: {trace: [1, 2]}\n", Arrivals::Trace(vec![1, 2]));
    same("arrivals: {between: [1, 2]}\n", Arrivals::Between(1, 2));
    let refused = |text: &str, expected: &str| assert_eq!(read(text), Err(expected.to_owned()), "{text}");
    refused(
        "arrivals:\n  poisson:\n    rates: 3\n",
        "w.yaml:3: arrivals.poisson.rates: unknown field; did you mean `rate`?",
    );
    refused(
        "arrivals:\n  poison: {rate: 3}\n",
        "w.yaml:2: arrivals.poison: unknown value `poison`; did you mean `poisson`?",
    );
    refused(
        "arrivals:\n  poisson: {rate: fast}\n",
        "w.yaml:2: arrivals.poisson.rate: the string `fast` where a number was expected",
    );
    refused(
        "arrivals:\n  trace: [1, x]\n",
        "w.yaml:2: arrivals.trace[1]: the string `x` where an integer from 0 to 18446744073709551615 was expected",
    );
    refused("arrivals: {none: 5}\n", "w.yaml:1: arrivals.none: the integer `5` where nothing was expected");
    refused(
        "arrivals: {none: , trace: []}\n",
        "w.yaml:1: arrivals: `none` and `trace` together, where one of `none`, `poisson`, `trace`, `between` was expected",
    );
    assert!(read("arrivals: poisson\n").is_err_and(|error| error.starts_with("w.yaml:1: arrivals: ")));
}

#[test]
fn what_was_read_finds_its_lines_again() {
    #[derive(Debug, Deserialize)]
    struct World {
        steps: Vec<Vec<u64>>,
    }
    let (world, origin) = decode_located::<World>("w.yaml", "steps:\n- [1]\n-\n  - 2\n  - 3\n").unwrap();
    assert_eq!(world.steps, [vec![1], vec![2, 3]]);
    let fault = FieldError::new("steps[1][1]", "3 is odd").expected("an even number");
    assert_eq!(origin.error(&fault).to_string(), "w.yaml:5: steps[1][1]: 3 is odd; expected an even number");
}

#[test]
fn later_faults_get_their_lines() {
    refused(
        &format!("{GATEWAY}---\n{}", ROUTE.replace("name: cart\n", "name: cart\n      weight: 2000000\n")),
        &[
            ":18: HTTPRoute/cart spec.rules[0].backendRefs[0].weight: the weight 2000000 is too large; expected 0 to 1000000",
        ],
    );
    refused(
        &format!("{ROUTE}---\n{ROUTE}"),
        &[":10: HTTPRoute/cart metadata.name: HTTPRoute/cart is there twice; expected each resource once"],
    );
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let words = prop::sample::select(vec![
        "kind",
        "Gateway",
        "HTTPRoute",
        "Service",
        "TrafficPolicy",
        "Certificate",
        "RateLimit",
        "rates",
        "requests",
        "algorithm",
        "breakers",
        "balance",
        "key",
        "metadata",
        "name",
        "namespace",
        "spec",
        "rules",
        "matches",
        "path",
        "type",
        "value",
        "backendRefs",
        "weight",
        "listeners",
        "port",
        "protocol",
        "HTTP",
        "labels",
        "targetRefs",
        "timeouts",
        "request",
        "5s",
        "/",
        "a",
        "List",
        "items",
        "status",
        "filters",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let word = words.clone().prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word, inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_panics(text in "[-{}\\[\\]:,\"'&*!|>%@#?~ \\n\\ta-c0-9.\\\\\u{e4}\u{1f600}]{0,80}") {
        let _ = errors(&text);
        let _ = errors(&format!("kind: Service\nmetadata: {text}\n"));
        let _ = errors(&format!("{{\"kind\": {text}"));
    }

    #[test]
    fn no_tree_panics_and_json_agrees_with_yaml(kind in "Gateway|HTTPRoute|Service|TrafficPolicy|RateLimit|Certificate", tree in tree(), spec in tree()) {
        let document = serde_json::json!({"kind": kind, "metadata": {"name": "a", "labels": tree}, "spec": spec});
        let _ = errors(&document.to_string());
        let text = document.to_string();
        let (as_json, as_yaml) = (json::read(&text), yaml::read(&format!("---\n{text}")));
        if let (Ok(as_json), Ok(as_yaml)) = (&as_json, &as_yaml) {
            prop_assert_eq!(plain(as_json), plain(&as_yaml[0]));
        }
        prop_assert!(as_json.is_ok());
    }
}

/// A tree without its places.
fn plain(node: &Node) -> String {
    match &node.value {
        node::Value::List(items) => format!("{:?}", items.iter().map(plain).collect::<Vec<_>>()),
        node::Value::Map(entries) => {
            format!("{:?}", entries.iter().map(|e| (e.key.clone(), plain(&e.node))).collect::<Vec<_>>())
        }
        node::Value::Int(n) => format!("{}", *n as f64),
        node::Value::Float(n) => format!("{n}"),
        other => format!("{other:?}"),
    }
}
