//! Packets with the address of this machine that they came to or leave from (Linux).
//!
//! The only unsafe code of this crate: no safe interface passes these control messages. Each call hands the system
//! pointers to values of this stack frame only, with their true lengths.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{c_int, c_void};

/// Room for control messages: one of them, and the others that a socket may have been asked for.
const CONTROL_BYTES: usize = 128;

/// An address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    ip: IpAddr,
    /// The interface, where the address means nothing without.
    interface: u32,
}

/// Control messages, aligned as their heads must be.
#[repr(C)]
union Control {
    bytes: [u8; CONTROL_BYTES],
    _head: libc::cmsghdr,
}

/// Has the system say with each packet which address it came to.
pub(super) fn ask_where_packets_arrive(socket: &impl AsRawFd) -> io::Result<()> {
    let yes: c_int = 1;
    let set = |level, option| {
        // SAFETY: the pointer is to an int that lives, and the length is that of an int.
        let result = unsafe {
            let value = ptr::from_ref(&yes).cast::<c_void>();
            libc::setsockopt(socket.as_raw_fd(), level, option, value, size_of::<c_int>() as libc::socklen_t)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // A socket is of one family, and knows the other's option not at all or to no effect.
    set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO).or_else(|_| set(libc::IPPROTO_IP, libc::IP_PKTINFO))
}

/// The next packet, if one is there: its length, who sent it, and where it came to.
pub(super) fn receive(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<Local>)> {
    // SAFETY: all of these are plain data, for which zeros are valid.
    let (mut from, mut control): (libc::sockaddr_storage, Control) = unsafe { (zeroed(), zeroed()) };
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut head = head(&mut from, &mut piece, &mut control);
    // SAFETY: everything that `head` points to lives until the end of this function and has the length it says.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut head, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    let from = address(&from).ok_or(io::ErrorKind::InvalidData)?;
    Ok((len, from, local(&head)))
}

/// Sends a packet from an address of this machine.
pub(super) fn send(socket: &impl AsRawFd, bytes: &[u8], to: SocketAddr, from: Local) -> io::Result<()> {
    // SAFETY: as above.
    let (mut whom, mut control): (libc::sockaddr_storage, Control) = unsafe { (zeroed(), zeroed()) };
    let whom_bytes = write_address(to, &mut whom);
    // The system only reads it.
    let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut head = head(&mut whom, &mut piece, &mut control);
    head.msg_namelen = whom_bytes;
    match from.ip {
        IpAddr::V4(ip) => {
            let spec = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            let any = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: any };
            write_control(&mut head, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(ip) => {
            let address = libc::in6_addr { s6_addr: ip.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: from.interface };
            write_control(&mut head, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
    // SAFETY: as in `receive`.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const head, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The head of a message whose parts are these. It must not outlive them.
fn head(name: &mut libc::sockaddr_storage, piece: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: plain data, for which zeros are valid.
    let mut head: libc::msghdr = unsafe { zeroed() };
    head.msg_name = ptr::from_mut(name).cast();
    head.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    head.msg_iov = piece;
    head.msg_iovlen = 1;
    head.msg_control = ptr::from_mut(control).cast();
    head.msg_controllen = CONTROL_BYTES as _;
    head
}

/// Makes this the message's only control message.
fn write_control<T>(head: &mut libc::msghdr, level: c_int, kind: c_int, info: T) {
    // SAFETY: the control buffer has room for the head of a message and 100 bytes besides, and the largest `T` has 20.
    unsafe {
        head.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
        let message = libc::CMSG_FIRSTHDR(head);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<T>(), info);
    }
}

/// Where a received message came to.
fn local(head: &libc::msghdr) -> Option<Local> {
    // SAFETY: the system has filled in the control messages and their length; the macros stay within it, and the data of
    // these two kinds is of these two types.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(head);
        while let Some(control) = message.as_ref() {
            let data = libc::CMSG_DATA(message);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    let ip = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                    return Some(Local { ip: ip.into(), interface: 0 });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    let interface = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                    return Some(Local { ip: ip.into(), interface });
                }
                _ => message = libc::CMSG_NXTHDR(head, message),
            }
        }
    }
    None
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is one, and a storage is large enough and aligned for every address.
            let v4 = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some((ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Writes an address where the system reads it, and returns its length.
fn write_address(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: a storage is large enough and aligned for every address.
            let to = unsafe { &mut *ptr::from_mut(storage).cast::<libc::sockaddr_in>() };
            to.sin_family = libc::AF_INET as libc::sa_family_t;
            to.sin_port = v4.port().to_be();
            to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let to = unsafe { &mut *ptr::from_mut(storage).cast::<libc::sockaddr_in6>() };
            to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            to.sin6_port = v6.port().to_be();
            to.sin6_addr.s6_addr = v6.ip().octets();
            to.sin6_flowinfo = v6.flowinfo();
            to.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}
