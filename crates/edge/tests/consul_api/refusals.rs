//! Bad requests: the right status, a reason that names the field, and nothing left behind.

use serde_json::json;

use crate::support::Api;

#[tokio::test]
async fn bad_requests_are_refused_with_reason_and_leave_nothing_behind() {
    let api = Api::start().await;
    let register = "PUT /v1/agent/service/register";
    let check = "PUT /v1/agent/check/register";
    let long = "x".repeat(600);
    let long_key = format!("PUT /v1/kv/{}", "k".repeat(5000));
    let (session, txn) = ("PUT /v1/session/create", "PUT /v1/txn");
    let long_name = json!({"Name": "n".repeat(1025)}).to_string();
    let many = json!(vec![json!({"KV": {"Verb": "get-or-empty", "Key": "a"}}); 129]).to_string();
    let large = json!([{"KV": {"Verb": "set", "Key": "a", "Value": "A".repeat(600 * 1024)}}]).to_string();
    let long_meta = json!({"Name": "web", "Meta": {"k": long}}).to_string();
    let cases: &[(&str, &str, u16, &str)] = &[
        (register, "", 400, "Request decode failed: EOF"),
        (register, "{\"Name\": }", 400, "Request decode failed: expected value at line 1 column 10"),
        (register, "[]", 400, "Request decode failed: expected a JSON object, got an array"),
        (register, "{}", 400, "Missing service name"),
        (
            register,
            r#"{"Name": "web", "Meta": {"a b": "c"}}"#,
            400,
            "Invalid Service Meta: Couldn't load metadata pair",
        ),
        (
            register,
            r#"{"Name": "web", "Partition": "p"}"#,
            400,
            "Partition: only the default partition exists",
        ),
        (check, r#"{"Name": "c", "TTL": "1s", "Partition": "p"}"#, 400, "Partition: only the default"),
        (session, r#"{"Partition": "p"}"#, 400, "Partition: only the default"),
        (
            "PUT /v1/catalog/register",
            r#"{"Node": "n", "Address": "a", "Partition": "p"}"#,
            400,
            "Partition: only",
        ),
        (
            "PUT /v1/catalog/register",
            r#"{"Node": "n", "Address": "a", "Service": {"Service": "s", "Partition": "p"}}"#,
            400,
            "Service.Partition: only the default",
        ),
        (
            txn,
            r#"[{"Service": {"Verb": "set", "Node": "weir", "Service": {"Service": "s", "Partition": "p"}}}]"#,
            400,
            "[0].Service.Service.Partition: only the default",
        ),
        (register, r#"{"Name": "a b"}"#, 400, "Invalid service definition: Service name: "),
        (register, r#"{"Name": "web", "ID": "a\u0007b"}"#, 400, "Invalid service definition: ID: "),
        (register, r#"{"Name": 1}"#, 400, "Request decode failed: Name: expected a string, got a number"),
        (register, r#"{"Name": "web", "Port": "80"}"#, 400, "Port: expected a whole number, got a string"),
        (register, r#"{"Name": "web", "Port": 65536}"#, 400, "Port: expected a whole number from 0 to 65535"),
        (register, r#"{"Name": "web", "Port": -1}"#, 400, "Port: expected a whole number from 0 to 65535"),
        (register, r#"{"Name": "web", "Port": 1.5}"#, 400, "Port: expected a whole number from 0 to 65535"),
        (
            register,
            r#"{"Name": "web", "Tags": "a"}"#,
            400,
            "Tags: expected an array of strings, got a string",
        ),
        (register, r#"{"Name": "web", "Tags": ["a", 1]}"#, 400, "Tags[1]: expected a string"),
        (register, r#"{"Name": "web", "Meta": {"a": 1}}"#, 400, "Meta.a: expected a string"),
        (register, &long_meta, 400, "Meta[\"k\"]: 600 bytes long"),
        (register, r#"{"Name": "web", "Address": "0.0.0.0"}"#, 400, "Invalid service address"),
        (register, r#"{"Name": "web", "Address": "not a host"}"#, 400, "Address: "),
        (register, r#"{"Name": "web", "Weights": {"Passing": 0}}"#, 400, "Passing must be greater than 0"),
        (register, r#"{"Name": "web", "Kind": "connect-proxy"}"#, 400, "Kind: "),
        (register, r#"{"Name": "web", "Connect": {"SidecarService": {}}}"#, 400, "Connect.SidecarService: "),
        (
            register,
            r#"{"Name": "web", "TaggedAddresses": {"weir-inbound": {"Address": "127.0.0.1"}}}"#,
            400,
            "weir-inbound",
        ),
        (
            register,
            r#"{"Name": "web", "TaggedAddresses": {"lan": "x"}}"#,
            400,
            "TaggedAddresses.lan: expected an object",
        ),
        (register, r#"{"Name": "web", "Check": {"Interval": "10s"}}"#, 400, "Invalid check: TTL must be > 0"),
        (
            register,
            r#"{"Name": "web", "Check": {"TTL": "soon"}}"#,
            400,
            "Check.TTL: `soon` is not a duration",
        ),
        (
            register,
            r#"{"Name": "web", "Check": {"TTL": "1s", "Interval": "1s"}}"#,
            400,
            "Interval and TTL cannot both",
        ),
        (register, r#"{"Name": "web", "Check": {"HTTP": "http://a/"}}"#, 400, "Interval must be > 0"),
        (
            register,
            r#"{"Name": "web", "Check": {"HTTP": "https://a/", "Interval": "1s"}}"#,
            400,
            "https checks are not available yet",
        ),
        (
            register,
            r#"{"Name": "web", "Check": {"HTTP": "nonsense", "Interval": "1s"}}"#,
            400,
            "expected a URL",
        ),
        (
            register,
            r#"{"Name": "web", "Check": {"HTTP": "http://a/", "Interval": "1s", "Header": {"A B": ["x"]}}}"#,
            400,
            "Check.Header.A B",
        ),
        (register, r#"{"Name": "web", "Check": {"TCP": "a", "Interval": "1s"}}"#, 400, "is not HOST:PORT"),
        (
            register,
            r#"{"Name": "web", "Check": {"GRPC": "a/shop.Cart", "Interval": "1s"}}"#,
            400,
            "is not HOST:PORT or HOST:PORT/SERVICE",
        ),
        (register, r#"{"Name": "web", "Check": {"GRPC": "a:1"}}"#, 400, "Interval must be > 0"),
        (
            register,
            r#"{"Name": "web", "Check": {"GRPC": "a:1", "GRPCUseTLS": true, "Interval": "1s"}}"#,
            400,
            "gRPC checks over TLS are not available yet",
        ),
        (
            register,
            r#"{"Name": "web", "Check": {"H2PING": "a:1", "Interval": "1s"}}"#,
            400,
            "HTTP/2 ping checks",
        ),
        (
            register,
            r#"{"Name": "web", "Check": {"H2PING": "a", "H2PingUseTLS": false, "Interval": "1s"}}"#,
            400,
            "H2PING: \"a\" is not HOST:PORT",
        ),
        (
            register,
            r#"{"Name": "web", "Check": {"AliasService": "a", "TTL": "1s"}}"#,
            400,
            "Interval and TTL cannot both be specified",
        ),
        (
            register,
            r#"{"Name": "web", "Check": {"AliasNode": "a b", "AliasService": "a"}}"#,
            400,
            "AliasNode: ",
        ),
        (
            register,
            r#"{"Name": "web", "Check": {"AliasService": "a", "TCP": "a:1", "Interval": "1s"}}"#,
            400,
            "it is several at once (tcp, alias)",
        ),
        (register, r#"{"Name": "web", "Check": {"Args": ["true"], "Interval": "1s"}}"#, 400, "not enabled"),
        (
            register,
            r#"{"Name": "web", "Check": {"OSService": "web.service", "Interval": "1s"}}"#,
            400,
            "OSService: it runs `systemctl is-active`",
        ),
        (
            register,
            r#"{"Name": "web", "Check": {"DockerContainerID": "a", "Args": ["true"], "Interval": "1s"}}"#,
            400,
            "checks within containers are not available",
        ),
        (
            register,
            r#"{"Name": "web", "Check": {"UDP": "a", "Interval": "1s"}}"#,
            400,
            "UDP: \"a\" is not HOST:PORT",
        ),
        (register, r#"{"Name": "web", "Check": {"UDP": "a:53"}}"#, 400, "Interval must be > 0"),
        (register, r#"{"Name": "web", "Check": {"TTL": "1s", "Status": "good"}}"#, 400, "Bad check status"),
        (
            register,
            r#"{"Name": "web", "Checks": [{"CheckID": "a", "TTL": "1s"}, {"CheckID": "a", "TTL": "1s"}]}"#,
            400,
            "used twice",
        ),
        ("PUT /v1/agent/service/register?dc=elsewhere", r#"{"Name": "web"}"#, 500, "No path to datacenter"),
        ("PUT /v1/agent/service/register?ns=a/b", r#"{"Name": "web"}"#, 400, "is not a namespace"),
        ("GET /v1/agent/service/register", "", 405, "method GET not allowed"),
        ("POST /v1/agent/services", "", 405, "method POST not allowed"),
        ("PUT /v1/agent/service/deregister/nobody", "", 404, "Unknown service ID \"nobody\""),
        ("PUT /v1/agent/service/deregister/", "", 400, "Missing service ID"),
        ("PUT /v1/agent/service/maintenance/web", "", 400, "Missing value for enable"),
        (
            "PUT /v1/agent/service/maintenance/web?enable=maybe",
            "",
            400,
            "Invalid value for enable: \"maybe\"",
        ),
        ("PUT /v1/agent/service/maintenance/web?enable=true", "", 404, "Unknown service ID \"web\""),
        ("PUT /v1/agent/maintenance", "", 400, "Missing value for enable"),
        (check, r#"{"TTL": "10s"}"#, 400, "Missing check name"),
        (
            check,
            r#"{"Name": "c", "ServiceID": "nobody", "TTL": "10s"}"#,
            404,
            "ServiceID \"nobody\" does not exist",
        ),
        ("PUT /v1/agent/check/pass/nobody", "", 404, "Unknown check ID \"nobody\""),
        ("PUT /v1/agent/check/deregister/nobody", "", 404, "Unknown check ID \"nobody\""),
        ("PUT /v1/agent/check/update/nobody", r#"{"Status": "fine"}"#, 400, "Invalid check status: 'fine'"),
        ("PUT /v1/catalog/register", r#"{"Node": "n"}"#, 400, "Must provide node and address"),
        ("PUT /v1/catalog/register", r#"{"Node": "a b", "Address": "1.2.3.4"}"#, 400, "Invalid node: Node: "),
        (
            "PUT /v1/catalog/register",
            r#"{"Datacenter": "dc9", "Node": "n", "Address": "1.2.3.4"}"#,
            500,
            "No path to datacenter",
        ),
        (
            "PUT /v1/catalog/register",
            r#"{"Node": "n", "Address": "1.2.3.4", "Service": {"ID": "x"}}"#,
            400,
            "Missing service name",
        ),
        (
            "PUT /v1/catalog/register",
            r#"{"Node": "n", "Address": "1.2.3.4", "Check": {"Name": "c", "Status": "good"}}"#,
            400,
            "Invalid check status",
        ),
        (
            "PUT /v1/catalog/register",
            r#"{"Node": "n", "Address": "1.2.3.4", "Check": {"Name": "c", "ServiceID": "nobody"}}"#,
            400,
            "does not exist",
        ),
        ("PUT /v1/catalog/deregister", r#"{"Address": "1.2.3.4"}"#, 400, "Must provide node"),
        ("GET /v1/health/service/", "", 400, "Missing service name"),
        ("GET /v1/health/service/web?passing=perhaps", "", 400, "Invalid value for ?passing"),
        ("GET /v1/health/service/web?index=x", "", 400, "Invalid index"),
        ("GET /v1/health/service/web?index=-1", "", 400, "Invalid index"),
        ("GET /v1/health/service/web?wait=10", "", 400, "Invalid wait time"),
        ("GET /v1/health/service/web?wait=-5s", "", 400, "Invalid wait time"),
        ("GET /v1/health/service/web?stale&consistent", "", 400, "conflicting semantics"),
        (
            "GET /v1/health/service/web?filter=Service.Port+=+80",
            "",
            400,
            "evaluator: filter: at byte 13: expected `==`",
        ),
        ("GET /v1/health/service/consul?filter=Nothing==1", "", 400, "Selector \"Nothing\" is not valid"),
        ("GET /v1/catalog/services?filter=a==1", "", 400, "Selector \"a\" is not valid"),
        ("GET /v1/agent/services?filter=(", "", 400, "filter: at byte 1: expected a selector"),
        ("GET /v1/health/service/web?dc=elsewhere", "", 500, "No path to datacenter"),
        ("GET /v1/health/service/%zz", "", 400, "invalid URL escape"),
        ("GET /v1/health/service/web?tag=%", "", 400, "invalid URL escape"),
        ("GET /v1/health/state/fine", "", 400, "Invalid check state \"fine\""),
        ("GET /v1/kv/", "", 400, "Missing key name"),
        ("PUT /v1/kv/", "x", 400, "Missing key name"),
        ("PUT /v1/kv/%00", "x", 400, "Invalid key: "),
        ("DELETE /v1/kv/%00", "", 400, "Invalid key: "),
        (&long_key, "x", 400, "Invalid key: "),
        ("PUT /v1/kv/a?cas=x", "x", 400, "Invalid value for ?cas"),
        ("PUT /v1/kv/a?flags=-1", "x", 400, "Invalid value for ?flags"),
        ("PUT /v1/kv/a?acquire=s", "x", 500, "invalid session \"s\""),
        ("PUT /v1/kv/a?acquire=", "x", 500, "missing session"),
        ("PUT /v1/kv/a?release=", "x", 500, "missing session"),
        ("PUT /v1/kv/a?cas=1&acquire=s", "x", 400, "Conflicting flags: cas, acquire"),
        ("DELETE /v1/kv/a?recurse&cas=1", "", 400, "Conflicting flags: recurse, cas"),
        ("POST /v1/kv/a", "x", 405, "method POST not allowed"),
        ("GET /v1/acl/tokens", "", 401, "ACL support disabled"),
        (session, "[]", 400, "Request decode failed: expected a JSON object, got an array"),
        (session, r#"{"Name": 1}"#, 400, "Request decode failed: Name: expected a string, got a number"),
        (session, r#"{"TTL": "soon"}"#, 400, "Session TTL 'soon' invalid: "),
        (session, r#"{"TTL": 15}"#, 400, "Request decode failed: TTL: expected a string"),
        (session, r#"{"TTL": "9s"}"#, 400, "Invalid Session TTL '9000000000', must be between [10s=24h0m0s]"),
        (session, r#"{"TTL": "25h"}"#, 400, "Invalid Session TTL '90000000000000', must be between"),
        (session, r#"{"Behavior": "keep"}"#, 400, "Invalid Behavior setting 'keep'"),
        (session, r#"{"LockDelay": "x"}"#, 400, "Request decode failed: LockDelay: "),
        (session, r#"{"LockDelay": -1}"#, 400, "Request decode failed: LockDelay: expected a whole number"),
        (session, r#"{"Node": "nowhere"}"#, 500, "Missing node registration"),
        (session, r#"{"NodeChecks": ["c"]}"#, 500, "Missing check 'c' registration"),
        (session, r#"{"Checks": "c"}"#, 400, "Request decode failed: Checks: expected an array"),
        (session, r#"{"ServiceChecks": [{}]}"#, 400, "Request decode failed: ServiceChecks[0].ID: "),
        (session, r#"{"Datacenter": "dc9"}"#, 500, "No path to datacenter"),
        (session, &long_name, 400, "session.name: expected at most 1024 bytes"),
        ("GET /v1/session/create", "", 405, "method GET not allowed"),
        ("PUT /v1/session/renew/", "", 400, "Missing session"),
        ("PUT /v1/session/renew/x", "", 404, "Session id 'x' not found"),
        ("PUT /v1/session/destroy/", "", 400, "Missing session"),
        ("GET /v1/session/info/", "", 400, "Missing session"),
        ("GET /v1/session/node/", "", 400, "Missing node name"),
        (txn, "", 400, "Failed to parse body: EOF"),
        (txn, "{}", 400, "Failed to parse body: expected a JSON array of operations"),
        (txn, "[1]", 400, "Failed to parse body: [0]: expected an object"),
        (txn, r#"[{"KV": 1}]"#, 400, "Failed to parse body: [0].KV: expected an object, got a number"),
        (
            txn,
            r#"[{"KV": {"Verb": "set", "Key": "a", "Value": "!"}}]"#,
            400,
            "[0].KV.Value: failed to decode value",
        ),
        (
            txn,
            r#"[{"KV": {"Verb": "set", "Key": "a", "Flags": -1}}]"#,
            400,
            "[0].KV.Flags: expected a whole number",
        ),
        (txn, r#"[{"KV": {"Verb": "set", "Key": ""}}]"#, 409, "\"What\":\"Must provide key\""),
        (txn, r#"[{"KV": {"Verb": "put", "Key": "a"}}]"#, 409, "unknown KV verb \\\"put\\\""),
        (txn, r#"[{}]"#, 409, "no operation specified"),
        (txn, r#"[{"Session": {"Verb": "delete"}}]"#, 409, "[0].Session.Session.ID is missing"),
        (txn, r#"[{"Session": {"Verb": "set", "Session": {"ID": "x"}}}]"#, 409, "unknown Session verb"),
        (txn, r#"[{"Node": {"Verb": "lock"}}]"#, 409, "unknown Node verb \\\"lock\\\""),
        (txn, r#"[{"Service": {"Verb": ""}}]"#, 409, "unknown Service verb"),
        (txn, r#"[{"Node": []}]"#, 400, "[0].Node: expected an object, got an array"),
        (txn, r#"[{"Node": {"Verb": "get"}}]"#, 400, "[0].Node.Node.Node: missing; expected a node's name"),
        (
            txn,
            r#"[{"Node": {"Verb": "set", "Node": {"Node": "n"}}}]"#,
            400,
            "[0].Node.Node.Address: missing; expected a host",
        ),
        (
            txn,
            r#"[{"Node": {"Verb": "set", "Node": {"Node": "n", "Address": "10.0.0.1", "ID": "x"}}}]"#,
            400,
            "Failed to parse body: [0].Node.Node: Invalid node: ID: not a UUID",
        ),
        (
            txn,
            r#"[{"Node": {"Verb": "set", "Node": {"Node": "n", "Address": "10.0.0.1", "Datacenter": "dc9"}}}]"#,
            500,
            "No path to datacenter",
        ),
        (
            txn,
            r#"[{"KV": {"Verb": "get", "Key": "a"}}, {"Service": {"Verb": "set", "Service": {"Service": "s"}}}]"#,
            400,
            "[1].Service.Node: missing; expected a node's name",
        ),
        (
            txn,
            r#"[{"Service": {"Verb": "set", "Node": "n", "Service": {"Service": "s", "Port": 70000}}}]"#,
            400,
            "[0].Service.Service.Port: expected a whole number from 0 to 65535",
        ),
        (
            txn,
            r#"[{"Service": {"Verb": "set", "Node": "n", "Service": {"Service": "a b"}}}]"#,
            400,
            "[0].Service.Service: Invalid service definition: Service name: ",
        ),
        (
            txn,
            r#"[{"Service": {"Verb": "cas", "Node": "n", "Service": {"Service": "s", "ModifyIndex": "1"}}}]"#,
            400,
            "[0].Service.Service.ModifyIndex: expected a whole number, got a string",
        ),
        (
            txn,
            r#"[{"Service": {"Verb": "get", "Node": "n", "Service": {"ID": "s", "Namespace": "team"}}}]"#,
            400,
            "[0].Service.Service.Namespace: a transaction is in one namespace",
        ),
        (
            txn,
            r#"[{"Check": {"Verb": "set", "Check": {"Node": "n", "Name": "c", "Status": "fine"}}}]"#,
            400,
            "[0].Check.Check: Invalid check status",
        ),
        (
            txn,
            r#"[{"Check": {"Verb": "delete", "Check": {"Node": "n"}}}]"#,
            400,
            "[0].Check.Check.CheckID: missing; expected an id",
        ),
        (txn, &many, 413, "Transaction contains too many operations (129 > 128)"),
        (txn, &large, 413, "Request body too large, max size: 524288 bytes"),
        ("GET /v1/txn", "", 405, "method GET not allowed"),
        ("PUT /v1/snapshot", "", 400, "it is not a snapshot"),
        ("GET /v1/peerings", "", 501, "peering is not supported yet"),
        ("GET /v1/nothing", "", 404, "not found"),
        ("GET /v1/sessions", "", 404, "not found"),
        ("GET /v2/kv/a", "", 404, "not found"),
    ];
    for (line, body, status, message) in cases {
        let answer = api.call(line, body).await;
        assert_eq!(answer.status, *status, "{line} {body}: {}", answer.body);
        assert!(answer.body.contains(message), "{line} {body}: {}", answer.body);
        assert!(!answer.body.contains("/weir/v1"), "{line}: the store's keys are not shown: {}", answer.body);
    }
    assert_eq!(api.get("/v1/agent/services").await.json(), json!({}));
    assert_eq!(api.get("/v1/agent/checks").await.json(), json!({}));
    assert_eq!(api.get("/v1/catalog/nodes").await.json().as_array().unwrap().len(), 1);
    assert_eq!(api.get("/v1/kv/?keys").await.json(), json!([]));
}

#[tokio::test]
async fn endpoints_that_are_not_here_yet_answer_with_the_usual_headers() {
    let api = Api::start().await;
    let answer = api.call("PUT /v1/peering/token", "").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (501, "peering is not supported yet (/v1/peering/token)")
    );
    assert!(answer.index() > 0);
    assert_eq!(answer.header("x-consul-knownleader"), "true");
    assert_eq!(answer.header("x-consul-lastcontact"), "0");
}
