//! Config entries: judged, kept, shown in one spelling, put and deleted on conditions.

use serde_json::{Value, json};

use crate::support::{Api, PATIENCE, get};

#[tokio::test]
async fn entries_of_every_kind_come_back_in_consuls_spelling() {
    let api = Api::start().await;
    let given = [
        json!({"kind": "service-defaults", "name": "web", "protocol": "http", "upstream_config": {"overrides": [
            {"name": "db", "connect_timeout_ms": 100, "passive_health_check": {"interval": "30s", "max_failures": 3}}]},
            "Meta": {"owner": "me"}}),
        json!({"Kind": "service-resolver", "Name": "web", "DefaultSubset": "v1", "ConnectTimeout": 15_000_000_000_u64,
            "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"OnlyPassing": true}},
            "Failover": {"*": {"Datacenters": ["dc2"]}},
            "LoadBalancer": {"Policy": "ring_hash", "HashPolicies": [{"Field": "header", "FieldValue": "x-user"}]}}),
        json!({"Kind": "service-splitter", "Name": "web", "Splits": [
            {"Weight": 99.5, "ServiceSubset": "v1"}, {"Weight": 0.5, "ServiceSubset": "v2"}]}),
        json!({"Kind": "service-router", "Name": "web", "Routes": [{
            "Match": {"HTTP": {"PathPrefix": "/api", "Header": [{"Name": "x", "Present": true}], "Methods": ["GET"]}},
            "Destination": {"Service": "api", "NumRetries": 2, "RetryOnStatusCodes": [503], "RequestTimeout": "1m30s"}}]}),
        json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"envoy_dogstatsd_url": "udp://127.0.0.1:9125"}}),
        json!({"Kind": "service-intentions", "Name": "web", "Sources": [
            {"Name": "db", "Action": "deny"},
            {"Name": "*", "Permissions": [{"Action": "allow", "HTTP": {"PathExact": "/"}}]}]}),
    ];
    for entry in &given {
        let answer = api.call("PUT /v1/config", &entry.to_string()).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "true"), "{entry}");
        let kind = entry.get("Kind").unwrap_or(&entry["kind"]).as_str().unwrap();
        let list = api.get(&format!("/v1/config/{kind}")).await;
        let name = if kind == "proxy-defaults" { "global" } else { "web" };
        let one = api.get(&format!("/v1/config/{kind}/{name}")).await;
        assert_eq!(list.json(), json!([one.json()]));
        assert_eq!(one.index(), one.json()["ModifyIndex"].as_u64().unwrap());
        // What is shown can be put again, and changes nothing.
        assert_eq!(api.call("PUT /v1/config", &one.body).await.body, "true");
        assert_eq!(api.get(&format!("/v1/config/{kind}/{name}")).await.body, one.body);
    }
    let mut defaults = api.get("/v1/config/service-defaults/web").await.json();
    defaults.as_object_mut().unwrap().retain(|key, _| !key.ends_with("Index"));
    let expect = json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http", "UpstreamConfig": {"Overrides": [
        {"Name": "db", "ConnectTimeoutMs": 100, "PassiveHealthCheck": {"Interval": "30s", "MaxFailures": 3}}]},
        "Meta": {"owner": "me"}});
    assert_eq!(defaults, expect);
    let resolver = api.get("/v1/config/service-resolver/web").await.json();
    assert_eq!(resolver["ConnectTimeout"], "15s", "durations are shown as text");
}

#[tokio::test]
async fn entries_are_put_and_deleted_on_conditions() {
    let api = Api::start().await;
    let put = async |protocol: &str, query: &str| {
        let body = json!({"Kind": "service-defaults", "Name": "web", "Protocol": protocol}).to_string();
        api.call(&format!("PUT /v1/config{query}"), &body).await.body
    };
    let path = "/v1/config/service-defaults/web";
    assert_eq!(put("http", "?cas=7").await, "false");
    assert_eq!(put("http", "?cas=0").await, "true");
    assert_eq!(put("grpc", "?cas=0").await, "false");
    let index = api.get(path).await.index();
    assert_eq!(put("grpc", &format!("?cas={index}")).await, "true");
    assert_eq!(api.call(&format!("DELETE {path}?cas={index}"), "").await.body, "false");
    let index = api.get(path).await.index();
    let (address, target) = (api.address, format!("{path}?index={index}&wait=60s"));
    let watch = tokio::spawn(async move { get(address, &target).await });
    api.until_waiting(1).await;
    let other = json!({"Kind": "service-defaults", "Name": "db", "Protocol": "tcp"});
    api.ok("PUT /v1/config", &other.to_string()).await;
    assert!(!watch.is_finished(), "another entry wakes nobody");
    assert_eq!(api.call(&format!("DELETE {path}?cas={index}"), "").await.body, "true");
    let woken = tokio::time::timeout(PATIENCE, watch).await.expect("woken").unwrap();
    assert_eq!(
        (woken.status, &*woken.body),
        (404, "Config entry not found for \"service-defaults\" / \"web\"")
    );
    assert!(woken.index() > index);
    assert_eq!(api.call(&format!("DELETE {path}"), "").await.body, "{}");
    let names = api.get("/v1/config/service-defaults?filter=Protocol+==+tcp").await.json();
    assert_eq!(names[0]["Name"], "db");
    api.ok("PUT /v1/config?ns=team", &other.to_string()).await;
    assert_eq!(api.get("/v1/config/service-defaults/db?ns=team").await.json()["Namespace"], "team");
    assert_eq!(api.get("/v1/config/service-defaults").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_entries_are_refused_with_the_place() {
    let api = Api::start().await;
    let with = |kind: &str, fields: Value| {
        let mut entry = json!({"Kind": kind, "Name": "web"});
        entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        entry
    };
    let routes = |route: Value| with("service-router", json!({"Routes": [route]}));
    let http = |http: Value| routes(json!({"Match": {"HTTP": http}}));
    let splits = |splits: Value| with("service-splitter", json!({"Splits": splits}));
    let resolver = |fields: Value| with("service-resolver", fields);
    let sources = |sources: Value| with("service-intentions", json!({"Sources": sources}));
    for (entry, status, message) in [
        (json!({}), 400, "invalid config entry kind: \"\", expected one of service-defaults"),
        (json!({"Kind": "none", "Name": "a"}), 400, "invalid config entry kind: \"none\""),
        (json!({"Kind": "mesh"}), 501, "config entries of kind mesh are not supported"),
        (json!({"Kind": "service-defaults"}), 400, "Name is required"),
        (json!({"Kind": "service-defaults", "Name": "a/b"}), 400, "Name: "),
        (json!({"Kind": "proxy-defaults", "Name": "mine"}), 400, "only \"global\" is supported"),
        (
            with("service-defaults", json!({"Protokol": "http"})),
            400,
            "invalid config key \"Protokol\", did you mean \"Protocol\"?",
        ),
        (with("service-defaults", json!({"Protocol": 1})), 400, "Protocol: expected a string, got a number"),
        (
            with("service-defaults", json!({"Protocol": "smtp"})),
            400,
            "Protocol: invalid value \"smtp\", expected one of tcp",
        ),
        (
            json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "htp"}}),
            400,
            "Config.protocol: invalid value \"htp\", expected one of tcp",
        ),
        (
            json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": 1}}),
            400,
            "Config.protocol: expected a string",
        ),
        (
            with("service-defaults", json!({"Expose": {"Paths": [{"Port": 1}]}})),
            400,
            "Expose.Paths[0].Port: invalid config key",
        ),
        (with("service-defaults", json!({"Partition": "p"})), 400, "only the default partition"),
        (resolver(json!({"DefaultSubset": "v1"})), 400, "DefaultSubset: \"v1\" is none of the Subsets"),
        (resolver(json!({"Subsets": {"v1": {"Filter": "a ="}}})), 400, "Subsets[\"v1\"].Filter: at byte 2"),
        (resolver(json!({"Subsets": {"V1": {}}})), 400, "Subsets[\"V1\"]: expected lower-case"),
        (resolver(json!({"Redirect": {}})), 400, "Redirect: is empty"),
        (
            resolver(json!({"Redirect": {"Service": "db"}, "Subsets": {"a": {}}})),
            400,
            "Redirect: cannot be beside Subsets",
        ),
        (
            resolver(json!({"Failover": {"v1": {"Service": "db"}}})),
            400,
            "Failover[\"v1\"]: is for none of the Subsets",
        ),
        (resolver(json!({"Failover": {"*": {}}})), 400, "Failover[\"*\"]: expected Service"),
        (resolver(json!({"LoadBalancer": {"Policy": "best"}})), 400, "LoadBalancer.Policy: invalid value"),
        (
            resolver(json!({"LoadBalancer": {"Policy": "random", "HashPolicies": [{"SourceIP": true}]}})),
            400,
            "need Policy ring_hash or maglev",
        ),
        (resolver(json!({"ConnectTimeout": "soon"})), 400, "ConnectTimeout: "),
        (splits(json!([])), 400, "no splits configured"),
        (splits(json!([{"Weight": 99}])), 400, "the sum of all split weights must be 100, not 99"),
        (splits(json!([{"Weight": 101}])), 400, "Splits[0].Weight: expected 0, or a number from 0.01 to 100"),
        (
            splits(json!([{"Weight": 50}, {"Weight": 50, "Service": "web"}])),
            400,
            "Splits[1]: the same Service",
        ),
        (splits(json!([{"Weight": "all"}])), 400, "Splits[0].Weight: expected a number"),
        (
            http(json!({"PathExact": "/a", "PathPrefix": "/b"})),
            400,
            "Routes[0].Match.HTTP: should only contain at most one of PathExact",
        ),
        (http(json!({"PathPrefix": "b"})), 400, "Routes[0].Match.HTTP.PathPrefix: doesn't start with '/'"),
        (http(json!({"PathRegex": "("})), 400, "Routes[0].Match.HTTP.PathRegex: unclosed group"),
        (http(json!({"Header": [{"Exact": "a"}]})), 400, "Match.HTTP.Header[0]: missing required Name field"),
        (
            http(json!({"Header": [{"Name": "a", "Exact": "a", "Regex": "b"}]})),
            400,
            "Header[0]: should only contain one of",
        ),
        (
            http(json!({"Header": [{"Name": "a"}]})),
            400,
            "Header[0]: should only contain one of Present, Exact, Prefix, Suffix, Contains, or Regex, and has none",
        ),
        (
            http(json!({"Header": [{"Name": "a", "Present": false}]})),
            400,
            "Header[0]: should only contain one of",
        ),
        (
            http(json!({"QueryParam": [{"Name": "a"}]})),
            400,
            "QueryParam[0]: should only contain one of Present, Exact, or Regex",
        ),
        (http(json!({"Methods": ["GE T"]})), 400, "Match.HTTP.Methods: contains an invalid method \"GE T\""),
        (
            http(json!({"Methods": ["get", "GET"]})),
            400,
            "Match.HTTP.Methods: contains \"GET\" more than once",
        ),
        (
            routes(json!({"Destination": {"RetryOn": ["reset", "always"]}})),
            400,
            "Destination.RetryOn: contains an invalid retry condition: \"always\"",
        ),
        (
            resolver(json!({"Subsets": {"v1": {"Filter": "Service.Mta.version == v1"}}})),
            400,
            "Subsets[\"v1\"].Filter: Failed to create boolean expression evaluator: filter: Selector \"Service.Mta.version\" is not valid",
        ),
        (
            routes(json!({"Destination": {"PrefixRewrite": "/"}})),
            400,
            "Destination.PrefixRewrite: needs Match.HTTP.PathPrefix",
        ),
        (
            routes(json!({"Destination": {"RetryOnStatusCodes": [7]}})),
            400,
            "RetryOnStatusCodes: 7 is no status",
        ),
        (sources(json!([{"Action": "allow"}])), 400, "Sources[0].Name: is required"),
        (sources(json!([{"Name": "a"}])), 400, "Sources[0]: must set either Action or Permissions"),
        (sources(json!([{"Name": "a", "Action": "maybe"}])), 400, "Sources[0].Action: invalid value"),
        (
            sources(json!([{"Name": "a", "Action": "deny"}, {"Name": "a", "Action": "deny"}])),
            400,
            "is there more than once",
        ),
    ] {
        let answer = api.call("PUT /v1/config", &entry.to_string()).await;
        assert_eq!(answer.status, status, "{entry}: {}", answer.body);
        assert!(answer.body.contains(message), "{entry}: {}", answer.body);
    }
    let large = with("service-defaults", json!({"Meta": {"a": "x".repeat(70_000)}}));
    assert_eq!(api.call("PUT /v1/config", &large.to_string()).await.status, 400);
    for (line, status, message) in [
        ("GET /v1/config/none", 400, "invalid config entry kind"),
        (
            "GET /v1/config/service-defaults/none",
            404,
            "Config entry not found for \"service-defaults\" / \"none\"",
        ),
        ("DELETE /v1/config/service-defaults", 404, "Must provide both a kind and name to delete"),
        ("PUT /v1/config?cas=x", 400, "Request decode failed"),
        ("GET /v1/config", 405, "method GET not allowed"),
    ] {
        let answer = api.call(line, "").await;
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
        assert!(answer.body.contains(message), "{line}: {}", answer.body);
    }
    for kind in
        ["service-defaults", "service-resolver", "service-splitter", "service-router", "service-intentions"]
    {
        assert_eq!(api.get(&format!("/v1/config/{kind}")).await.json(), json!([]), "nothing is left behind");
    }
}

#[tokio::test]
async fn a_chain_shows_where_calls_go() {
    let api = Api::start().await;
    let plain = api.get("/v1/discovery-chain/web").await;
    assert_eq!(plain.json()["Chain"]["StartNode"], "resolver:web.default.default.dc1");
    assert_eq!(plain.json()["Chain"]["Default"], true);
    let put = async |entry: Value| api.ok("PUT /v1/config", &entry.to_string()).await;
    let address = api.address;
    let target = format!("/v1/discovery-chain/web?index={}&wait=60s", plain.index());
    let watch = tokio::spawn(async move { get(address, &target).await });
    api.until_waiting(5).await;
    put(json!({"Kind": "service-resolver", "Name": "web", "Subsets": {"v2": {"Filter": "Service.Meta.v == v2"}},
        "ConnectTimeout": "3s", "Failover": {"v2": {"Service": "spare"}}}))
    .await;
    let woken = tokio::time::timeout(PATIENCE, watch).await.expect("the watch wakes").unwrap();
    assert!(woken.index() > plain.index());
    put(json!({"Kind": "service-splitter", "Name": "web", "Splits": [
        {"Weight": 90}, {"Weight": 10, "ServiceSubset": "v2"}]}))
    .await;
    put(json!({"Kind": "service-router", "Name": "web", "Routes": [
        {"Match": {"HTTP": {"PathPrefix": "/a"}}, "Destination": {"Service": "api"}}]}))
    .await;
    let chain = api.get("/v1/discovery-chain/web").await.json()["Chain"].clone();
    let nodes = &chain["Nodes"];
    let router = &nodes[chain["StartNode"].as_str().unwrap()];
    assert_eq!(router["Routes"][0]["NextNode"], "resolver:api.default.default.dc1");
    let splitter = &nodes[router["Routes"][1]["NextNode"].as_str().unwrap()];
    assert_eq!(splitter["Splits"][1]["Weight"], 10.0);
    let resolver = &nodes[splitter["Splits"][1]["NextNode"].as_str().unwrap()]["Resolver"];
    assert_eq!(resolver["Failover"]["Targets"], json!(["spare.default.default.dc1"]));
    assert_eq!(resolver["ConnectTimeout"], "3s");
    assert_eq!(chain["Targets"]["v2.web.default.default.dc1"]["Subset"]["Filter"], "Service.Meta.v == v2");
    let shown = json!({"Match": {"HTTP": {"PathPrefix": "/a"}}, "Destination": {"Service": "api"}});
    assert_eq!(router["Routes"][0]["Definition"], shown);
    assert_eq!(router["Routes"][1]["Definition"]["Match"]["HTTP"]["PathPrefix"], "/");
    assert_eq!(splitter["Splits"][1]["Definition"], json!({"Weight": 10, "ServiceSubset": "v2"}));

    // What a reader wants otherwise.
    let ask = async |query: &str, body: Value| {
        api.call(&format!("POST /v1/discovery-chain/web{query}"), &body.to_string()).await
    };
    let tcp = ask("", json!({"OverrideProtocol": "tcp"})).await.json()["Chain"].clone();
    assert_eq!(
        (&tcp["StartNode"], &tcp["Protocol"]),
        (&json!("resolver:web.default.default.dc1"), &json!("tcp"))
    );
    assert_eq!(tcp["CustomizationHash"].as_str().unwrap().len(), 8);
    assert_eq!(chain["CustomizationHash"], "");
    let slow = ask(
        "?compile-dc=dc1",
        json!({"override_connect_timeout": "9s", "OverrideMeshGateway": {"Mode": "none"}}),
    );
    let slow = slow.await.json()["Chain"].clone();
    assert_eq!(slow["Nodes"]["resolver:api.default.default.dc1"]["Resolver"]["ConnectTimeout"], "9s");
    assert_eq!(slow["Targets"]["api.default.default.dc1"]["MeshGateway"], json!({"Mode": "none"}));
    for (query, body, status, part) in [
        ("?compile-dc=dc2", json!({}), 500, "No path to datacenter"),
        ("", json!({"OverrideProtocol": "smtp"}), 400, "OverrideProtocol: expected tcp, http, http2 or grpc"),
        ("", json!({"OverrideConnectTimeout": "soon"}), 400, "OverrideConnectTimeout: "),
        ("", json!({"OverrideMeshGateway": {"Mode": "local"}}), 400, "there are no mesh gateways"),
        (
            "",
            json!({"OverrideMeshGateway": {"Mode": "x"}}),
            400,
            "Invalid OverrideMeshGateway.Mode parameter",
        ),
    ] {
        let answer = ask(query, body.clone()).await;
        assert_eq!(answer.status, status, "{query} {body}: {}", answer.body);
        assert!(answer.body.contains(part), "{query} {body}: {}", answer.body);
    }
}

#[tokio::test]
async fn entries_that_do_not_fit_each_other_are_refused() {
    let api = Api::start().await;
    let put = async |entry: Value| api.call("PUT /v1/config", &entry.to_string()).await;
    let splitter = json!({"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100, "ServiceSubset": "v1"}]});
    let missing = "service \"web\" does not have a subset named \"v1\"";
    let refused = put(splitter.clone()).await;
    assert_eq!((refused.status, refused.body.as_str()), (400, missing));
    assert_eq!(api.get("/v1/config/service-splitter").await.json(), json!([]));
    let resolver =
        json!({"Kind": "service-resolver", "Name": "web", "Subsets": {"v1": {"OnlyPassing": true}}});
    assert_eq!(put(resolver).await.body, "true");
    assert_eq!(put(splitter).await.body, "true");
    let needed = format!("{missing} (needed by service-splitter/web)");
    let path = "/v1/config/service-resolver/web";
    let refused = api.call(&format!("DELETE {path}"), "").await;
    assert_eq!((refused.status, &*refused.body), (400, &*needed));
    let index = api.get(path).await.index();
    let refused = api.call(&format!("DELETE {path}?cas={index}"), "").await;
    assert_eq!((refused.status, &*refused.body), (400, &*needed));
    assert_eq!(api.call(&format!("DELETE {path}?cas={}", index + 100), "").await.body, "false");
    let tcp = put(json!({"Kind": "service-defaults", "Name": "web", "Protocol": "tcp"})).await;
    assert!(tcp.body.contains("does not permit advanced routing"), "{}", tcp.body);
    assert_eq!(api.call("DELETE /v1/config/service-splitter/web", "").await.body, "{}");
    assert_eq!(api.call(&format!("DELETE {path}"), "").await.body, "{}");
}

/// Two that are each fine, and do not fit each other: whoever comes second is refused, however close.
#[tokio::test]
async fn entries_that_are_put_at_once_are_judged_together() {
    let api = Api::start().await;
    for round in 0..10 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let redirect = |from: &str, to: &str| {
            json!({"Kind": "service-resolver", "Name": from, "Redirect": {"Service": to}}).to_string()
        };
        let (there, back) = (redirect(&a, &b), redirect(&b, &a));
        let (there, back) =
            tokio::join!(api.call("PUT /v1/config", &there), api.call("PUT /v1/config", &back));
        let statuses = [there.status, back.status];
        assert!(
            statuses == [200, 400] || statuses == [400, 200],
            "{statuses:?}: {} {}",
            there.body,
            back.body
        );
    }
}

/// Every field that is shown of an instance may be named by a subset's filter.
#[tokio::test]
async fn filters_of_subsets_name_what_is_shown() {
    let api = Api::start().await;
    let register = json!({"ID": "web-1", "Name": "web", "Port": 80, "Tags": ["a"], "Meta": {"version": "v1"},
        "TaggedAddresses": {"lan": {"Address": "10.0.0.1", "Port": 80}}});
    api.ok("PUT /v1/agent/service/register", &register.to_string()).await;
    let shown = api.get("/v1/health/service/web").await.json()[0].clone();
    let test = |field: String, value: &Value| match value {
        Value::Number(_) => format!("{field} == 1"),
        Value::Bool(_) => format!("{field} == true"),
        _ => format!("{field} is empty"),
    };
    let mut filters = Vec::new();
    for part in ["Node", "Service"] {
        for (name, value) in shown[part].as_object().unwrap() {
            match value.as_object().filter(|_| !matches!(&**name, "Meta" | "TaggedAddresses")) {
                Some(inner) => filters
                    .extend(inner.iter().map(|(inner, value)| test(format!("{part}.{name}.{inner}"), value))),
                None => filters.push(test(format!("{part}.{name}"), value)),
            }
        }
    }
    assert!(filters.len() > 20, "{filters:?}");
    let within =
        ["Service.Meta.version == v1", "Node.Meta.zone == a", "Service.TaggedAddresses.lan.Port == 80"];
    filters.extend(within.map(str::to_owned));
    for filter in filters {
        let entry = json!({"Kind": "service-resolver", "Name": "web", "Subsets": {"v1": {"Filter": filter}}});
        let answer = api.call("PUT /v1/config", &entry.to_string()).await;
        assert_eq!(answer.status, 200, "{filter}: {}", answer.body);
    }
}

/// A filter that takes nobody is kept, and named: what it is meant for may come later.
#[tokio::test]
async fn filters_of_subsets_that_take_nobody_are_named() {
    let api = Api::start().await;
    let filter = |version: &str| json!({"Filter": format!("Service.Meta.version == {version}")});
    let subsets = json!({"v1": filter("v1"), "v2": filter("v2"), "fit": {"OnlyPassing": true}});
    let entry = json!({"Kind": "service-resolver", "Name": "web", "Subsets": subsets}).to_string();
    let put = async || {
        let answer = api.call("PUT /v1/config", &entry).await;
        assert_eq!((answer.status, &*answer.body), (200, "true"));
        answer.header("x-weir-hints").to_owned()
    };
    assert_eq!(put().await, "", "there is nobody yet");
    let web = |id: &str, version: &str| {
        json!({"ID": id, "Name": "web", "Port": 80, "Meta": {"version": version}}).to_string()
    };
    api.ok("PUT /v1/agent/service/register", &web("web-1", "v1")).await;
    assert_eq!(put().await, "Subsets.v2.Filter takes none of the instances there are now (1)");
    api.ok("PUT /v1/agent/service/register", &web("web-2", "v2")).await;
    assert_eq!(put().await, "");
}

#[tokio::test]
async fn what_instances_speak_refuses_nothing_and_is_said() {
    let api = Api::start().await;
    let register = async |protocol: &str| {
        let body = json!({"Name": "db", "Port": 1, "Meta": {"protocol": protocol}}).to_string();
        api.ok("PUT /v1/agent/service/register", &body).await;
    };
    let put = async |entry: Value| {
        let answer = api.call("PUT /v1/config", &entry.to_string()).await;
        assert_eq!((answer.status, &*answer.body), (200, "true"), "{entry}");
        answer.header("x-weir-hints").to_owned()
    };
    let router = json!({"Kind": "service-router", "Name": "db", "Routes": []});
    let splitter = json!({"Kind": "service-splitter", "Name": "web", "Splits": [
        {"Weight": 50, "Service": "db"}, {"Weight": 50}]});
    register("tcp").await;
    let said = put(router.clone()).await;
    let permit = "service-router/db: discovery chain \"db\" uses a protocol \"tcp\" that does not permit advanced routing or \
                  splitting behavior, as instances say now";
    assert_eq!(said, permit);
    assert_eq!(put(splitter.clone()).await, "", "of web nothing says what it speaks");
    let said = put(json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http"})).await;
    let mixed = "service-splitter/web: discovery chain \"web\" uses inconsistent protocols; service \"db\" has \"tcp\" which is \
                 not \"http\", as instances say now";
    assert_eq!(said, mixed);
    assert_eq!(put(splitter).await, mixed);
    register("http").await;
    assert_eq!(put(router.clone()).await, "");
    // What is said of the service goes before what its instances say.
    register("tcp").await;
    put(json!({"Kind": "service-defaults", "Name": "db", "Protocol": "http"})).await;
    assert_eq!(put(router).await, "");
}

#[tokio::test]
async fn what_leads_to_nobody_or_to_itself_is_said() {
    let api = Api::start().await;
    for name in ["web", "cart"] {
        api.ok("PUT /v1/agent/service/register", &json!({"Name": name, "Port": 80}).to_string()).await;
    }
    let resolver = |more: Value| {
        let mut entry = json!({"Kind": "service-resolver", "Name": "web"});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let nobody = |path: &str| format!("{path}: there is no service nosuch now");
    let itself = "leads to nothing but the service itself";
    let subsets = json!({"v1": {}, "v2": {}});
    for (entry, expect) in [
        (
            json!({"Kind": "service-splitter", "Name": "web", "Splits": [
                {"Weight": 50, "Service": "cart"}, {"Weight": 50, "Service": "nosuch"}]}),
            nobody("Splits[1].Service"),
        ),
        (
            json!({"Kind": "service-router", "Name": "web", "Routes": [
                {"Destination": {"PrefixRewrite": "/"}, "Match": {"HTTP": {"PathPrefix": "/a"}}},
                {"Destination": {"Service": "nosuch"}, "Match": {"HTTP": {"PathPrefix": "/b"}}}]}),
            nobody("Routes[1].Destination.Service"),
        ),
        (resolver(json!({"Redirect": {"Service": "nosuch"}})), nobody("Redirect.Service")),
        (resolver(json!({"Redirect": {"Service": "cart"}})), String::new()),
        (resolver(json!({"Redirect": {"Datacenter": "dc1"}})), "Redirect leads to the service itself".into()),
        (resolver(json!({"Failover": {"*": {"Service": "nosuch"}}})), nobody("Failover.*.Service")),
        (
            resolver(json!({"Failover": {"*": {"Targets": [{"Service": "cart"}, {"Service": "nosuch"}]}}})),
            nobody("Failover.*.Targets[1].Service"),
        ),
        (resolver(json!({"Failover": {"*": {"Service": "web"}}})), format!("Failover.* {itself}")),
        (resolver(json!({"Failover": {"*": {"Datacenters": ["dc2"]}}})), String::new()),
        (
            resolver(
                json!({"Subsets": subsets, "Failover": {"v1": {"ServiceSubset": "v1"}, "v2": {"ServiceSubset": "v1"}}}),
            ),
            format!("Failover.v1 {itself}"),
        ),
        (
            resolver(
                json!({"Subsets": subsets, "DefaultSubset": "v1", "Failover": {"*": {"ServiceSubset": "v1"}}}),
            ),
            String::new(),
        ),
    ] {
        let answer = api.call("PUT /v1/config", &entry.to_string()).await;
        assert_eq!((answer.status, &*answer.body), (200, "true"), "{entry}");
        assert_eq!(answer.header("x-weir-hints"), expect, "{entry}");
    }
}

#[tokio::test]
async fn a_protocol_is_kept_in_small_letters() {
    let api = Api::start().await;
    let entry = json!({"Kind": "service-defaults", "Name": "web", "Protocol": "HTTP"});
    api.ok("PUT /v1/config", &entry.to_string()).await;
    assert_eq!(api.get("/v1/config/service-defaults/web").await.json()["Protocol"], "http");
    assert_eq!(api.get("/v1/discovery-chain/web").await.json()["Chain"]["Protocol"], "http");
}
