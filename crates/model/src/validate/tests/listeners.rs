//! TLS, routes that are not of HTTP, and the policies of listeners and services.

use super::*;

#[test]
fn options_of_tls() {
    let tls = |options: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|fault| format!("spec.listeners[0].tls.options{fault}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        let spec = format!(
            "listeners: [{{name: a, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: c}}], options: {{{options}}}}}}}]"
        );
        check("Gateway", &spec, &expected);
    };
    tls("weir.dev/min-version: \"1.3\"", &[]);
    tls(
        "weir.dev/min-version: \"1.1\"",
        &["[\"weir.dev/min-version\"]: `1.1` is no version of TLS; expected \"1.2\" or \"1.3\""],
    );
    tls("example.com/x: y", &["[\"example.com/x\"]: unknown option; expected `weir.dev/min-version`"]);
    check(
        "Gateway",
        "listeners: [{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough, \
         options: {weir.dev/min-version: \"1.2\"}, frontendValidation: {caCertificateRefs: [{name: c}]}}}]",
        &[
            "spec.listeners[0].tls.frontendValidation: TLS that is passed through is validated by the service; expected none",
            "spec.listeners[0].tls.options[\"weir.dev/min-version\"]: TLS that is passed through is spoken by the service; \
             expected none",
        ],
    );
}

#[test]
fn clients_certificates() {
    let gateway = |frontend: &str| {
        format!(
            "listeners: [{{name: a, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: c}}]}}}}, \
             {{name: b, port: 80, protocol: HTTP}}], tls: {{frontend: {{{frontend}}}}}"
        )
    };
    let validation = "validation: {caCertificateRefs: [{name: c}]}";
    check("Gateway", &gateway(&format!("default: {{{validation}}}")), &[]);
    check(
        "Gateway",
        &gateway("default: {validation: {caCertificateRefs: []}}"),
        &["spec.tls.frontend.default.validation.caCertificateRefs: it is empty; \
             expected at least one `Certificate` with a `caFile`"],
    );
    check(
        "Gateway",
        &gateway(&format!(
            "default: {{}}, perPort: [{{port: 443, tls: {{{validation}}}}}, {{port: 80, tls: {{}}}}, {{port: 443, tls: {{}}}}]"
        )),
        &[
            "spec.tls.frontend.perPort[1].port: no listener terminates TLS on port 80; \
             expected the port of an HTTPS or TLS listener",
            "spec.tls.frontend.perPort[2].port: port 443 is there twice; expected each port once",
        ],
    );
}

#[test]
fn kinds_that_listeners_take() {
    let listener = |protocol: &str, kind: &str| {
        check(
            "Gateway",
            &format!(
                "listeners: [{{name: a, port: 1, {protocol}, allowedRoutes: {{kinds: [{{kind: {kind}}}]}}}}]"
            ),
            &[],
        );
    };
    listener("protocol: HTTP", "GRPCRoute");
    listener("protocol: TCP", "TCPRoute");
    listener("protocol: TLS, tls: {mode: Passthrough}", "TLSRoute");
    listener("protocol: TLS, tls: {certificateRefs: [{name: c}]}", "TCPRoute");
    check(
        "Gateway",
        "listeners: [{name: a, port: 1, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}]}}, \
         {name: b, port: 2, protocol: TLS, tls: {mode: Passthrough}, allowedRoutes: {kinds: [{kind: TCPRoute}]}}]",
        &[
            "spec.listeners[0].allowedRoutes.kinds[0].kind: `TCPRoute` has no meaning here; expected `HTTPRoute` or `GRPCRoute`",
            "spec.listeners[1].allowedRoutes.kinds[0].kind: `TCPRoute` has no meaning here; expected `TLSRoute`",
        ],
    );
}

#[test]
fn certificates() {
    check("Certificate", "certFile: a, keyFile: b", &[]);
    check("Certificate", "caFile: c", &[]);
    check("Certificate", "certFile: a, keyFile: b, caFile: c", &[]);
    check(
        "Certificate",
        "",
        &["spec: it names no file; expected `certFile` and `keyFile`, or `caFile`, or all three"],
    );
    check(
        "Certificate",
        "certFile: a, caFile: \"\"",
        &[
            "spec.caFile: it is empty; expected the path of a PEM file",
            "spec: the field `keyFile` is missing; expected `certFile` and `keyFile` together",
        ],
    );
}

#[test]
fn certificates_must_hold_what_they_are_needed_for() {
    let set = |documents: &str| -> Vec<String> {
        let parsed = parse("-", documents).unwrap();
        let resources = parsed.documents.iter().map(|document| &document.resource);
        validate_set(resources).into_iter().map(|(id, fault)| format!("{id} {fault}")).collect()
    };
    let certificates = "{kind: Certificate, metadata: {name: own}, spec: {certFile: a, keyFile: b}}\n---\n\
                        {kind: Certificate, metadata: {name: ca}, spec: {caFile: a}}\n---\n";
    let gateway = "{kind: Gateway, metadata: {name: edge}, spec: {listeners: [{name: a, port: 443, protocol: HTTPS, \
                   tls: {certificateRefs: [{name: ca}]}}], \
                   tls: {frontend: {default: {validation: {caCertificateRefs: [{name: own}, {name: none}]}}}}}}\n---\n";
    let policy = "{kind: TrafficPolicy, metadata: {name: p}, spec: {targetRefs: [{name: a}], \
                  tls: {caRefs: [{name: ca}], certificateRef: {name: ca}}}}";
    assert_eq!(
        set(&format!("{certificates}{gateway}{policy}")),
        [
            "Gateway/edge spec.listeners[0].tls.certificateRefs[0].name: Certificate/ca has nothing for this purpose; \
             expected one with `certFile` and `keyFile`",
            "Gateway/edge spec.tls.frontend.default.validation.caCertificateRefs[0].name: Certificate/own has nothing \
             for this purpose; expected one with `caFile`",
            "Gateway/edge spec.tls.frontend.default.validation.caCertificateRefs[1].name: there is no Certificate/none; \
             expected the name of a `Certificate`",
            "TrafficPolicy/p spec.tls.certificateRef.name: Certificate/ca has nothing for this purpose; \
             expected one with `certFile` and `keyFile`",
        ]
    );
}

#[test]
fn calls_by_method() {
    let method =
        |method: &str| faults("GRPCRoute", &format!("rules: [{{matches: [{{method: {{{method}}}}}]}}]"));
    for good in [
        "service: shop.v1.Cart, method: Add_1",
        "service: .shop.Cart",
        "method: Add",
        "type: RegularExpression, service: \".*Cart\"",
        "service: Cart, method: \"\"",
    ] {
        assert_eq!(method(good), [""; 0], "{good}");
    }
    for bad in [
        "",
        "type: Exact",
        "service: \"\"",
        "service: a/b",
        "service: a..b",
        "service: 1a",
        "method: a.b",
        "type: RegularExpression, method: \"(\"",
    ] {
        assert_eq!(method(bad).len(), 1, "{bad}: {:?}", method(bad));
    }
    check(
        "GRPCRoute",
        "rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a}]}]",
        &[
            "spec.rules[0].filters[0].type: RequestRedirect has no meaning for gRPC calls; expected another type",
            "spec.rules[0].filters[0]: what is redirected goes to no service; expected a rule without `backendRefs`",
        ],
    );
    check("GRPCRoute", "rules: [{filters: [{type: CORS, cors: {allowOrigins: [\"*\"]}}]}]", &[]);
}

#[test]
fn expressions() {
    let rule = |part: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|fault| format!("spec.rules[0].matches[0].{fault}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check("HTTPRoute", &format!("rules: [{{matches: [{{{part}}}]}}]"), &expected);
    };
    rule("path: {type: RegularExpression, value: \"/v[0-9]+/.*\"}", &[]);
    rule("headers: [{type: RegularExpression, name: a, value: \"x|y\"}]", &[]);
    rule(
        "path: {type: RegularExpression, value: \"/a(\"}",
        &[
            "path.value: `/a(` cannot be used: unclosed group; expected a regular expression in the syntax of Rust's `regex`",
        ],
    );
    rule(
        "queryParams: [{type: RegularExpression, name: a, value: \"(?=a)\"}]",
        &[
            "queryParams[0].value: `(?=a)` cannot be used: look-around, including look-ahead and look-behind, is not supported; \
             expected a regular expression in the syntax of Rust's `regex`",
        ],
    );
}

#[test]
fn routes_of_connections() {
    check("TCPRoute", "rules: [{backendRefs: [{name: a}]}]", &[]);
    check("TCPRoute", "", &["spec.rules: there is none; expected one rule with `backendRefs`"]);
    check(
        "TLSRoute",
        "parentRefs: [{kind: Service, name: a}], hostnames: [A.b], rules: [{backendRefs: [{name: a, \
         filters: [{type: CORS}]}]}, {}]",
        &[
            "spec.parentRefs[0].kind: `Service` has no meaning here; expected `Gateway`",
            "spec.hostnames[0]: `A.b` is not a host name; expected a host name in lower case such as `shop.example` or \
             `*.shop.example`, without port",
            "spec.rules: 2 of them; expected at most 1",
            "spec.rules[0].backendRefs[0].filters: bytes are passed on as they are; expected no `filters`",
        ],
    );
}

#[test]
fn listener_policies() {
    let policy = |spec: &str, expected: &[&str]| {
        check("ListenerPolicy", &format!("targetRefs: [{{name: edge}}], {spec}"), expected);
    };
    policy("proxyProtocol: {}", &[]);
    policy("proxyProtocol: {from: [10.0.0.0/8, \"fd00::/8\", 192.0.2.7]}", &[]);
    policy(
        "limits: {connections: 1, streams: 1, headBytes: 1KiB, headFields: 8}, timeouts: {head: 1ms}",
        &[],
    );
    policy(
        "proxyProtocol: {from: [10.0.0.1/8]}",
        &["spec.proxyProtocol.from[0]: `10.0.0.1/8` is not a network; \
             expected an address with the length of its prefix, such as `10.0.0.0/8`"],
    );
    policy(
        "limits: {connections: 0, streams: 10001, headBytes: 1MiB, headFields: 7}, timeouts: {idle: 0s}",
        &[
            "spec.limits.connections: 0 is out of range; expected 1 to 10000000",
            "spec.limits.streams: 10001 is out of range; expected 1 to 10000",
            "spec.limits.headFields: 7 is out of range; expected 8 to 1024",
            "spec.limits.headBytes: 1MiB is out of range; expected 1KiB to 128KiB",
            "spec.timeouts.idle: without a limit, slow clients could pile up; expected a duration above zero",
        ],
    );
    check(
        "ListenerPolicy",
        "targetRefs: [{name: a}, {name: a}, {kind: Service, name: a, sectionName: b}]",
        &[
            "spec.targetRefs[1]: `a` is there twice; expected each target once",
            "spec.targetRefs[2].kind: `Service` has no meaning here; expected `Gateway`",
        ],
    );
    check(
        "ListenerPolicy",
        "targetRefs: []",
        &["spec.targetRefs: it is empty; expected at least one gateway"],
    );
}

#[test]
fn one_policy_for_each_port() {
    let set = |targets: [&str; 2]| -> Vec<String> {
        let documents = format!(
            "{{kind: Gateway, metadata: {{name: edge}}, spec: {{listeners: [{{name: a, port: 80, protocol: HTTP, hostname: a.b}}, \
             {{name: b, port: 80, protocol: HTTP}}, {{name: c, port: 81, protocol: HTTP}}]}}}}\n---\n\
             {{kind: ListenerPolicy, metadata: {{name: one}}, spec: {{targetRefs: [{{{}}}]}}}}\n---\n\
             {{kind: ListenerPolicy, metadata: {{name: two}}, spec: {{targetRefs: [{{{}}}]}}}}\n",
            targets[0], targets[1]
        );
        let parsed = parse("-", &documents).unwrap();
        let resources = parsed.documents.iter().map(|document| &document.resource);
        validate_set(resources).into_iter().map(|(id, fault)| format!("{id} {fault}")).collect()
    };
    assert_eq!(set(["name: edge", "name: edge, sectionName: a"]), [""; 0]);
    assert_eq!(set(["name: edge, sectionName: c", "name: edge, sectionName: a"]), [""; 0]);
    assert_eq!(
        set(["name: edge", "name: edge"]),
        ["ListenerPolicy/two spec.targetRefs[0]: `edge` already has a policy, ListenerPolicy/one; \
          expected one policy for each gateway or listener"]
    );
    assert_eq!(
        set(["name: edge, sectionName: a", "name: edge, sectionName: b"]),
        [
            "ListenerPolicy/two spec.targetRefs[0].sectionName: port 80 already has a policy, ListenerPolicy/one; \
          expected one policy for all listeners on one port"
        ]
    );
}

#[test]
fn how_services_are_called() {
    let policy = |spec: &str, expected: &[&str]| {
        check("TrafficPolicy", &format!("targetRefs: [{{name: a}}], {spec}"), expected);
    };
    policy("tls: {}", &[]);
    policy("tls: {serverName: a.b, caRefs: [{name: c}], certificateRef: {name: c}}, proxyProtocol: v2", &[]);
    policy("tls: {serverName: 10.0.0.1}, connection: {streamsMax: 1000}", &[]);
    policy(
        "tls: {serverName: \"*.a\", insecureSkipVerify: true, caRefs: [{name: c, kind: Secret}]}, connection: {streamsMax: 0}",
        &[
            "spec.tls.serverName: one name is asked for, not many; expected a host name such as `cart.internal`",
            "spec.tls.caRefs[0].kind: `Secret` has no meaning here; expected `Certificate`",
            "spec.tls.insecureSkipVerify: any certificate would do, and yet there are `caRefs`; expected one of the two",
            "spec.connection.streamsMax: 0 is out of range; expected 1 to 1000",
        ],
    );
}

#[test]
fn hints_name_routes_that_another_one_excludes() {
    let check = |http: &str, grpc: &str, expected: &[&str]| {
        let documents = format!(
            "{{kind: Gateway, metadata: {{name: edge}}, spec: {{listeners: [{{name: web, port: 80, protocol: HTTP}}, \
             {{name: db, port: 81, protocol: TCP}}]}}}}\n---\n\
             {{kind: HTTPRoute, metadata: {{name: m}}, spec: {{parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{{name: a}}]}}], {http}}}}}\n\
             ---\n{{kind: GRPCRoute, metadata: {grpc}}}\n"
        );
        let parsed = parse("-", &documents).unwrap();
        let all = || parsed.documents.iter().map(|document| &document.resource);
        let found = hints(all(), all(), |_| true);
        let found: Vec<String> = found.iter().map(|(id, hint)| format!("{id} {hint}")).collect();
        assert_eq!(found, expected, "{documents}");
    };
    let rest = "parentRefs: [{name: edge}], rules: [{backendRefs: [{name: a}]}]";
    let expected = |loser: &str, winner: &str| {
        ["HTTPRoute/m", "GRPCRoute/z"].map(|of| {
            format!(
                "{of} spec.parentRefs[0]: {loser} does not count at listener `web`: {winner} comes first and has hosts \
                 in common with it; expected `hostnames`, or a listener, of its own"
            )
        })
    };
    let both = expected("GRPCRoute/z", "HTTPRoute/m");
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    check("", &format!("{{name: z}}, spec: {{{rest}}}"), &both);
    check("hostnames: [\"*.b\"]", &format!("{{name: z}}, spec: {{{rest}, hostnames: [a.b]}}"), &both);
    check("hostnames: [a.b]", &format!("{{name: z}}, spec: {{{rest}, hostnames: [c.b]}}"), &[]);
    check(
        "",
        "{name: z}, spec: {parentRefs: [{name: edge, sectionName: db}], rules: [{backendRefs: [{name: a}]}]}",
        &["GRPCRoute/z spec.parentRefs[0]: no listener there takes a GRPCRoute; \
           expected a listener with `protocol: HTTP` or `HTTPS`"],
    );
}
