//! `near`: the nodes next to one first, by network coordinates.
//!
//! The node itself comes first, whatever is known; then those whose round trip to it can be estimated; the others keep
//! their order behind.

use std::net::IpAddr;

use weir_control::Control;

use super::coordinate::{self, Coordinate};

/// The node that the server itself is on.
const OF_AGENT: &str = "_agent";
/// The node that the question comes from.
const OF_ADDRESS: &str = "_ip";

/// How near nodes are to one of them.
pub(super) struct Nearness<'a> {
    control: &'a Control,
    node: String,
    coordinate: Option<Coordinate>,
}

impl<'a> Nearness<'a> {
    /// To the node of that name, or to `_agent` or `_ip`; `None` if no node is meant.
    pub(super) fn of(control: &'a Control, near: &str, asker: Option<IpAddr>) -> Option<Self> {
        let node = match near {
            "" => return None,
            OF_AGENT => control.settings().node_name.clone(),
            OF_ADDRESS => {
                let residents = control.catalog().at_address(asker?);
                residents.nodes.into_iter().next()?
            }
            name => name.to_owned(),
        };
        let coordinate = coordinate::of(control, &node);
        Some(Self { control, node, coordinate })
    }

    /// Seconds of round trip to a node; infinite if nobody knows.
    fn distance(&self, node: &str) -> f64 {
        if node.eq_ignore_ascii_case(&self.node) {
            return 0.0;
        }
        let Some(own) = &self.coordinate else { return f64::INFINITY };
        coordinate::of(self.control, node).map_or(f64::INFINITY, |other| own.distance_to(&other))
    }

    /// Sorts things by the nodes that they are on.
    pub(super) fn sort<T>(&self, things: &mut [T], node: impl Fn(&T) -> &str) {
        // Of numbers from 0 on, the bits are in the order of the numbers.
        things.sort_by_cached_key(|thing| self.distance(node(thing)).to_bits());
    }
}
