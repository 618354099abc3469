//! The limit on open files and connections.
//!
//! A server holds one for each watcher and each proxy, a proxy two for each request in flight; the usual default of
//! 1,024 is used up at once. This is one of the few places that talk to the C library, and it does nothing else.

use std::io;

/// Raises the soft limit to `wanted`, or as far as the hard limit allows when `wanted` is 0 or beyond it. Never
/// lowers it. Returns the limit that is then in force.
///
/// # Errors
/// When the system refuses to tell or to raise the limit.
#[allow(unsafe_code)]
pub(crate) fn raise(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, exclusively borrowed `rlimit` for the duration of the call, which writes only to it.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let target = if wanted == 0 { limit.rlim_max } else { limit.rlim_max.min(wanted) }.min(SYSTEM_MAX);
    if target <= limit.rlim_cur {
        return Ok(limit.rlim_cur);
    }
    limit.rlim_cur = target;
    // SAFETY: `limit` is a valid `rlimit` that the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(target)
}

/// The most that is asked for. "Unlimited" is refused by some systems, and makes programs that close every descriptor
/// one by one crawl.
const SYSTEM_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_and_never_falls() {
        let first = raise(64).unwrap();
        let most = raise(0).unwrap();
        assert!(most >= first, "{most} < {first}");
        assert_eq!(raise(1).unwrap(), most, "a smaller wish must not lower it");
    }
}
