//! Network namespaces: a host of its own for a test, as far as the network is concerned.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use crate::cluster::START_LIMIT;
use crate::databases::{is_root, output, program};
use crate::eventually;

/// A network namespace, which lasts until it is dropped.
pub struct Namespace(Child);

impl Namespace {
    /// A new one, in which only loopback is up. None where that is forbidden, with the reason.
    ///
    /// # Errors
    /// The reason.
    pub fn new() -> Result<Self, String> {
        if !is_root() {
            return Err("network namespaces with several users need root".to_owned());
        }
        let unshare = program("unshare", "util-linux");
        let tried = Command::new(&unshare).args(["--net", "true"]).output().unwrap();
        if !tried.status.success() {
            return Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned());
        }
        let mut holder = Command::new(unshare);
        holder.args(["--net", "sleep", "infinity"]).stdin(Stdio::null());
        let namespace = Self(holder.spawn().unwrap());
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        eventually("the namespace to be there", START_LIMIT, || {
            let there = std::fs::read_link(format!("/proc/{}/ns/net", namespace.pid())).ok()?;
            (there != own).then_some(())
        });
        output(namespace.command("ip").args(["link", "set", "lo", "up"]));
        Ok(namespace)
    }

    /// The process that holds it.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// A command that will run in it.
    pub fn command(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program("nsenter", "util-linux"));
        command.args(["--net", "--target", &self.pid().to_string(), "--"]).arg(name);
        command
    }

    /// The same, as another user.
    pub fn command_as(&self, user: u32, name: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program("setpriv", "util-linux"));
        command
            .args(["--reuid", &user.to_string(), "--regid", &user.to_string(), "--clear-groups", "--"])
            .arg(name);
        command
    }

    /// Runs something in a thread of this process that is in it, as far as the network is concerned.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let file = File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        std::thread::spawn(move || {
            #[allow(unsafe_code)]
            // SAFETY: setns has no memory effects; it moves this thread alone, which does nothing but this work.
            let moved = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0, "{}", std::io::Error::last_os_error());
            work()
        })
    }

    /// Joins two by a cable of this name, with these networks' first and second addresses (`10.0.0.` and `fd00::`, say).
    pub fn join(&self, other: &Self, cable: &str, v4: &str, v6: &str) {
        let pid = other.pid().to_string();
        let added = ["link", "add", cable, "type", "veth", "peer", "name", cable, "netns", &pid];
        output(self.command("ip").args(added));
        for (namespace, last) in [(self, 1), (other, 2)] {
            let ip = |args: &[&str]| output(namespace.command("ip").args(args));
            ip(&["addr", "add", &format!("{v4}{last}/24"), "dev", cable]);
            ip(&["addr", "add", &format!("{v6}{last}/64"), "dev", cable, "nodad"]);
            ip(&["link", "set", cable, "up"]);
        }
    }

    /// Sends what is for a network (`10.0.0.0/24`, say) by way of an address.
    pub fn route(&self, network: &str, via: &str) {
        output(self.command("ip").args(["route", "add", network, "via", via]));
    }

    /// Has it pass on what is not for itself.
    pub fn forward(&self) {
        for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let script = format!("echo 1 > /proc/sys/net/{switch}");
            output(self.command("sh").args(["-c", &script]));
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
