//! What a control plane is told at its start.

use weir_model::dns_names::DEFAULT_DOMAIN;

use crate::Replica;

/// Settings of a control plane. [`Default`] is what `dev` uses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's name, shown as its one datacenter.
    pub datacenter: String,
    /// The domains in which services have names in DNS, in lower case.
    pub domains: Vec<String>,
    /// The node that registrations made at this server's own agent API belong to; registered at start.
    pub node_name: String,
    /// That node's address: IPv4 or IPv6 address, or host name.
    pub node_address: String,
    /// Whether it is a server's, which marks it as such and gives it an id, once; an agent gives its node its own id.
    pub is_server: bool,
    /// This replica, where several share the store. None: there is no other.
    pub replica: Option<Replica>,
    /// Change sets between two checkpoints, at least 1.
    pub checkpoint_every: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            datacenter: "dc1".to_owned(),
            domains: vec![DEFAULT_DOMAIN.to_owned()],
            node_name: "weir".to_owned(),
            node_address: "127.0.0.1".to_owned(),
            is_server: true,
            replica: None,
            checkpoint_every: crate::bounds::CHECKPOINT_EVERY,
        }
    }
}
