//! A TCP service governs real databases, spoken to by their own clients.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use weir_tests::cluster::START_LIMIT;
use weir_tests::databases::{Postgres, Redis, output, program, psql, redis_cli};
use weir_tests::{Process, eventually, free_port};

/// A proxy from a file, with one port for one service.
struct Stage {
    port: u16,
    proxy: Process,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// `listener` is what is to be said of the listener beside its name and port.
    fn set(listener: &str, documents: &str, arguments: &[&str]) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = dir.path().join("weir.yaml");
        let gateway = format!(
            "kind: Gateway\nmetadata: {{name: edge}}\nspec:\n  listeners: [{{name: db, port: {port}, {listener}}}]\n---\n"
        );
        std::fs::write(&file, gateway + documents).unwrap();
        let mut args = vec!["proxy", "-f", file.to_str().unwrap()];
        args.extend(arguments);
        let mut proxy = Process::weir("proxy", &args);
        proxy.wait_for_line("listening", START_LIMIT);
        Self { port, proxy, _dir: dir }
    }

    /// Everything that connects goes to one of these ports.
    fn tcp(ports: &[u16], arguments: &[&str]) -> Self {
        let documents = service("db", ports) + "---\n" + &route("TCPRoute", "db", "");
        Self::set("protocol: TCP", &documents, arguments)
    }
}

fn service(name: &str, ports: &[u16]) -> String {
    let endpoints: Vec<_> =
        ports.iter().map(|port| format!("{{address: 127.0.0.1, port: {port}}}")).collect();
    format!(
        "kind: Service\nmetadata: {{name: {name}}}\nspec: {{protocol: tcp, endpoints: [{}]}}\n",
        endpoints.join(", ")
    )
}

fn route(kind: &str, service: &str, hostnames: &str) -> String {
    format!(
        "kind: {kind}\nmetadata: {{name: {service}}}\nspec:\n  parentRefs: [{{name: edge}}]\n  {hostnames}\n  rules: \
         [{{backendRefs: [{{name: {service}}}]}}]\n"
    )
}

#[test]
fn postgresql_serves_many_clients_and_big_results() {
    let postgres = Postgres::start();
    let stage = Stage::tcp(&[postgres.port], &[]);
    let pgbench = |args: &[&str]| {
        let mut command = Command::new(program("pgbench", "postgresql"));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &stage.port.to_string()]).args(args);
        output(command.env("PGSSLMODE", "disable").arg("postgres"))
    };
    pgbench(&["-i", "-q", "-s", "2"]);
    let report = pgbench(&["-c", "80", "-j", "2", "-t", "20"]);
    assert!(report.contains("number of transactions actually processed: 1600/1600"), "{report}");
    assert!(report.contains("number of failed transactions: 0"), "{report}");
    // A connection for each transaction.
    let report = pgbench(&["-C", "-S", "-c", "8", "-t", "25"]);
    assert!(report.contains("200/200"), "{report}");

    let sum = "select count(*), sum(abalance) from pgbench_accounts";
    assert_eq!(postgres.sql(stage.port, sum), postgres.sql(postgres.port, sum));

    let done = psql(stage.port)
        .args(["-c", "select repeat('weir', 1000) from generate_series(1, 20000)"])
        .output()
        .unwrap();
    assert_eq!(done.stdout.len(), 20_000 * 4_001);
    assert!(done.stdout.chunks(4_001).all(|line| line.ends_with(b"weir\n")));
}

#[test]
fn postgresql_takes_a_big_upload() {
    let postgres = Postgres::start();
    let stage = Stage::tcp(&[postgres.port], &[]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows");
    let row = "x".repeat(999) + "\n";
    std::fs::write(&file, row.repeat(40_000)).unwrap();
    postgres.sql(stage.port, "create table t (line text)").unwrap();
    let copied = output(
        psql(stage.port)
            .args(["-c", "\\copy t from pstdin"])
            .stdin(Stdio::from(std::fs::File::open(&file).unwrap())),
    );
    assert_eq!(copied.trim(), "COPY 40000");
    let told = postgres.sql(postgres.port, "select count(*), sum(length(line)) from t").unwrap();
    assert_eq!(told, "40000|39960000");
}

/// A statement that waits, once [`hold`] was called, until [`go_on`] has been, however long that takes.
const WAITS: &str =
    "do $$ begin while not exists (select from go_on) loop perform pg_sleep(0.05); end loop; end $$";
/// How many are in it.
const WAITING: &str = "select count(*) from pg_stat_activity where state = 'active' and query like 'do $$%'";

fn hold(postgres: &Postgres) {
    postgres.sql(postgres.port, "create table go_on (n int)").unwrap();
}

fn go_on(postgres: &Postgres) {
    postgres.sql(postgres.port, "insert into go_on values (1)").unwrap();
}

#[test]
fn when_one_postgresql_dies_new_connections_go_to_the_other() {
    let (mut one, two) = (Postgres::start(), Postgres::start());
    let stage = Stage::tcp(&[one.port, two.port], &[]);
    let which = |port: u16| two.sql(port, "select inet_server_port()");
    let mut seen = BTreeSet::new();
    eventually("both to be used", START_LIMIT, || {
        seen.insert(which(stage.port).unwrap());
        (seen.len() == 2).then_some(())
    });

    // One that is in the middle of something is told the truth.
    hold(&one);
    hold(&two);
    let mut sleepers = Vec::new();
    let count = |postgres: &Postgres| -> usize {
        postgres.sql(postgres.port, WAITING).unwrap_or_default().parse().unwrap_or(0)
    };
    eventually("some to wait at each", START_LIMIT, || {
        let mut command = psql(stage.port);
        command.args(["-c", "select inet_server_port()", "-c", WAITS, "-c", "select 'woken'"]);
        sleepers.push(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        eventually("the last one to wait", START_LIMIT, || {
            (count(&one) + count(&two) == sleepers.len()).then_some(())
        });
        (count(&one) > 1 && count(&two) > 1).then_some(())
    });
    one.crash();
    for _ in 0..20 {
        assert_eq!(which(stage.port), Ok(two.port.to_string()), "no connection fails");
    }
    go_on(&two);
    for sleeper in sleepers {
        let done = sleeper.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let survived = said.starts_with(&two.port.to_string());
        assert_eq!(done.status.success(), survived, "{said}{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(said.contains("woken"), survived, "{said}");
    }
}

#[test]
fn a_proxy_that_is_told_to_stop_lets_a_query_finish() {
    let postgres = Postgres::start();
    let mut stage = Stage::tcp(&[postgres.port], &["--drain-timeout", "300s"]);
    hold(&postgres);
    let query = psql(stage.port)
        .args(["-c", WAITS, "-c", "select 'finished'"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the query runs", START_LIMIT, || {
        (postgres.sql(postgres.port, WAITING).as_deref() == Ok("1")).then_some(())
    });
    stage.proxy.signal(libc::SIGTERM);
    eventually("nothing new is accepted", START_LIMIT, || postgres.sql(stage.port, "select 1").err());
    go_on(&postgres);
    let done = query.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&done.stdout).contains("finished"), "{done:?}");
    assert!(stage.proxy.wait(START_LIMIT).success());
}

#[test]
fn redis_serves_its_own_benchmark() {
    let redis = Redis::start("one");
    let stage = Stage::tcp(&[redis.port], &[]);
    let mut benchmark = Command::new(program("redis-benchmark", "redis-tools"));
    benchmark.args([
        "-h",
        "127.0.0.1",
        "-p",
        &stage.port.to_string(),
        "-q",
        "--csv",
        "-c",
        "100",
        "-n",
        "20000",
    ]);
    let report = output(benchmark.args(["-P", "8", "-t", "ping,set,get,lpush,lrange_100,mset"]));
    assert_eq!(report.lines().count(), 9, "a heading and a line for each test: {report}");

    // A big value in both directions.
    let size = 48 * 1024 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let value: Vec<u8> = (0..size).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = dir.path().join("value");
    std::fs::write(&file, &value).unwrap();
    let stored =
        output(redis_cli(stage.port).args(["-x", "set", "big"]).stdin(std::fs::File::open(&file).unwrap()));
    assert_eq!(stored, "OK\n");
    let done = redis_cli(stage.port).args(["get", "big"]).output().unwrap();
    assert!(done.stdout[..value.len()] == value[..] && done.stdout.len() == value.len() + 1);

    // Thousands of connections, one after the other and many at once.
    let mut benchmark = Command::new(program("redis-benchmark", "redis-tools"));
    benchmark.args([
        "-h",
        "127.0.0.1",
        "-p",
        &stage.port.to_string(),
        "-q",
        "--csv",
        "-c",
        "400",
        "-n",
        "4000",
    ]);
    let report = output(benchmark.args(["-k", "0", "-t", "get"]));
    assert_eq!(report.lines().count(), 2, "{report}");
}

#[test]
fn when_one_redis_dies_new_connections_go_to_the_other() {
    let (mut one, two) = (Redis::start("one"), Redis::start("two"));
    let stage = Stage::tcp(&[one.port, two.port], &[]);
    let who = || output(redis_cli(stage.port).args(["get", "who"]));
    let mut seen = BTreeSet::new();
    eventually("both to be used", START_LIMIT, || {
        seen.insert(who());
        (seen.len() == 2).then_some(())
    });
    one.crash();
    for _ in 0..30 {
        assert_eq!(who(), "two\n");
    }
}

/// Writes a certificate for a name, and gives its file and the key's.
fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

#[test]
fn tls_may_end_at_the_proxy_and_begin_again_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let (outer, outer_key) = certificate(dir.path(), "edge.redis.test");
    let (inner, inner_key) = certificate(dir.path(), "inner.redis.test");
    let redis = Redis::start_tls("inner", &inner, &inner_key);
    let documents = [
        service("db", &[redis.port]),
        route("TCPRoute", "db", ""),
        format!(
            "kind: Certificate\nmetadata: {{name: edge}}\nspec: {{certFile: {outer:?}, keyFile: {outer_key:?}}}\n"
        ),
        format!("kind: Certificate\nmetadata: {{name: inner}}\nspec: {{caFile: {inner:?}}}\n"),
        "kind: TrafficPolicy\nmetadata: {name: db}\nspec:\n  targetRefs: [{name: db}]\n  tls: {serverName: \
         inner.redis.test, caRefs: [{name: inner}]}\n"
            .to_owned(),
    ]
    .join("---\n");
    let stage = Stage::set("protocol: TLS, tls: {certificateRefs: [{name: edge}]}", &documents, &[]);
    let value = "v".repeat(300_000);
    let cli = || {
        let mut command = redis_cli(stage.port);
        command.args(["--tls", "--sni", "edge.redis.test", "--cacert"]).arg(&outer);
        command
    };
    let file = dir.path().join("value");
    std::fs::write(&file, &value).unwrap();
    let stored = output(cli().args(["-x", "set", "big"]).stdin(std::fs::File::open(&file).unwrap()));
    assert_eq!(stored, "OK\n");
    assert_eq!(output(cli().args(["get", "big"])).trim_end(), value);
    assert_eq!(output(cli().args(["get", "who"])), "inner\n");
}

#[test]
fn redis_over_tls_is_found_by_server_name() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["one.redis.test", "two.redis.test"];
    let servers: Vec<Redis> = names
        .iter()
        .map(|name| {
            let (certificate, key) = certificate(dir.path(), name);
            Redis::start_tls(name, &certificate, &key)
        })
        .collect();
    let documents = [
        service("one", &[servers[0].port]),
        service("two", &[servers[1].port]),
        route("TLSRoute", "one", "hostnames: [one.redis.test]"),
        route("TLSRoute", "two", "hostnames: [\"*.redis.test\"]"),
    ]
    .join("---\n");
    let stage = Stage::set("protocol: TLS, tls: {mode: Passthrough}", &documents, &[]);
    for name in names {
        let mut command = redis_cli(stage.port);
        // The certificate is the server's own, which only passing through untouched can show.
        command.args(["--tls", "--sni", name, "--cacert"]).arg(dir.path().join(format!("{name}.pem")));
        assert_eq!(output(command.args(["get", "who"])), format!("{name}\n"));
    }
    let mut stranger = redis_cli(stage.port);
    stranger.args(["--tls", "--insecure", "--sni", "other.test", "get", "who"]);
    assert!(!stranger.output().unwrap().stdout.starts_with(b"one"));
}
