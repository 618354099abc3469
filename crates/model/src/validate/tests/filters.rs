//! Filters that are well formed and still wrong.

use super::*;

/// The faults of a rule's filters, by path below `filters[0]`'s settings unless told otherwise.
#[track_caller]
fn filter(filter: &str, expected: &[&str]) {
    in_rule(&format!("filters: [{{{filter}}}]"), expected);
}

#[track_caller]
fn in_rule(rule: &str, expected: &[&str]) {
    let found: Vec<String> = faults("HTTPRoute", &format!("rules: [{{{rule}}}]"))
        .into_iter()
        .map(|fault| fault.strip_prefix("spec.rules[0].").unwrap().to_owned())
        .collect();
    assert_eq!(found, expected, "for {rule}");
}

#[test]
fn settings_belong_to_their_type() {
    filter("type: CORS", &["filters[0].cors: its settings are missing; expected `cors`"]);
    filter(
        "type: RequestHeaderModifier, responseHeaderModifier: {remove: [a]}",
        &[
            "filters[0].responseHeaderModifier: it does not belong to a RequestHeaderModifier; \
             expected `type: ResponseHeaderModifier`",
            "filters[0].requestHeaderModifier: its settings are missing; expected `requestHeaderModifier`",
        ],
    );
}

#[test]
fn header_fields_that_may_be_changed() {
    let modifier = |settings: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|fault| format!("filters[0].requestHeaderModifier{fault}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        filter(&format!("type: RequestHeaderModifier, requestHeaderModifier: {{{settings}}}"), &expected);
    };
    modifier("set: [{name: X-A, value: b}], add: [{name: x-b, value: \"\"}], remove: [x-c]", &[]);
    modifier("", &[": it changes nothing; expected `set`, `add` or `remove`"]);
    modifier(
        "set: [{name: Host, value: b}]",
        &[".set[0].name: `Host` cannot be changed; expected a URLRewrite with `hostname`"],
    );
    for name in ["Content-Length", "transfer_encoding", "Connection", "TE", "upgrade", "X-Weir-Reason"] {
        modifier(
            &format!("remove: [{name}]"),
            &[&format!(
                ".remove[0]: `{name}` cannot be changed; expected a field that is not the connection's"
            )],
        );
    }
    modifier(
        "set: [{name: X-A, value: b}], remove: [x-a]",
        &[".remove[0]: `x-a` is there twice; expected each name once"],
    );
    modifier(
        "add: [{name: a b, value: \"c\\nd\"}]",
        &[
            ".add[0].value: not a value of a header field; expected at most 4096 bytes, no control characters",
            ".add[0].name: `a b` is not a token; expected letters, digits and any of !#$%&'*+-.^_`|~",
        ],
    );
    modifier(
        "add: [{name: a, value: \" b\"}]",
        &[".add[0].value: space at an end would be lost; expected a value without space at its ends"],
    );
}

#[test]
fn redirects_and_rewrites() {
    filter("type: RequestRedirect, requestRedirect: {}", &[]);
    filter("type: RequestRedirect, requestRedirect: {scheme: https, port: 8443, statusCode: 307}", &[]);
    filter(
        "type: RequestRedirect, requestRedirect: {hostname: \"*.a\", port: 0, statusCode: 200}",
        &[
            "filters[0].requestRedirect.hostname: a request goes to one host, not to many; \
             expected a host name without `*`",
            "filters[0].requestRedirect.port: port 0 cannot be used; expected a port from 1 to 65535",
            "filters[0].requestRedirect.statusCode: 200 is no redirect to follow; expected 301, 302, 303, 307 or 308",
        ],
    );
    in_rule(
        "filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a}]",
        &["filters[0]: what is redirected goes to no service; expected a rule without `backendRefs`"],
    );
    in_rule(
        "filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {hostname: a}}]",
        &["filters[1].type: a request is redirected or rewritten, not both; expected one of them"],
    );
    filter(
        "type: URLRewrite, urlRewrite: {}",
        &["filters[0].urlRewrite: it changes nothing; expected `hostname` or `path`"],
    );
    let path = |path: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|fault| format!("filters[0].urlRewrite.path{fault}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        filter(&format!("type: URLRewrite, urlRewrite: {{path: {{{path}}}}}"), &expected);
    };
    path("type: ReplacePrefixMatch, replacePrefixMatch: \"\"", &[]);
    path("type: ReplacePrefixMatch, replacePrefixMatch: /a", &[]);
    path("type: ReplaceFullPath, replaceFullPath: /a/b", &[]);
    path(
        "type: ReplaceFullPath, replaceFullPath: a",
        &[".replaceFullPath: `a` does not begin with `/`; expected `/a`"],
    );
    path(
        "type: ReplaceFullPath, replacePrefixMatch: /a",
        &[
            ".replacePrefixMatch: it does not belong to this `type`; expected `replaceFullPath`",
            ": the field `replaceFullPath` is missing; expected what to put in its place",
        ],
    );
    in_rule(
        "matches: [{path: {type: Exact, value: /a}}], \
         filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]",
        &["filters[0].urlRewrite.path.type: a match of this rule is no prefix that could be replaced; \
             expected matches of type `PathPrefix` only, or `ReplaceFullPath`"],
    );
}

#[test]
fn each_type_stands_once() {
    let remove = "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}";
    in_rule(
        &format!("filters: [{remove}, {remove}]"),
        &["filters[1].type: a second RequestHeaderModifier in one place; expected each type of filter once"],
    );
    let mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: a}}}";
    in_rule(&format!("filters: [{mirror}, {mirror}]"), &[]);
    let five = [mirror; 5].join(", ");
    in_rule(&format!("filters: [{five}]"), &["filters: 5 copies of each request; expected at most 4"]);
}

#[test]
fn what_backends_may_filter() {
    let backend = |filter: &str| format!("backendRefs: [{{name: a, filters: [{{{filter}}}]}}]");
    in_rule(&backend("type: ResponseHeaderModifier, responseHeaderModifier: {remove: [a]}"), &[]);
    in_rule(&backend("type: RequestMirror, requestMirror: {backendRef: {name: a}}"), &[]);
    in_rule(&backend("type: CORS, cors: {allowOrigins: [\"*\"]}"), &[]);
    in_rule(
        &format!(
            "filters: [{{type: URLRewrite, urlRewrite: {{hostname: a}}}}], {}",
            backend("type: RequestRedirect, requestRedirect: {}")
        ),
        &[
            "backendRefs[0].filters[0].type: a request is redirected or rewritten, not both; expected one of them",
        ],
    );
}

#[test]
fn copies() {
    let mirror = |settings: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|fault| format!("filters[0].requestMirror.{fault}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        filter(
            &format!("type: RequestMirror, requestMirror: {{backendRef: {{name: a}}, {settings}}}"),
            &expected,
        );
    };
    mirror("percent: 100", &[]);
    mirror("fraction: {numerator: 1, denominator: 1000}", &[]);
    mirror("percent: 101", &["percent: 101 is out of range; expected 0 to 100"]);
    mirror(
        "percent: 1, fraction: {numerator: 1}",
        &["percent: `fraction` says it too; expected one of the two"],
    );
    mirror(
        "fraction: {numerator: 2, denominator: 1}",
        &["fraction: 2 of 1 is no share; expected a `numerator` of at most the `denominator`"],
    );
    mirror(
        "fraction: {numerator: 0, denominator: 0}",
        &["fraction.denominator: 0 is out of range; expected 1 to 4294967295"],
    );
}

#[test]
fn origins() {
    let origin = |origin: &str| {
        faults(
            "HTTPRoute",
            &format!("rules: [{{filters: [{{type: CORS, cors: {{allowOrigins: [{origin:?}]}}}}]}}]"),
        )
    };
    for good in [
        "*",
        "https://shop.example",
        "http://shop.example:8080",
        "https://*.shop.example",
        "https://*",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "http://localhost",
    ] {
        assert_eq!(origin(good), [""; 0], "{good}");
    }
    for bad in [
        "",
        "shop.example",
        "https://",
        "ftp://shop.example",
        "https://shop.example/",
        "https://a:0",
        "https://a:x",
        "https://a.*.b",
        "null",
    ] {
        assert_eq!(origin(bad).len(), 1, "{bad}: {:?}", origin(bad));
    }
    filter(
        "type: CORS, cors: {allowOrigins: [\"*\", \"https://a\"], allowMethods: [\"*\", PUT], allowHeaders: [\"*\", x-a], maxAge: 0}",
        &[
            "filters[0].cors.allowOrigins[0]: `*` stands for all the others; expected `*` alone",
            "filters[0].cors.allowMethods[0]: `*` stands for all the others; expected `*` alone",
            "filters[0].cors.maxAge: 0 is out of range; expected 1 to 4294967295",
        ],
    );
    filter(
        "type: CORS, cors: {}",
        &["filters[0].cors.allowOrigins: no origin would be allowed; expected at least one, or `*`"],
    );
}

#[test]
fn faults_on_purpose() {
    let fault = |settings: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|fault| format!("filters[0].fault{fault}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        filter(&format!("type: Fault, fault: {{{settings}}}"), &expected);
    };
    fault("delay: {duration: 1s, percentage: 0.5}, abort: {status: 503}", &[]);
    fault("abort: {grpcStatus: 14, percentage: 100}", &[]);
    fault("", &[": it does nothing; expected `delay` or `abort`"]);
    fault(
        "delay: {duration: 2h, percentage: 100.1}",
        &[
            ".delay.percentage: 100.1 is out of range; expected 0 to 100",
            ".delay.duration: 2h is longer than 1h; expected 1ns to 1h",
        ],
    );
    fault("abort: {}", &[".abort: it does not say with what; expected `status` or `grpcStatus`"]);
    fault(
        "abort: {status: 199, grpcStatus: 17}",
        &[
            ".abort: two answers to one request; expected `status` or `grpcStatus`",
            ".abort.status: 199 is out of range; expected 200 to 599",
            ".abort.grpcStatus: 17 is out of range; expected 1 to 16",
        ],
    );
}
