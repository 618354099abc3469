//! What is used of Nacos's HTTP API, version 1: instances, their beats, and configurations. Its parameters are a form.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::http::{self, Answer, Http};
use super::requests::{address_of, node_of, service_of};

const INSTANCE: &str = "/nacos/v1/ns/instance";
const CONFIGURATIONS: &str = "/nacos/v1/cs/configs";
const GROUP: &str = "DEFAULT_GROUP";
/// The configuration that is watched.
const WATCHED: &str = "bench/watched";
/// How long an answer to a listener may be waited for, in milliseconds: the most that a server takes.
const LISTEN_MS: u32 = 120_000;
/// What a beat is answered with that was counted.
const BEAT_COUNTED: &[u8] = b"\"code\":10200";
/// How long a connection may do nothing until another is opened; a server ends it after five seconds.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// How long it may take until there is somebody to write.
const READY_MAX: Duration = Duration::from_secs(30);

/// Whether an instance is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// `ephemeral=false`: it outlives the process.
    Kept,
    /// `ephemeral=true`: it is gone with the process, or when it does not beat.
    InMemory,
}

/// A client of Nacos.
pub(crate) struct Nacos {
    port: u16,
    http: Http,
    /// When something was last asked over this connection.
    used: Instant,
}

impl Nacos {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        Ok(Self { port, http: Http::connect(port).await?, used: Instant::now() })
    }

    /// Waits until what is written can be read: a server listens before it has a leader, and may say `true` to a
    /// write that it has not made.
    pub(crate) async fn await_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            let written = async {
                self.publish(WATCHED, "ready").await?;
                ensure!(self.configuration(WATCHED).await?.body == b"ready", "another value");
                Ok(())
            };
            match written.await {
                Ok(()) => return Ok(()),
                Err(fault) => ensure!(began.elapsed() < READY_MAX, "it takes no writes: {fault:#}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Registers one of many instances, with what others say of it: its node, its tag, its version.
    pub(crate) async fn register(&mut self, number: u64, keeping: Keeping) -> Result<()> {
        let metadata = format!(r#"{{"node":"{}","tag":"v1","version":"1.0.0"}}"#, node_of(number));
        let ephemeral = (keeping == Keeping::InMemory).to_string();
        self.put_instance(&service_of(number), &address_of(number), &metadata, &ephemeral).await
    }

    /// Registers a member of the service that is read.
    pub(crate) async fn register_member(&mut self, number: u64, mark: u64) -> Result<()> {
        let metadata = format!(r#"{{"node":"host-{number}","tag":"v1","mark":"{mark}"}}"#);
        self.put_instance("web", &format!("10.0.0.{number}"), &metadata, "true").await
    }

    /// Registers one of the instances that beat.
    pub(crate) async fn register_beating(&mut self, number: u64) -> Result<()> {
        self.put_instance("beat", &address_of(number), "{}", "true").await
    }

    /// Lets one of them beat, in the short form that a server asks for.
    pub(crate) async fn beat(&mut self, number: u64) -> Result<()> {
        let beat = form(&[("serviceName", "beat"), ("ip", &address_of(number)), ("port", "8080")]);
        let answer = self.ask(&http::put(&format!("{INSTANCE}/beat?{beat}"), "")).await?;
        ensure!(answer.status == 200 && answer.occurrences(BEAT_COUNTED) == 1, "answered with {answer}");
        Ok(())
    }

    /// How many healthy instances a service has, all of which are read.
    pub(crate) async fn healthy(&mut self, service: &str) -> Result<u64> {
        let query = form(&[("serviceName", service), ("healthyOnly", "true")]);
        let answer = self.ask(&http::get(&format!("{INSTANCE}/list?{query}"))).await?;
        ensure!(answer.status == 200, "answered with {answer}");
        Ok(answer.occurrences(b"\"healthy\":true"))
    }

    /// Writes a configuration.
    pub(crate) async fn publish(&mut self, key: &str, content: &str) -> Result<()> {
        let fields = form(&[("dataId", &data_id(key)), ("group", GROUP), ("content", content)]);
        let answer = self.ask(&http::post_form(CONFIGURATIONS, &[], &fields)).await?;
        ensure!(answer.status == 200 && answer.body == b"true", "answered with {answer}");
        Ok(())
    }

    /// Reads a configuration.
    pub(crate) async fn configuration(&mut self, key: &str) -> Result<Answer> {
        let query = form(&[("dataId", &data_id(key)), ("group", GROUP)]);
        let answer = self.ask(&http::get(&format!("{CONFIGURATIONS}?{query}"))).await?;
        ensure!(answer.status == 200, "answered with {answer}");
        Ok(answer)
    }

    /// Changes the configuration that is watched.
    pub(crate) async fn change(&mut self, mark: u64) -> Result<()> {
        self.publish(WATCHED, &mark.to_string()).await
    }

    /// Reads the configuration that is watched, and says its digest.
    pub(crate) async fn watched(&mut self) -> Result<String> {
        let answer = self.configuration(WATCHED).await?;
        Ok(answer.field("content-md5").context("no digest")?.to_owned())
    }

    /// Asks to be told when the configuration that is watched has another digest than this.
    pub(crate) async fn listen(&mut self, digest: &str) -> Result<()> {
        let known = format!("{}\u{2}{GROUP}\u{2}{digest}\u{1}", data_id(WATCHED));
        let patience = format!("long-pulling-timeout: {LISTEN_MS}");
        let fields = form(&[("Listening-Configs", &known)]);
        self.http.send(&http::post_form(&format!("{CONFIGURATIONS}/listener"), &[&patience], &fields)).await
    }

    /// Waits until it has; who waits longer than the server lets them asks again.
    pub(crate) async fn changed(&mut self, digest: &str) -> Result<()> {
        loop {
            let answer = self.http.answer().await?;
            ensure!(answer.status == 200, "answered with {answer}");
            if answer.body.starts_with(data_id(WATCHED).as_bytes()) {
                return Ok(());
            }
            ensure!(answer.body.is_empty(), "answered with {answer}");
            self.listen(digest).await?;
        }
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        if self.used.elapsed() > IDLE_MAX {
            self.http = Http::connect(self.port).await?;
        }
        let answer = self.http.ask(request).await?;
        self.used = Instant::now();
        Ok(answer)
    }

    async fn put_instance(&mut self, service: &str, ip: &str, metadata: &str, ephemeral: &str) -> Result<()> {
        let fields = form(&[
            ("serviceName", service),
            ("ip", ip),
            ("port", "8080"),
            ("ephemeral", ephemeral),
            ("metadata", metadata),
        ]);
        let answer = self.ask(&http::post_form(INSTANCE, &[], &fields)).await?;
        ensure!(answer.status == 200 && answer.body == b"ok", "answered with {answer}");
        Ok(())
    }
}

/// Names of configurations have no slashes.
fn data_id(key: &str) -> String {
    key.replace('/', ".")
}

/// Fields as `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => text.push(char::from(byte)),
                _ => {
                    text.push('%');
                    text.extend(
                        [byte >> 4, byte & 15]
                            .map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
                    );
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn forms_are_read_back_as_they_were_meant() {
        let fields =
            form(&[("serviceName", "web-1_a.b"), ("metadata", r#"{"a b":"1&2"}"#), ("k", "\u{2}é\u{1}")]);
        assert_eq!(fields, "serviceName=web-1_a.b&metadata=%7B%22a%20b%22%3A%221%262%22%7D&k=%02%C3%A9%01");
        assert_eq!(form(&[]), "");
        assert_eq!(data_id("bench/key-00001"), "bench.key-00001");
    }

    /// A client of a server that gives these bodies, one after the other, to whatever it is asked.
    async fn answered(bodies: &'static [&'static str]) -> Nacos {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for body in bodies {
                let read = stream.read(&mut [0; 1024]).await.unwrap();
                assert!(read > 0, "a request each");
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Nacos::connect(port).await.unwrap()
    }

    #[tokio::test]
    async fn only_what_was_done_counts() {
        let mut nacos =
            answered(&["ok", "error", "true", "false", r#"{"code":10200}"#, r#"{"code":20404}"#]).await;
        nacos.register(7, Keeping::Kept).await.unwrap();
        nacos.register(7, Keeping::InMemory).await.unwrap_err();
        nacos.publish("a", "b").await.unwrap();
        nacos.publish("a", "b").await.unwrap_err();
        nacos.beat(7).await.unwrap();
        nacos.beat(7).await.unwrap_err();
    }

    #[tokio::test]
    async fn listeners_ask_again_until_something_changed() {
        let mut nacos =
            answered(&["", "bench.watched%02DEFAULT_GROUP%01\n", "other%02DEFAULT_GROUP%01"]).await;
        nacos.listen("0").await.unwrap();
        nacos.changed("0").await.unwrap();
        nacos.listen("1").await.unwrap();
        nacos.changed("1").await.unwrap_err();
    }
}
