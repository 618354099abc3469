//! Scenarios that cannot be used are refused with line, field and what was expected.

use weir_sim::Scenario;

const GOOD: &str = "\
duration: 10s
phases: [{name: one, at: 0s}]
clients:
- name: web
  arrivals: {rate: 10}
services:
- name: shop
  trafficPolicy:
    retry: {attempts: 1}
  rateLimits:
  - rates: [{requests: 5}]
  servers:
  - count: 1
    time: {constant: 1ms}
faults:
- {at: 1s, do: kill}
";

fn errors(text: &str) -> String {
    match Scenario::parse("s.yaml", text) {
        Ok(_) => String::new(),
        Err(errors) => errors.iter().map(|error| format!("{error}\n")).collect(),
    }
}

#[test]
fn the_good_one_is_good() {
    assert_eq!(errors(GOOD), "");
}

#[test]
fn faults_are_named_with_line_path_and_remedy() {
    let check = |from: &str, to: &str, parts: &[&str]| {
        assert!(GOOD.contains(from), "{from}");
        let got = errors(&GOOD.replace(from, to));
        for part in parts {
            assert!(got.contains(part), "{from} -> {to}: `{part}` is missing in\n{got}");
        }
    };
    check("duration: 10s", "duration: 0s", &["s.yaml:1: duration: ", "above zero"]);
    check("duration: 10s", "duraton: 10s", &["s.yaml:1: duraton: unknown field", "did you mean `duration`?"]);
    check("duration: 10s", "duration: 10", &["s.yaml:1: duration: ", "`250ms`"]);
    check("rate: 10", "rate: -1", &["s.yaml:5: clients[0].arrivals.rate: -1 is out of range", "0 to"]);
    check("  arrivals: {rate: 10}\n", "", &["clients[0]: they never send anything", "`arrivals` or `loop`"]);
    check("name: web", "name: web\n  service: shpo", &["clients[0].service", "did you mean `shop`?"]);
    check("name: web", "name: web\n  timeout: 0s", &["clients[0].timeout", "above zero"]);
    check(
        "{constant: 1ms}",
        "{constnt: 1ms}",
        &["s.yaml:14: ", "unknown value `constnt`", "did you mean `constant`?"],
    );
    check(
        "{constant: 1ms}",
        "{pareto: {least: 1ms, shape: 0}}",
        &["services[0].servers[0].time.pareto.shape", "above 0"],
    );
    check("do: kill", "do: restart", &["s.yaml:16: faults[0].do: `restart` alone says too little"]);
    check("at: 1s", "at: -1s", &["s.yaml:16: faults[0].at", "`250ms`"]);
    check("do: kill", "for: 0s, do: kill", &["faults[0].for: it is over at once"]);
    check("attempts: 1", "attempts: 99", &["s.yaml:9: services[0].trafficPolicy.retry.attempts", "0 to 10"]);
    // Specs say here what they say in documents.
    check(
        "attempts: 1",
        "attempts: -1",
        &["services[0].trafficPolicy.retry.attempts", "an integer from 0 to 10 was"],
    );
    check("{requests: 5}", "{requests: 1.5}", &["rates[0].requests", "an integer from 1 to 1000000000 was"]);
    check(
        "retry: {attempts: 1}",
        "breakers: [{failureRatio: 1.5}]",
        &["services[0].trafficPolicy.breakers[0].failureRatio"],
    );
    check(
        "retry: {attempts: 1}",
        "balance: {policy: fastest}",
        &["services[0].trafficPolicy.balance.policy", "`least_request`"],
    );
    check("{requests: 5}", "{requests: 0}", &["s.yaml:11: services[0].rateLimits[0].rates[0].requests"]);
    check("do: kill", "do: kil", &["s.yaml:16: faults[0].do", "did you mean `kill`?"]);
    check("at: 1s", "at: 11s", &["s.yaml:16: faults[0].at", "less than `duration`"]);
    check(
        "do: kill",
        "servers: {zone: a}, do: kill",
        &["faults[0].servers.zone: there is no `a`, nor any other; expected one that is declared"],
    );
    check(
        "do: kill",
        "servers: {count: 3}, do: kill",
        &[
            "faults[0].servers.count: 3 servers, where there is 1 to choose from at the beginning; expected at most 1",
        ],
    );
    check(
        "{constant: 1ms}",
        "{constant: 1ms, exponential: 2ms}",
        &[
            "services[0].servers[0].time: `constant` and `exponential` together, where one of `constant`",
            "expected exactly one, such as `{constant: 10ms}`",
        ],
    );
    check(
        "do: kill",
        "clients: [web], do: kill",
        &["faults[0].clients", "`partition`, `delay` and `controlPlaneGone`"],
    );
    check(
        "do: kill",
        "servers: {count: 1}, do: controlPlaneGone",
        &["faults[0].servers", "no `servers` with `controlPlaneGone`"],
    );
    check("do: kill", "do: {fail: {ratio: 2}}", &["faults[0].do.fail.ratio: 2 is out of range", "0 to 1"]);
    check("name: one, at: 0s", "name: one, at: 20s", &["phases[0].at", "less than `duration`"]);
    check(
        "do: kill",
        "clients: [web, web], do: partition",
        &["s.yaml:16: faults[0].clients[1]: `web` is there twice"],
    );
    let web = "- name: web\n  arrivals: {rate: 10}\n";
    check(web, &web.repeat(2), &["s.yaml:6: clients[1].name: `web` is there twice"]);
    let group = "  - count: 1\n    time: {constant: 1ms}\n";
    check(group, &group.repeat(2), &["services[0].servers[1].name: `servers` is there twice"]);
    check(
        &format!("clients:\n{web}"),
        "clients: []\n",
        &["s.yaml:3: clients: there are none; expected at least one"],
    );
}

#[test]
fn all_that_cannot_be_read_is_told_at_once() {
    let text = GOOD
        .replace("duration: 10s", "duration: 10")
        .replace("{rate: 10}", "{rate: ten}")
        .replace("count: 1", "count: -1")
        .replace("{constant: 1ms}", "{constnt: 1ms}")
        .replace("attempts: 1", "attempts: x")
        .replace("do: kill", "do: kil");
    let got = errors(&text);
    let paths = [
        "s.yaml:1: duration: ",
        "s.yaml:5: clients[0].arrivals.rate: ",
        "s.yaml:9: services[0].trafficPolicy.retry.attempts: ",
        "s.yaml:13: services[0].servers[0].count: ",
        "s.yaml:14: services[0].servers[0].time.constnt: ",
        "s.yaml:16: faults[0].do: ",
    ];
    let lines: Vec<&str> = got.lines().collect();
    assert_eq!(lines.len(), paths.len(), "{got}");
    for (line, path) in lines.iter().zip(paths) {
        assert!(line.starts_with(path), "`{path}` is missing in\n{got}");
    }
}

#[test]
fn what_is_no_number_of_its_kind_is_answered_with_the_range_that_counts() {
    let numbers = [
        ("count: 1", "count: ", "services[0].servers[0].count", "0 to 1000000"),
        ("count: 1", "count: 1\n    cores: ", "services[0].servers[0].cores", "1 to 10000000"),
        ("count: 1", "count: 1\n    weight: ", "services[0].servers[0].weight", "0 to 1000000"),
        ("count: 1", "count: 1\n    queue: {max: #}", "services[0].servers[0].queue.max", "0 to 10000000"),
        ("name: web", "name: web\n  proxies: ", "clients[0].proxies", "1 to 100000"),
        ("name: web", "name: web\n  retry: {attempts: #}", "clients[0].retry.attempts", "0 to 1000"),
        ("arrivals: {rate: 10}", "loop: {clients: #}", "clients[0].loop.clients", "1 to 4000000"),
        ("do: kill", "do: {add: {count: #}}", "faults[0].do.add.count", "1 to 1000000"),
        ("do: kill", "do: {fail: {ratio: 1, status: #}}", "faults[0].do.fail.status", "400 to 599"),
        ("do: kill", "servers: {count: #}, do: kill", "faults[0].servers.count", "1 to 1000000"),
        ("do: kill", "servers: {skip: #}, do: kill", "faults[0].servers.skip", "0 to 1000000"),
        ("attempts: 1", "attempts: ", "services[0].trafficPolicy.retry.attempts", "0 to 10"),
        ("requests: 5", "requests: #", "services[0].rateLimits[0].rates[0].requests", "1 to 1000000000"),
    ];
    for (from, to, path, range) in numbers {
        for number in ["-1", "1.5", "1e30", "18446744073709551615", "x"] {
            let to = if to.contains('#') { to.replace('#', number) } else { format!("{to}{number}") };
            let got = errors(&GOOD.replace(from, &to));
            let named = got.contains(&format!("{path}: ")) && got.contains(range);
            assert!(named, "{path} `{number}`: `{range}` is missing in\n{got}");
            // Of the range there is nothing before or after it.
            assert!(!got.contains("4294967295") && !got.contains("65535"), "{path} `{number}`: {got}");
        }
    }
    let values = |values: &str| {
        let request = format!("name: web\n  request: {{headers: [{{name: x-user, values: {values}}}]}}");
        errors(&GOOD.replace("name: web", &request))
    };
    for number in ["-1", "0", "1.5", "99999999999"] {
        assert!(values(&format!("{{uniform: {number}}}")).contains("1 to 10000000"), "{number}");
        let got = values(&format!("{{zipf: {{count: {number}}}}}"));
        assert!(got.contains("1 to 10000000") && got.contains("values.zipf.count"), "{number}: {got}");
    }
    let huge = errors(&GOOD.replace("rate: 10", "rate: 1e300"));
    assert!(huge.contains("arrivals.rate: 1e300 is out of range; expected 0 to 1000000000"), "{huge}");
    let infinite = errors(&GOOD.replace("rate: 10", "rate: .inf"));
    assert!(infinite.contains("where a finite number was expected"), "{infinite}");
    for number in [".nan", ".inf", "-1", "ten"] {
        let got = errors(&GOOD.replace("rate: 10", &format!("rate: {number}")));
        assert!(got.contains("clients[0].arrivals.rate: "), "{number}: {got}");
    }
}

#[test]
fn a_length_of_time_where_a_distribution_was_wanted_is_answered_with_how_it_is_written() {
    let got = errors(&GOOD.replace("{constant: 1ms}", "5ms"));
    for part in ["s.yaml:14: services[0].servers[0].time: ", "`{constant: 5ms}`", "`exponential`"] {
        assert!(got.contains(part), "`{part}` is missing in\n{got}");
    }
    for other in ["5", "{}", "{constant: 1ms, exponential: 1ms}"] {
        let got = errors(&GOOD.replace("{constant: 1ms}", other));
        assert!(got.contains("expected exactly one, such as `{constant: 10ms}`"), "{other}: {got}");
    }
    let got = errors(&GOOD.replace("{constant: 1ms}", "quick"));
    assert!(got.contains("unknown value `quick`") && !got.contains("{constant: quick}"), "{got}");
}

#[test]
fn what_apply_refuses_of_a_policy_is_refused_of_a_scenarios() {
    let two = "- name: shop\n  trafficPolicy: {breakers: [{fallback: {service: {name: A}}}]}\n  \
               servers: [{count: 1, time: {constant: 1ms}}]\n\
               - name: other\n  trafficPolicy: {breakers: [{fallback: {service: {name: B}}}]}\n  \
               servers: [{count: 1, time: {constant: 1ms}}]\n";
    let scenario = |a: &str, b: &str| {
        let services = two.replace("name: A", a).replace("name: B", b);
        format!(
            "duration: 10s\nclients: [{{name: web, service: shop, arrivals: {{rate: 10}}}}]\nservices:\n{services}"
        )
    };
    let check = |text: &str, parts: &[&str]| {
        let got = errors(text);
        for part in parts {
            assert!(got.contains(part), "`{part}` is missing in\n{got}\nof\n{text}");
        }
    };
    let path = "services[0].trafficPolicy.breakers[0].fallback.service";
    check(&scenario("name: shop", "name: shop"), &[path, "would fall back to itself"]);
    check(&scenario("name: shop, namespace: default", "name: shop"), &[path, "in a circle"]);
    check(&scenario("name: other", "name: shop"), &["s.yaml:", "in a circle: shop", "other"]);
    check(&scenario("name: othre", "name: shop"), &[path, "there is no `othre`; did you mean `other`?"]);
    check(
        &scenario("name: other, namespace: x", "name: x"),
        &["fallback.service.namespace", "one namespace"],
    );
    let policy = |policy: &str| GOOD.replace("retry: {attempts: 1}", policy);
    check(
        &policy("targetRefs: [{name: cart}]"),
        &["s.yaml:9: services[0].trafficPolicy.targetRefs", "`shop`"],
    );
    assert_eq!(errors(&policy("targetRefs: [{name: shop}]")), "");
    check(&policy("hedge: {delay: 5s, percentile: 0.9}"), &["services[0].trafficPolicy.hedge", "twice"]);
    check(
        &policy("timeouts: {request: 1s, perTry: 2s}"),
        &["services[0].trafficPolicy.timeouts.perTry", "at most 1s"],
    );
    let limits = |limits: &str| GOOD.replace("rates: [{requests: 5}]", limits);
    check(
        &limits("{algorithm: leaky_bucket, scope: global, rates: [{requests: 5}]}"),
        &["services[0].rateLimits[0].scope", "token_bucket"],
    );
    let six = "{rates: [{requests: 5}]}\n  - ".repeat(6) + "{rates: [{requests: 5}]}";
    check(&limits(&six), &["s.yaml:16: services[0].rateLimits[5]", "already has 5 limits"]);
    check(&GOOD.replace("name: shop", "name: a shop"), &["services[0].name"]);
}

#[test]
fn what_counts_for_nothing_is_said() {
    let policy = "tls: {caRefs: [{name: none-here}]}\n    timeouts: {idle: 5s, perTry: 20s}\n    \
                  retry: {attempts: 0, statuses: [503]}";
    let text = GOOD
        .replace("retry: {attempts: 1}", policy)
        .replace("rates: [{requests: 5}]", "{scope: global, alone: open, rates: [{requests: 5}]}");
    let scenario = Scenario::parse("s.yaml", &text).unwrap_or_else(|errors| panic!("{errors:?}"));
    let said = scenario.remarks();
    let parts = [
        "trafficPolicy.timeouts.perTry: ",
        "trafficPolicy.retry.statuses: ",
        "trafficPolicy.tls: it counts for nothing here",
        "trafficPolicy.timeouts.idle: it counts for nothing here",
        "rateLimits[0].alone: it counts for nothing here",
    ];
    assert_eq!(said.len(), parts.len(), "{said:?}");
    for part in parts {
        assert!(said.iter().any(|said| said.starts_with(&format!("services[0].{part}"))), "{part}: {said:?}");
    }
    assert!(Scenario::parse("s.yaml", GOOD).unwrap().remarks().is_empty());
}

#[test]
fn what_tells_nothing_and_what_nobody_sees_is_said() {
    let check = |edits: &[(&str, &str)], expected: &[&str]| {
        let text = edits.iter().fold(GOOD.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let scenario = Scenario::parse("s.yaml", &text).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(scenario.remarks(), expected, "{text}");
    };
    let rates = "- rates: [{requests: 5}]";
    let key = "- rates: [{requests: 5}]\n    key: [{type: header, name: X-User}, {type: path}]";
    let apart = "services[0].rateLimits[0].key[0]: no client that calls this service sends `X-User`, so it tells none of them apart";
    check(&[(rates, key)], &[apart]);
    let sends = |headers: &str| format!("name: web\n  request: {{headers: [{headers}]}}");
    check(&[(rates, key), ("name: web", &sends("{name: x-user, values: {uniform: 9}}"))], &[]);
    let sidecar = "count: 1\n    rateLimits: [{rates: [{requests: 5}], key: [{type: cookie, name: id}]}]";
    let apart = "services[0].servers[0].rateLimits[0].key[0]: no client that calls this service sends `id`, so it tells none of them apart";
    check(&[("count: 1", sidecar)], &[apart]);
    let hash = "balance: {policy: maglev, hash: [{type: query, name: q}, {type: path}]}";
    let apart = "services[0].trafficPolicy.balance.hash[0]: no client that calls this service sends `q`, so it tells none of them apart";
    check(&[("retry: {attempts: 1}", hash)], &[apart]);

    let priority = "- algorithm: concurrency\n    concurrencyMax: 5\n    priority: {header: x-class, levels: [gold, '3', basic]}";
    let last = "services[0].rateLimits[0].priority.header: no client that calls this service sends `x-class`, so all are of the last level";
    check(&[(rates, priority)], &[last]);
    let all = sends("{name: X-Class, values: {oneOf: [basic, gold, '3']}}");
    check(&[(rates, priority), ("name: web", &all)], &[]);
    let never = |level: &str| {
        format!(
            "services[0].rateLimits[0].priority.levels: no client that calls this service sends `x-class: {level}`"
        )
    };
    let [gold, three, basic] = ["gold", "3", "basic"].map(never);
    let numbers = |count: u32| sends(&format!("{{name: x-class, values: {{uniform: {count}}}}}"));
    check(&[(rates, priority), ("name: web", &numbers(3))], &[&gold, &three, &basic]);
    check(&[(rates, priority), ("name: web", &numbers(4))], &[&gold, &basic]);

    let warm = ("duration: 10s", "duration: 10s\nwarmUp: 5s");
    let over = "faults[0]: it is over at 2s, before `warmUp` is, at 5s: only what it leaves behind counts";
    check(&[warm, ("do: kill", "for: 1s, do: kill")], &[over]);
    check(&[warm, ("do: kill", "for: 5s, do: kill")], &[]);
    let phase =
        "phases[0]: it ends at 5s, and what happens before `warmUp` is over, at 5s, counts for nothing";
    check(&[warm, ("{name: one, at: 0s}", "{name: one, at: 0s}, {name: two, at: 5s}")], &[phase]);
    let nothing = "clients[0].arrivals.rate: it is 0 all the time, so these clients send nothing";
    check(&[("rate: 10", "rate: 0")], &[nothing]);
    check(&[("rate: 10", "rate: 0, steps: [{at: 1s, rate: 1}]")], &[]);
    let two = "services:\n- name: other\n  servers: [{count: 1, time: {constant: 1ms}}]\n";
    let uncalled = "services[0]: nobody calls it, so nothing of it counts";
    check(&[("services:\n", two), ("name: web", "name: web\n  service: shop")], &[uncalled]);
    let falls = "breakers: [{fallback: {service: {name: other}}}]";
    let called =
        [("services:\n", two), ("name: web", "name: web\n  service: shop"), ("retry: {attempts: 1}", falls)];
    check(&called, &[]);
    let targets = "targetRefs: [{name: cart}, {name: shop}]\n    retry: {attempts: 1}";
    let elsewhere = "services[0].trafficPolicy.targetRefs[0]: it counts for nothing here, where a policy is in force at the service under which it stands";
    check(&[("retry: {attempts: 1}", targets)], &[elsewhere]);
}

#[test]
fn steps_faults_and_selections_that_cannot_come_about_are_refused() {
    let check = |from: &str, to: &str, parts: &[&str]| {
        let got = errors(&GOOD.replace(from, to));
        for part in parts {
            assert!(got.contains(part), "{from} -> {to}: `{part}` is missing in\n{got}");
        }
    };
    let rate = "rate: 10";
    check(rate, "rate: 10, steps: [{at: 10s, rate: 1}]", &["arrivals.steps[0].at", "less than `duration`"]);
    check(
        rate,
        "rate: 10, steps: [{at: 1s, rate: 5, over: 3s}, {at: 2s, rate: 1}]",
        &["clients[0].arrivals.steps[0].over", "at most 1s"],
    );
    check("name: web", "name: web\n  retry: {attempts: 1, base: 2s, max: 1s}", &["retry.max", "at least 2s"]);
    check("do: kill", "servers: {skip: 1}, do: kill", &["faults[0].servers: no server is meant"]);
    check("do: kill", "servers: {share: 0.1}, do: kill", &["faults[0].servers: no server is meant"]);
    check("count: 1", "count: 0", &["faults[0].servers: no server is meant"]);
    check("do: kill", "servers: {zone: b}, do: {add: {count: 1}}", &["faults[0].servers.zone"]);
    let two = "count: 1\n    name: a\n    time: {constant: 1ms}\n  - name: b\n    count: 1";
    let text = GOOD.replace("count: 1", two).replace("do: kill", "do: {add: {count: 1}}");
    assert!(errors(&text).contains("several groups could be meant"), "{}", errors(&text));
    let named = text.replace("do: {add", "servers: {group: b}, do: {add");
    assert_eq!(errors(&named), "");
    let text = GOOD
        .replace("count: 1", "zones: [x, y]\n    count: 1")
        .replace("do: kill", "servers: {zone: y}, do: kill");
    assert!(errors(&text).contains("no server is meant"), "{}", errors(&text));
}

#[test]
fn a_world_that_is_too_large_is_refused_before_it_is_made() {
    let check = |edits: &[(&str, &str)], parts: &[&str]| {
        let text = edits.iter().fold(GOOD.to_owned(), |text, (from, to)| text.replace(from, to));
        let got = errors(&text);
        for part in parts {
            assert!(got.contains(part), "{edits:?}: `{part}` is missing in\n{got}");
        }
    };
    let long = ("duration: 10s", "duration: 1000s");
    check(
        &[long, ("rate: 10", "rate: 1000001")],
        &["clients: some 1000 million requests", "at most 1000 million"],
    );
    check(
        &[long, ("rate: 10", "rate: 0, steps: [{at: 500s, rate: 4000004, over: 500s}]")],
        &["some 1000 million"],
    );
    check(
        &[("count: 1", "count: 1000000"), ("name: web", "name: web\n  proxies: 100")],
        &["clients: 100000000 servers"],
    );
    check(
        &[("count: 1", "count: 999999"), ("do: kill", "do: {add: {count: 2}}")],
        &["services: 1000001 servers in all"],
    );
    let faults = "{at: 1s, do: kill}\n- ".repeat(11) + "{at: 1s, do: kill}";
    check(
        &[("count: 1", "count: 1000000"), ("{at: 1s, do: kill}", &faults)],
        &["faults: 12000000 servers struck"],
    );
    let phases: Vec<String> = (0..10_000).map(|n| format!("{{name: p{n}, at: {n}us}}")).collect();
    let phases = format!("phases: [{}]", phases.join(", "));
    check(&[("phases: [{name: one, at: 0s}]", &phases)], &["phases: 10000 phases", "at most 10000"]);
}

#[test]
fn several_faults_are_found_at_once() {
    let got = errors(&GOOD.replace("rate: 10", "rate: -1").replace("count: 1", "cores: 0\n    count: 1"));
    assert_eq!(got.lines().count(), 2, "{got}");
}

#[test]
fn hostile_text_does_no_harm() {
    for text in ["", "{", "[]", "a: &a [*a]", "\u{0}", "duration: 1s\nclients: []\nservices: []\n"] {
        assert!(!errors(text).is_empty(), "{text:?}");
    }
}
