//! The cases, and what the design aims at.

use super::requests::Kind;
use crate::choice::Measurable;

/// Who can be measured in a case that Weir's own protocol is not needed for.
pub(crate) const ALL: &[&str] = &["weir", "etcd", "consul", "rnacos"];
const WEIR: &[&str] = &["weir"];
/// Who has something to measure where instances need not be kept.
const EPHEMERAL: &[&str] = &["weir", "rnacos"];

/// What is done in a case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Requests of a kind by so many clients.
    Requests { kind: Kind, clients: usize },
    /// So many watches of one service, and changes of it.
    Watches(usize),
    /// So many proxies that subscribe to one service, and changes of it.
    Proxies(usize),
    /// So many instances; as many as the options say if it is not said here.
    Catalog { checked: bool, count: Option<usize> },
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) subjects: &'static [&'static str],
    pub(crate) work: Work,
}

impl Measurable for Case {
    fn name(&self) -> &'static str {
        self.name
    }

    fn what(&self) -> &'static str {
        self.what
    }

    fn subjects(&self) -> &'static [&'static str] {
        self.subjects
    }
}

const fn requests(name: &'static str, what: &'static str, kind: Kind, clients: usize) -> Case {
    Case { name, what, subjects: ALL, work: Work::Requests { kind, clients } }
}

/// All cases.
pub(crate) const CASES: [Case; 15] = [
    requests("register", "new instances with a check, durable, 64 clients", Kind::Register, 64),
    Case {
        name: "register-ephemeral",
        what: "the same beside instances that r-nacos keeps in memory only",
        subjects: EPHEMERAL,
        work: Work::Requests { kind: Kind::RegisterEphemeral, clients: 64 },
    },
    requests("health", "a service's 5 instances with their health, 64 clients", Kind::Health, 64),
    requests("kv-get", "one key of 128 bytes, 64 clients", Kind::KvGet, 64),
    requests("kv-put-1", "keys of 128 bytes, durable, 1 client", Kind::KvPut, 1),
    requests("kv-put-64", "keys of 128 bytes, durable, 64 clients", Kind::KvPut, 64),
    requests("kv-put-256", "keys of 128 bytes, durable, 256 clients", Kind::KvPut, 256),
    requests(
        "heartbeat",
        "heartbeats of 1,000 TTL checks (etcd: leases, r-nacos: instances), 64 clients",
        Kind::Heartbeat,
        64,
    ),
    watches("watch-1000", "one change to 1,000 watches", 1000),
    watches("watch-3000", "one change to 3,000 watches", 3000),
    watches("watch-10000", "one change to 10,000 watches", 10_000),
    Case {
        name: "mesh-1000",
        what: "one change to 1,000 subscribed proxies",
        subjects: WEIR,
        work: Work::Proxies(1000),
    },
    catalog("catalog", "many instances without checks: memory, start, answers", false),
    catalog("catalog-checked", "many instances with a check each: memory, start, answers", true),
    Case {
        name: "catalog-million",
        what: "1,000,000 instances with a check each: memory, start, answers",
        subjects: WEIR,
        work: Work::Catalog { checked: true, count: Some(1_000_000) },
    },
];

const fn watches(name: &'static str, what: &'static str, count: usize) -> Case {
    Case { name, what, subjects: ALL, work: Work::Watches(count) }
}

const fn catalog(name: &'static str, what: &'static str, checked: bool) -> Case {
    Case { name, what, subjects: ALL, work: Work::Catalog { checked, count: None } }
}
