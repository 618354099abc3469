//! What one can wait for: each topic is one answer of the catalog, with an index of its own.

use std::collections::HashSet;

use weir_model::registry::Health;
use weir_model::{Revision, ServiceRef};

use crate::lock::LockRef;
use crate::records::{RecordRef, TableRef};
use crate::session::SessionRef;

/// An answer whose change can be waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A service's members: instances, their checks, their nodes and their nodes' checks. Waited for by its name in lower case, see
    /// [`Topic::service`]: then it stands for all services of that name in any case.
    Service(ServiceRef),
    /// The names and tags of all services of a namespace.
    Services {
        /// The namespace.
        namespace: String,
    },
    /// A node with its checks and all that runs on it, by its name in lower case; see [`Topic::node`].
    Node(String),
    /// The list of nodes and their data.
    Nodes,
    /// The checks of a namespace that report this, or all checks.
    Checks {
        /// The namespace.
        namespace: String,
        /// What they report; `None` for all.
        health: Option<Health>,
    },
    /// One KV key.
    KvKey {
        /// The namespace.
        namespace: String,
        /// The key.
        key: String,
    },
    /// All KV keys that start so.
    KvPrefix {
        /// The namespace.
        namespace: String,
        /// What the keys start with.
        prefix: String,
    },
    /// A session.
    Session(SessionRef),
    /// The sessions of a namespace.
    Sessions {
        /// The namespace.
        namespace: String,
    },
    /// The sessions of a namespace on a node, by its name in lower case; see [`Topic::node_sessions`].
    NodeSessions {
        /// The namespace.
        namespace: String,
        /// The node.
        node: String,
    },
    /// A lock with its claims.
    Lock(LockRef),
    /// The locks of a namespace.
    Locks {
        /// The namespace.
        namespace: String,
    },
    /// A table's records.
    Table(TableRef),
    /// A record.
    Record(RecordRef),
    /// The declared resources.
    Resources,
}

impl Topic {
    /// The topic of a service, its name in any case.
    pub fn service(namespace: impl Into<String>, name: impl AsRef<str>) -> Self {
        Self::Service(ServiceRef::new(namespace, crate::keys::node_key(name.as_ref()).into_owned()))
    }

    /// The topic of a node, its name in any case.
    pub fn node(name: &str) -> Self {
        Self::Node(crate::keys::node_key(name).into_owned())
    }

    /// The topic of the sessions on a node, its name in any case.
    pub fn node_sessions(namespace: impl Into<String>, node: &str) -> Self {
        Self::NodeSessions { namespace: namespace.into(), node: crate::keys::node_key(node).into_owned() }
    }
}

/// Topics that are compared one by one; from there on they are hashed, which costs more where there are few.
const FEW_TOPICS: usize = 16;

/// A set of topics, mostly of few.
#[derive(Default)]
pub(crate) struct Topics {
    few: Vec<Topic>,
    many: HashSet<Topic>,
}

impl Topics {
    pub(crate) fn insert(&mut self, topic: Topic) {
        if self.few.len() < FEW_TOPICS {
            if !self.few.contains(&topic) {
                self.few.push(topic);
            }
        } else if !self.few.contains(&topic) {
            self.many.insert(topic);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.few.iter().chain(&self.many)
    }
}

impl IntoIterator for Topics {
    type Item = Topic;
    type IntoIter = std::iter::Chain<std::vec::IntoIter<Topic>, std::collections::hash_set::IntoIter<Topic>>;

    fn into_iter(self) -> Self::IntoIter {
        self.few.into_iter().chain(self.many)
    }
}

/// The last index of things that are gone, so that their answers' index covers the deletion. Bounded: what is
/// forgotten raises a floor under the answers about what is not there, so that no index ever goes backwards. Things
/// that are there need no floor: they came (back) at a later revision than anything that was forgotten of them.
#[derive(Debug)]
pub(crate) struct Tombstones<K> {
    gone: std::collections::BTreeMap<K, Revision>,
    order: std::collections::VecDeque<(Revision, K)>,
    floor: Revision,
    max: usize,
}

impl<K: Ord + Clone> Tombstones<K> {
    pub(crate) fn new(max: usize, floor: Revision) -> Self {
        Self { gone: std::collections::BTreeMap::new(), order: std::collections::VecDeque::new(), floor, max }
    }

    /// The index below which no answer may lie that covers things which are gone.
    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    pub(crate) fn bury(&mut self, key: K, revision: Revision) {
        self.gone.insert(key.clone(), revision);
        self.order.push_back((revision, key));
        while self.order.len() > self.max {
            // It may be back, or buried again since: then nothing is forgotten with this entry. So a few keys that
            // come and go all the time do not raise the floor under everybody.
            if let Some((revision, key)) = self.order.pop_front()
                && self.gone.get(&key) == Some(&revision)
            {
                self.gone.remove(&key);
                self.floor = self.floor.max(revision);
            }
        }
    }

    /// Forgets that something is gone: it is back.
    pub(crate) fn revive(&mut self, key: &K) {
        self.gone.remove(key);
    }

    /// The index of something that is gone or was never there.
    pub(crate) fn index(&self, key: &K) -> Revision {
        self.gone.get(key).map_or(self.floor, |index| self.floor.max(*index))
    }

    /// The gone from this key on, in order.
    pub(crate) fn from<'a>(&'a self, key: &K) -> impl Iterator<Item = (&'a K, Revision)> {
        self.gone.range(key.clone()..).map(|(key, revision)| (key, *revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_held_once_among_few_and_among_many() {
        for count in [1, FEW_TOPICS, FEW_TOPICS + 1, 1000] {
            let mut topics = Topics::default();
            for number in (0..count).chain(0..count) {
                topics.insert(Topic::Node(number.to_string()));
            }
            assert_eq!(topics.iter().count(), count);
            let held: HashSet<Topic> = topics.into_iter().collect();
            assert_eq!(held.len(), count);
        }
    }

    #[test]
    fn what_is_forgotten_raises_the_floor() {
        let mut gone = Tombstones::new(2, 1);
        assert_eq!(gone.index(&"a"), 1);
        gone.bury("a", 5);
        gone.bury("b", 6);
        assert_eq!((gone.index(&"a"), gone.index(&"b"), gone.index(&"c")), (5, 6, 1));
        gone.bury("c", 7);
        assert_eq!((gone.index(&"a"), gone.index(&"b"), gone.index(&"c")), (5, 6, 7));
        assert_eq!(gone.floor(), 5);
        gone.revive(&"c");
        assert_eq!(gone.index(&"c"), 5);
    }

    #[test]
    fn a_thing_that_comes_and_goes_does_not_raise_the_floor() {
        let mut gone = Tombstones::new(2, 1);
        for revision in 2..100 {
            gone.bury("a", revision);
            if revision % 2 == 0 {
                gone.revive(&"a");
            }
        }
        assert_eq!((gone.floor(), gone.index(&"a"), gone.index(&"b")), (1, 99, 1));
        gone.bury("b", 100);
        gone.bury("c", 101);
        assert_eq!((gone.floor(), gone.index(&"a"), gone.order.len()), (99, 99, 2));
    }

    #[test]
    fn a_thing_buried_twice_keeps_its_last_index() {
        let mut gone = Tombstones::new(2, 1);
        gone.bury("a", 2);
        gone.revive(&"a");
        gone.bury("a", 3);
        gone.bury("b", 4);
        assert_eq!((gone.index(&"a"), gone.floor()), (3, 1));
    }
}
