//! The registry of a running control plane, as DNS reads it: from the catalog in memory, waiting for nothing.

use std::net::IpAddr;
use std::sync::Arc;

use rand::Rng;
use weir_control::Control;
use weir_control::catalog::{NodeEntry, Residents, ServiceMember};

use super::zone::{Prepared, Registry};
use crate::consul::{own_service, query};

impl Registry for Control {
    fn revision(&self) -> u64 {
        self.position().revision
    }

    fn members(&self, namespace: &str, service: &str) -> Vec<ServiceMember> {
        let members = self.catalog().view_in_any_case(namespace, service).entries;
        if members.is_empty() && service.eq_ignore_ascii_case(own_service::NAME) {
            return own_service::members(self.catalog(), &self.settings().node_name, namespace);
        }
        members
    }

    fn node(&self, name: &str) -> Option<Arc<NodeEntry>> {
        self.catalog().node(name)
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        self.catalog().has_namespace(namespace)
    }

    fn query<R: Rng + ?Sized>(&self, name: &str, rng: &mut R) -> Option<Prepared> {
        query::for_dns(self, name, rng)
    }

    fn has_queries_below(&self, name: &str) -> bool {
        query::are_below(self, name)
    }

    fn at_address(&self, ip: IpAddr) -> Residents {
        self.catalog().at_address(ip)
    }
}
