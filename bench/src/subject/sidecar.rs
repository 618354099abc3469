//! Weir as a sidecar, with the control plane that it needs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::{START_MAX, end};
use crate::stage::Stage;

/// Of the server's two listeners, and of the sidecar's three.
const PORTS: [u16; 5] = [19021, 19022, 19023, 19024, 19025];

/// A sidecar under a control plane. Both end with it.
pub(crate) struct Sidecar {
    proxy: Child,
    server: Child,
}

impl Sidecar {
    /// Starts both and waits until the sidecar is ready.
    pub(crate) fn start(stage: &Stage) -> Result<Self> {
        let at = |index: usize| format!("127.0.0.1:{}", PORTS[index]);
        let dir = stage.dir.join("sidecar");
        fs::create_dir_all(&dir)?;
        let spawn = |name: &str, args: &[&str]| -> Result<Child> {
            let words = File::create(dir.join(name))?;
            let mut command = Command::new(&stage.weir);
            command.args(args).stdin(Stdio::null()).stdout(words.try_clone()?).stderr(words);
            command.spawn().with_context(|| format!("cannot start the {name}"))
        };
        let server = spawn("server", &["server", "--http", &at(0), "--grpc", &at(1), "--dns", "off"])?;
        let app = format!("127.0.0.1:{}", stage.upstreams[0]);
        let (inbound, outbound, admin, control) = (at(2), at(3), at(4), at(1));
        let args = [
            "proxy",
            "--service",
            "bench",
            "--app",
            &app,
            "--inbound",
            &inbound,
            "--outbound",
            &outbound,
            "--admin",
            &admin,
            "--server",
            &control,
            "--workers",
            "1",
        ];
        let proxy = spawn("proxy", &args);
        let mut both = match proxy {
            Ok(proxy) => Self { proxy, server },
            Err(fault) => {
                let mut server = server;
                end(&mut server);
                return Err(fault);
            }
        };
        let begun = Instant::now();
        while !ready(&admin) {
            if let Some(status) = both.proxy.try_wait()? {
                bail!("the sidecar ended, {status}: {}", fs::read_to_string(dir.join("proxy"))?);
            }
            ensure!(begun.elapsed() < START_MAX, "the sidecar does not become ready");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(both)
    }

    /// The sidecar's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.proxy.id()
    }
}

/// Whether an admin endpoint says so.
fn ready(admin: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(admin)?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        end(&mut self.proxy);
        end(&mut self.server);
    }
}
