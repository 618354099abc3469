//! The connected proxies of this replica. Soft state of the report loop: bounded, never stored, rebuilt when proxies
//! connect again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use weir_model::Position;

use crate::Error;
use crate::bounds::{PROXIES_MAX, PROXY_REJECTIONS_MAX};

/// A connected proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its id, unique in the cluster.
    pub id: String,
    /// `gateway` or `sidecar`.
    pub role: String,
    /// The service it stands for; empty for a gateway.
    pub service: String,
    /// The node it runs on.
    pub node: String,
    /// Its version.
    pub version: String,
    /// Since when it is connected, by the wall clock; for people only.
    pub connected_at: SystemTime,
    /// The last position sent to it.
    pub sent: Position,
    /// The last position it acknowledged as applied.
    pub acknowledged: Position,
    /// What it refused and has not applied since, newest last.
    pub rejections: Vec<Rejection>,
}

/// Something a proxy refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The position it came with.
    pub position: Position,
    /// Which resource, as `Kind/name`.
    pub resource: String,
    /// The field in question.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// The table of connected proxies.
#[derive(Debug, Default)]
pub struct Proxies {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    proxies: BTreeMap<String, (u64, Proxy)>,
    connections: u64,
}

/// A proxy's connection, for later reports about it. A proxy that connects again has a new one, and what the old one
/// still reports is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    id: String,
    number: u64,
}

impl Proxies {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a proxy that has connected, in the place of its former connection if there is one.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the table is full.
    pub fn connect(&self, proxy: Proxy) -> Result<Connection, Error> {
        let mut table = self.table();
        if table.proxies.len() >= PROXIES_MAX && !table.proxies.contains_key(&proxy.id) {
            return Err(Error::Overloaded { what: "the table of proxies", max: PROXIES_MAX as u64 });
        }
        table.connections += 1;
        let connection = Connection { id: proxy.id.clone(), number: table.connections };
        table.proxies.insert(proxy.id.clone(), (connection.number, proxy));
        Ok(connection)
    }

    /// Takes a proxy out, unless it has connected anew.
    pub fn disconnect(&self, connection: &Connection) {
        let mut table = self.table();
        if table.proxies.get(&connection.id).is_some_and(|(number, _)| *number == connection.number) {
            table.proxies.remove(&connection.id);
        }
    }

    /// Changes what is known of a proxy, unless it has connected anew.
    pub fn update(&self, connection: &Connection, change: impl FnOnce(&mut Proxy)) {
        let mut table = self.table();
        if let Some((number, proxy)) = table.proxies.get_mut(&connection.id)
            && *number == connection.number
        {
            change(proxy);
        }
    }

    /// A position was sent to a proxy.
    pub fn sent(&self, connection: &Connection, position: Position) {
        self.update(connection, |proxy| proxy.sent = position);
    }

    /// A proxy has applied a position, but for what it rejects of it. Earlier rejections are settled.
    pub fn acknowledged(&self, connection: &Connection, position: Position, rejections: Vec<Rejection>) {
        self.update(connection, |proxy| {
            proxy.acknowledged = position;
            proxy.rejections = rejections;
            proxy.rejections.truncate(PROXY_REJECTIONS_MAX);
        });
    }

    /// A proxy refuses something, and keeps what it had.
    pub fn rejected(&self, connection: &Connection, rejection: Rejection) {
        self.update(connection, |proxy| {
            proxy.rejections.retain(|known| known.resource != rejection.resource);
            if proxy.rejections.len() == PROXY_REJECTIONS_MAX {
                proxy.rejections.remove(0);
            }
            proxy.rejections.push(rejection);
        });
    }

    /// All connected proxies, by id.
    pub fn list(&self) -> Vec<Proxy> {
        self.table().proxies.values().map(|(_, proxy)| proxy.clone()).collect()
    }

    /// One proxy.
    pub fn get(&self, id: &str) -> Option<Proxy> {
        self.table().proxies.get(id).map(|(_, proxy)| proxy.clone())
    }

    /// How many are connected.
    pub fn len(&self) -> usize {
        self.table().proxies.len()
    }

    /// Whether none is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(id: &str) -> Proxy {
        Proxy {
            id: id.to_owned(),
            role: "gateway".to_owned(),
            service: String::new(),
            node: "n1".to_owned(),
            version: "0.1.0".to_owned(),
            connected_at: SystemTime::UNIX_EPOCH,
            sent: Position::default(),
            acknowledged: Position::default(),
            rejections: Vec::new(),
        }
    }

    #[test]
    fn a_former_connection_has_no_say_any_more() {
        let proxies = Proxies::default();
        let old = proxies.connect(proxy("p")).unwrap();
        let new = proxies.connect(proxy("p")).unwrap();
        proxies.sent(&old, Position::new(1, 9));
        proxies.sent(&new, Position::new(1, 5));
        proxies.disconnect(&old);
        assert_eq!(proxies.get("p").unwrap().sent, Position::new(1, 5));
        proxies.disconnect(&new);
        assert!(proxies.is_empty());
    }

    #[test]
    fn rejections_are_bounded_and_settled_by_an_acknowledgement() {
        let proxies = Proxies::default();
        let connection = proxies.connect(proxy("p")).unwrap();
        for number in 0..100 {
            let rejection = Rejection {
                position: Position::new(1, number),
                resource: format!("Gateway/g{number}"),
                path: "spec".to_owned(),
                reason: "no".to_owned(),
            };
            proxies.rejected(&connection, rejection.clone());
            proxies.rejected(&connection, rejection);
        }
        let rejections = proxies.get("p").unwrap().rejections;
        assert_eq!(rejections.len(), PROXY_REJECTIONS_MAX);
        assert_eq!(rejections.last().unwrap().resource, "Gateway/g99");
        proxies.acknowledged(&connection, Position::new(1, 100), Vec::new());
        assert!(proxies.get("p").unwrap().rejections.is_empty());
    }
}
