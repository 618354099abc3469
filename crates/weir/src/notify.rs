//! Tells the service manager how this process stands (sd_notify(3)): a datagram to the socket that `NOTIFY_SOCKET` names. Where
//! there is none, nothing is said.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the socket: a path, or an abstract name behind an `@`.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// It serves; also the end of a reload.
pub(crate) fn ready() {
    send("READY=1\nSTATUS=serving\n");
}

/// It does not serve yet, because of this.
pub(crate) fn waiting(what: &str) {
    send(&format!("STATUS={what}\n"));
}

/// It reads something anew, and says [`ready`] when it has.
pub(crate) fn reloading() {
    // systemd orders this by its own clock.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}\n"));
}

/// It was told to end, and finishes what is under way.
pub(crate) fn stopping() {
    send("STOPPING=1\nSTATUS=finishing what is under way\n");
}

fn send(state: &str) {
    let Some(socket) = std::env::var_os(SOCKET_VARIABLE) else { return };
    if let Err(error) = send_to(socket.as_bytes(), state) {
        tracing::warn!(%error, socket = ?socket, "the service manager cannot be told");
    }
}

fn send_to(socket: &[u8], state: &str) -> std::io::Result<()> {
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket))?,
    };
    let own = UnixDatagram::unbound()?;
    // A manager that does not read must not hold this process up.
    own.set_nonblocking(true)?;
    own.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("weir-notify-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let mut said = [0; 64];
        for (socket, listens) in
            [(path.as_os_str().as_bytes().to_vec(), by_path), (format!("@{name}").into(), by_name)]
        {
            send_to(&socket, "READY=1\n").unwrap();
            let length = listens.recv(&mut said).unwrap();
            assert_eq!(&said[..length], b"READY=1\n");
        }
        assert!(send_to(b"/nowhere", "READY=1\n").is_err());
    }
}
