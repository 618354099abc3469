//! The facade: everything edges use starts here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use weir_model::registry::Node;
use weir_model::{Position, Revision};
use weir_store::{Compare, Store, Txn, list_and_watch};

use crate::bounds::HEARTBEATS_WAITING_MAX;
use crate::catalog::{Catalog, Topic};
use crate::changes::Changes;
use crate::health::Monitor;
use crate::lease::Keeper;
use crate::proxies::Proxies;
use crate::quota::Books;
use crate::replicas::Membership;
use crate::turns::Turns;
use crate::{Error, Heartbeat, Settings, follow, ids, keys, replicas};

/// The newest store format that this version reads and writes.
const FORMAT: u32 = 1;

/// What the store's format key says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Format {
    minimum_reader: u32,
    minimum_writer: u32,
}

impl Format {
    /// Refuses a store that asks for more than this version knows.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let needed = self.minimum_reader.max(self.minimum_writer);
        if needed > FORMAT { Err(Error::Format { needed, known: FORMAT }) } else { Ok(()) }
    }
}

/// A control plane replica: commands, the catalog, health, proxies. Share it as `Arc`. Dropping the last one stops
/// its tasks.
pub struct Control {
    store: Arc<dyn Store>,
    settings: Settings,
    catalog: Arc<Catalog>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) keeper: Arc<Keeper>,
    proxies: Proxies,
    pub(crate) books: Books,
    pub(crate) turns: Turns,
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
    pub(crate) membership: Membership,
    /// How often everything was replaced by a backup.
    pub(crate) restored: watch::Sender<u64>,
    /// Heartbeats that concern another replica; the other end until somebody takes it.
    pub(crate) forwarded: mpsc::Sender<Heartbeat>,
    pub(crate) heartbeats: std::sync::Mutex<Option<mpsc::Receiver<Heartbeat>>>,
    /// The replicas, by HTTP address, that the last heartbeats for them could not be told in any way.
    pub(crate) untold: std::sync::Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

impl Control {
    /// Loads everything from the store, starts to follow it, registers this server's node, and starts to judge
    /// health. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Format`] if a newer version has the store, [`Error::Unavailable`] if it cannot be read, [`Error::Refused`] if
    /// other replicas have another datacenter or node name.
    pub async fn start(store: Arc<dyn Store>, settings: Settings) -> Result<Arc<Self>, Error> {
        check_format(&*store).await?;
        let joined = tokio::time::Instant::now();
        // Before the catalog is read, so that it shows this replica from the start.
        let lease = match &settings.replica {
            Some(replica) => Some(replicas::join(&*store, replica).await?),
            None => None,
        };
        let (entries, position, watch) = list_and_watch(&*store, &follow::everything()).await?;
        let catalog = Arc::new(Catalog::load(position, entries));
        let follower = tokio::spawn(follow::follow(Arc::clone(&store), Arc::downgrade(&catalog), watch));
        let monitor = Arc::new(Monitor::new());
        let (forwarded, heartbeats) = mpsc::channel(HEARTBEATS_WAITING_MAX);
        let control = Arc::new(Self {
            store,
            settings,
            catalog,
            monitor,
            keeper: Arc::new(Keeper::new()),
            proxies: Proxies::default(),
            books: Books::default(),
            turns: Turns::default(),
            tasks: std::sync::Mutex::new(vec![follower]),
            membership: Membership::new(joined, lease),
            restored: watch::Sender::new(0),
            forwarded,
            heartbeats: std::sync::Mutex::new(Some(heartbeats)),
            untold: std::sync::Mutex::default(),
        });
        if let Err(error) = control.check_alike() {
            control.leave().await;
            return Err(error);
        }
        control.register_own_node().await?;
        control.warn_of_former_nodes();
        let health = tokio::spawn(crate::health::run(Arc::downgrade(&control), control.changes()));
        let leases = tokio::spawn(crate::lease::run(Arc::downgrade(&control), control.changes()));
        let cleanup = tokio::spawn(crate::resources::clean_up_at_start(Arc::downgrade(&control)));
        let mut tasks = vec![health, leases, cleanup];
        if let Some(replica) = control.settings.replica.clone() {
            let store = Arc::clone(&control.store);
            tasks.push(tokio::spawn(replicas::stay(Arc::downgrade(&control), store, replica)));
        }
        control.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(tasks);
        Ok(control)
    }

    /// This server's node is there from the start. One that is there already keeps its metadata and maintenance.
    pub(crate) async fn register_own_node(&self) -> Result<(), Error> {
        match self.register_node(self.own_node()).await {
            // Another replica, or another task here, was first and has drawn the id: what it made is shown by now.
            Err(Error::Refused { .. }) => self.register_node(self.own_node()).await.map(drop),
            done => done.map(drop),
        }
    }

    fn own_node(&self) -> Node {
        let name = self.settings.node_name.clone();
        let known = self.catalog.node(&name).map(|entry| entry.node.value.clone());
        let mut node = match known {
            // Several replicas have this node in common: it has the address of the first.
            Some(known) if self.settings.replica.is_some() => known,
            Some(known) => Node { address: self.settings.node_address.clone(), ..known },
            None => Node { name, address: self.settings.node_address.clone(), ..Node::default() },
        };
        if self.settings.is_server {
            node.is_server = true;
            if node.id.is_empty() {
                node.id = ids::uuid();
            }
        }
        node
    }

    /// Says which nodes were a server's own under another name: what is registered on them is nobody's any more.
    pub(crate) fn warn_of_former_nodes(&self) {
        if !self.settings.is_server {
            return;
        }
        let own = &self.settings.node_name;
        for entry in self.catalog.nodes_view().entries {
            let node = &entry.node.value;
            if node.is_server && !node.name.eq_ignore_ascii_case(own) {
                let on_it = self.catalog.node_view(&node.name).entries;
                let instances = on_it.map_or(0, |view| view.instances.len());
                tracing::warn!(
                    node = node.name,
                    own,
                    instances,
                    "the store was a server's with another node name, whose node is still registered: give the server \
                     that name (--node-name), or deregister the node (PUT /v1/catalog/deregister)"
                );
            }
        }
    }

    /// Says goodbye to the other replicas, so that they take over at once.
    pub async fn leave(&self) {
        if let Some(replica) = &self.settings.replica {
            replicas::leave(&*self.store, replica).await;
        }
    }

    /// What this control plane was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The store below; for figures and for what is deliberately not in the catalog. Never write to it.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Everything that is known; all reads go here.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The table of connected proxies.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// The position of the last revision that the catalog shows.
    pub fn position(&self) -> Position {
        self.catalog.position()
    }

    /// Follows all changes from now on.
    pub fn changes(&self) -> Changes {
        self.catalog.changes()
    }

    /// Waits for a topic to change; see [`Catalog::wait`].
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many wait already.
    pub async fn wait(&self, topic: &Topic, after: Revision, timeout: Duration) -> Result<Revision, Error> {
        self.catalog.wait(topic, after, timeout).await
    }

    /// Asks the store for its position and waits until the catalog shows it: what is read afterwards is at least as
    /// new as anything anybody was answered before this call.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store does not answer, [`Error::NotVisible`] if the catalog does not get there.
    pub async fn consistent(&self) -> Result<Position, Error> {
        let position = self.store.position().await?;
        self.catalog.visible(position.revision).await?;
        Ok(position)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner) {
            task.abort();
        }
    }
}

/// Marks a new store with the format, and refuses one that asks for more than this version knows.
async fn check_format(store: &dyn Store) -> Result<(), Error> {
    let key = keys::format()?;
    let format = Format { minimum_reader: FORMAT, minimum_writer: FORMAT };
    let value = weir_store::json::to_value(&key, &format)?;
    store.commit(Txn::new().when(Compare::Absent(key.clone())).put(key.clone(), value)).await?;
    let Some(found) = store.get(&key).await? else {
        return Err(Error::Unavailable { reason: "the format key could not be written".to_owned() });
    };
    weir_store::json::from_entry::<Format>(&found)?.check()
}
