//! Names that a server and an agent are given: such that clients can use them.

use weir_model::names;

use crate::exit::{Exit, Failure};

/// The datacenter's name.
///
/// # Errors
/// When it is none, with what is expected.
pub(crate) fn check_datacenter(name: &str) -> Result<(), Failure> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    if !name.is_empty() && name.len() <= names::LABEL_BYTES_MAX && name.bytes().all(inner) {
        return Ok(());
    }
    let message = format!(
        "datacenter: `{}` is not the name of a datacenter; expected lower-case letters, digits, `-` and `_`, \
         1 to {} characters",
        name.escape_default(),
        names::LABEL_BYTES_MAX
    );
    Err(Failure::new(Exit::Usage, message).hint("--datacenter dc1"))
}

/// The name of the own node.
///
/// # Errors
/// When it is none, with what is expected.
pub(crate) fn check_node(name: &str) -> Result<(), Failure> {
    names::registered(name).map_err(|bad| {
        Failure::new(Exit::Usage, format!("node-name: {bad}; expected {}", bad.expected))
            .hint("--node-name NAME chooses another name than the host's")
    })
}

/// Names under which it is asked on loopback.
///
/// # Errors
/// For the first that is no host name.
pub(crate) fn check_allowed_hosts(hosts: &[String]) -> Result<(), Failure> {
    for name in hosts {
        names::host(name).map_err(|bad| {
            Failure::new(Exit::Usage, format!("allowed-hosts: {bad}; expected a host name without port"))
        })?;
    }
    Ok(())
}
