//! Hosts on one switch, each a network namespace of its own, whose cables can be cut: both ways or one way.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::thread::JoinHandle;

use crate::databases::output;
use crate::namespaces::Namespace;

/// The network of all hosts; a host's number is the last byte of its address.
const NETWORK: [u8; 3] = [10, 98, 0];

/// A switch.
pub struct Lan(Namespace);

/// A host at the switch.
pub struct Host {
    namespace: Namespace,
    number: u8,
}

/// How a host is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The cable is out.
    Both,
    /// Nothing arrives any more; what it sends does.
    In,
    /// Nothing that it sends arrives; what others send does.
    Out,
}

impl Lan {
    /// A switch without hosts.
    ///
    /// # Errors
    /// Why network namespaces cannot be made here.
    pub fn new() -> Result<Self, String> {
        let namespace = Namespace::new()?;
        output(namespace.command("ip").args(["link", "add", "name", "switch", "type", "bridge"]));
        output(namespace.command("ip").args(["link", "set", "switch", "up"]));
        Ok(Self(namespace))
    }

    /// A new host with this number.
    ///
    /// # Errors
    /// As [`Lan::new`].
    pub fn host(&self, number: u8) -> Result<Host, String> {
        let host = Host { namespace: Namespace::new()?, number };
        let (port, pid) = (port(number), host.namespace.pid().to_string());
        let cable = ["link", "add", "name", &port, "type", "veth", "peer", "name", "eth0", "netns", &pid];
        output(self.0.command("ip").args(cable));
        output(self.0.command("ip").args(["link", "set", &port, "master", "switch", "up"]));
        let address = format!("{}/24", host.ip());
        output(host.command("ip").args(["addr", "add", &address, "dev", "eth0"]));
        output(host.command("ip").args(["link", "set", "eth0", "up"]));
        Ok(host)
    }

    /// Cuts a host off from all others. What it says to itself goes on.
    pub fn cut(&self, host: &Host, cut: Cut) {
        let hook = match cut {
            Cut::Both => {
                output(self.0.command("ip").args(["link", "set", &port(host.number), "down"]));
                return;
            }
            Cut::In => "chain cut { type filter hook input priority 0; iifname eth0 drop; }",
            Cut::Out => "chain cut { type filter hook output priority 0; oifname eth0 drop; }",
        };
        let table = format!("table inet cut {{\n{hook}\n}}\n");
        output(host.command("nft").arg(table));
    }

    /// Takes a cut back.
    pub fn mend(&self, host: &Host, cut: Cut) {
        if cut == Cut::Both {
            output(self.0.command("ip").args(["link", "set", &port(host.number), "up"]));
        } else {
            output(host.command("nft").args(["delete", "table", "inet", "cut"]));
        }
    }
}

/// The switch's end of a host's cable.
fn port(number: u8) -> String {
    format!("port{number}")
}

impl Host {
    /// Its address.
    pub fn ip(&self) -> IpAddr {
        let [a, b, c] = NETWORK;
        Ipv4Addr::new(a, b, c, self.number).into()
    }

    /// A port of its address.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }

    /// A command that will run on it.
    pub fn command(&self, name: impl AsRef<OsStr>) -> Command {
        self.namespace.command(name)
    }

    /// Something that a thread of this process does from there.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.namespace.run(work)
    }

    /// The same, waited for.
    pub fn here<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.run(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
