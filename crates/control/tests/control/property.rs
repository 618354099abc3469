//! The catalog that followed the watch is the catalog that a restart would build, after any commands.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use weir_control::Control;
use weir_control::kv::{KvLock, KvPut};
use weir_control::lock::{ClaimRef, LockRef, NewClaim};
use weir_control::records::{Record, RecordEntry, TableRef, When};
use weir_control::registry::{KnownHealth, OnNode, Registration};
use weir_control::session::{Session, SessionRef};
use weir_model::registry::{Health, Instance};
use weir_model::{Revision, ServiceRef};
use weir_store::Memory;

use crate::support::*;

#[derive(Clone, Debug)]
enum Step {
    Node(u8),
    Register { node: u8, id: u8, service: u8, tags: u8, checks: u8, replace: bool },
    NodeCheck { node: u8, id: u8, health: u8 },
    Move { node: u8, check: u8, to: Option<u8> },
    SetCheck { node: u8, id: u8, health: u8 },
    Maintain { node: u8, id: Option<u8>, on: bool },
    DropInstance { node: u8, id: u8 },
    DropCheck { node: u8, id: u8 },
    DropNode(u8),
    Put { key: u8, value: u8 },
    Delete { key: u8 },
    DeletePrefix { key: u8 },
    Open,
    Close,
    LockKey { key: u8, acquire: bool },
    Claim { lock: u8, id: u8 },
    Release { lock: u8, id: u8 },
    Keep { name: u8, alias: Option<u8>, tied: bool, absent: bool },
    Forget { name: u8 },
    Append(u8),
    Declare { name: u8, version: u8 },
    Undeclare { name: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..3u8;
    let id = 0..4u8;
    prop_oneof![
        n.clone().prop_map(Step::Node),
        (n.clone(), id.clone(), 0..3u8, 0..4u8, 0..4u8, any::<bool>()).prop_map(
            |(node, id, service, tags, checks, replace)| Step::Register {
                node,
                id,
                service,
                tags,
                checks,
                replace
            }
        ),
        (n.clone(), id.clone(), 0..3u8).prop_map(|(node, id, health)| Step::NodeCheck { node, id, health }),
        (n.clone(), id.clone(), proptest::option::of(id.clone())).prop_map(|(node, check, to)| Step::Move {
            node,
            check,
            to
        }),
        (n.clone(), id.clone(), 0..3u8).prop_map(|(node, id, health)| Step::SetCheck { node, id, health }),
        (n.clone(), proptest::option::of(id.clone()), any::<bool>())
            .prop_map(|(node, id, on)| Step::Maintain { node, id, on }),
        (n.clone(), id.clone()).prop_map(|(node, id)| Step::DropInstance { node, id }),
        (n.clone(), id.clone()).prop_map(|(node, id)| Step::DropCheck { node, id }),
        n.prop_map(Step::DropNode),
        (id.clone(), 0..3u8).prop_map(|(key, value)| Step::Put { key, value }),
        id.clone().prop_map(|key| Step::Delete { key }),
        id.clone().prop_map(|key| Step::DeletePrefix { key }),
        Just(Step::Open),
        Just(Step::Close),
        (id.clone(), any::<bool>()).prop_map(|(key, acquire)| Step::LockKey { key, acquire }),
        (0..2u8, id.clone()).prop_map(|(lock, id)| Step::Claim { lock, id }),
        (0..2u8, id.clone()).prop_map(|(lock, id)| Step::Release { lock, id }),
        (id.clone(), proptest::option::of(id.clone()), any::<bool>(), any::<bool>())
            .prop_map(|(name, alias, tied, absent)| Step::Keep { name, alias, tied, absent }),
        id.clone().prop_map(|name| Step::Forget { name }),
        id.clone().prop_map(Step::Append),
        (0..3u8, 0..3u8).prop_map(|(name, version)| Step::Declare { name, version }),
        (0..3u8).prop_map(|name| Step::Undeclare { name }),
    ]
}

fn health(number: u8) -> Health {
    [Health::Passing, Health::Warning, Health::Critical][usize::from(number)]
}

/// Where instances are: at their node's address, at one of their own, at one that a node has too, at a name.
const ADDRESSES: [&str; 4] = ["", "10.0.0.2", "10.0.0.1", "db.example"];

/// Nodes differ in case, so that it matters that it does not.
fn node_name(number: u8) -> String {
    ["alpha", "Beta", "GAMMA"][usize::from(number)].to_owned()
}

fn check_on(node: u8, id: u8, of: Option<u8>, state: u8) -> weir_model::registry::Check {
    let mut check = check(&format!("c{id}"), of.map(|of| format!("i{of}")).as_deref(), health(state));
    check.node = node_name(node);
    check
}

/// Carries a step out. It may well be refused: then nothing may have happened.
async fn take(control: &Control, step: Step) {
    let before = control.position();
    let failed = match step {
        Step::Node(number) => control.register_node(node(&node_name(number))).await.is_err(),
        Step::Register { node, id, service, tags, checks, replace } => {
            let instance = Instance {
                node: node_name(node).to_lowercase(),
                tags: (0..tags).map(|tag| format!("t{tag}")).collect(),
                address: ADDRESSES[usize::from(tags)].to_owned(),
                ..instance(&format!("s{service}"), &format!("i{id}"))
            };
            let checks = (0..checks).map(|number| check_on(node, number, Some(id), number % 3)).collect();
            control.register_instance(instance, checks, replace).await.is_err()
        }
        Step::NodeCheck { node, id, health } => {
            control.register_check(check_on(node, id, None, health)).await.is_err()
        }
        Step::Move { node, check, to } => {
            let registration = Registration {
                node: OnNode::Known(node_name(node)),
                instance: None,
                checks: vec![check_on(node, check, to, 1)],
                known_health: KnownHealth::Overwrite,
                replace_checks: false,
            };
            control.register(&registration).await.is_err()
        }
        Step::SetCheck { node, id, health: state } => {
            let name = weir_control::catalog::CheckRef::new(NS, node_name(node), format!("c{id}"));
            control.set_check(&name, health(state), "said").await.is_err()
        }
        Step::Maintain { node, id, on } => {
            let reason = on.then_some("why");
            match id {
                Some(id) => {
                    let name = weir_control::catalog::InstanceRef::new(NS, node_name(node), format!("i{id}"));
                    control.maintain_instance(&name, reason).await.is_err()
                }
                None => control.maintain_node(&node_name(node), reason).await.is_err(),
            }
        }
        Step::DropInstance { node, id } => {
            let name = weir_control::catalog::InstanceRef::new(NS, node_name(node), format!("i{id}"));
            control.deregister_instance(&name).await.is_err()
        }
        Step::DropCheck { node, id } => {
            let name = weir_control::catalog::CheckRef::new(NS, node_name(node), format!("c{id}"));
            control.deregister_check(&name).await.is_err()
        }
        Step::DropNode(number) => control.deregister_node(&node_name(number)).await.is_err(),
        Step::Put { key, value } => {
            let put = KvPut { namespace: NS, key: &format!("k/{key}"), value: &[value], ..KvPut::default() };
            control.kv_put(put).await.is_err()
        }
        Step::Delete { key } => control.kv_delete(NS, &format!("k/{key}"), None).await.is_err(),
        Step::DeletePrefix { key } => control.kv_delete_prefix(NS, &format!("k/{key}")).await.is_err(),
        Step::Open => control.create_session(session()).await.is_err(),
        Step::Close => match first_session(control) {
            Some(session) => control.destroy_session(&session).await.is_err(),
            None => true,
        },
        Step::LockKey { key, acquire } => {
            let session = first_session(control).map_or_else(|| "none".to_owned(), |session| session.id);
            let lock = if acquire { KvLock::Acquire(&session) } else { KvLock::Release(&session) };
            let key = format!("k/{key}");
            let put = KvPut { namespace: NS, key: &key, value: b"l", lock: Some(lock), ..KvPut::default() };
            !matches!(control.kv_put(put).await, Ok(Some(_)))
        }
        Step::Claim { lock, id } => {
            let new = NewClaim {
                name: claim(lock, id),
                count: u32::from(lock) + 1,
                ttl: Duration::from_secs(600),
                holder: String::new(),
                instance: None,
                session: None,
            };
            control.claim_lock(new, Duration::ZERO).await.is_err()
        }
        Step::Release { lock, id } => control.release_claim(&claim(lock, id)).await.is_err(),
        Step::Keep { name, alias, tied, absent } => {
            let session = tied.then(|| first_session(control).map_or("none".to_owned(), |name| name.id));
            let alias = alias.map(|alias| record_name(alias + 2));
            let record = Record { name: record_name(name), alias, session, content: tied.into() };
            let when = if absent { When::At(0) } else { When::Always };
            !matches!(control.put_record(&things(), &record, when).await, Ok(Some(_)))
        }
        Step::Forget { name } => control.delete_record(&things(), &record_name(name), None).await.is_err(),
        Step::Append(value) => control.append_record(&ring(), 3, |_| value.into()).await.is_err(),
        Step::Declare { name, version } => {
            let resource = crate::resources::service(&format!("s{name}"), u64::from(version));
            control.apply(&crate::resources::request(&[resource])).await.is_err()
        }
        Step::Undeclare { name } => {
            let id = weir_model::ResourceId::new(weir_model::Kind::Service, NS, format!("s{name}"));
            let mut request = crate::resources::request(&[]);
            request.deletes.push(id);
            control.apply(&request).await.is_err()
        }
    };
    assert!(!failed || control.position() == before, "a refused command has changed something");
}

fn things() -> TableRef {
    TableRef::new(NS, "things")
}

fn ring() -> TableRef {
    TableRef::new(NS, "ring")
}

fn record_name(number: u8) -> String {
    format!("r{number}")
}

/// No two records share a name, each is found by both of its own, and none outlives its session.
fn records_hold_together(control: &Control) {
    let catalog = control.catalog();
    let entries = catalog.table_view(&things()).entries;
    let names = |entry: &RecordEntry| [Some(entry.value.name.clone()), entry.value.alias.clone()];
    let mut taken = std::collections::BTreeMap::new();
    for entry in &entries {
        for name in names(entry).into_iter().flatten() {
            assert_eq!(catalog.find_record(&things(), &name).as_ref(), Some(entry), "{name}");
            let owner = taken.entry(name).or_insert_with(|| entry.value.name.clone());
            assert_eq!(*owner, entry.value.name, "a name is taken twice");
        }
        let session = entry.value.session.as_ref().map(|id| SessionRef::new(NS, &**id));
        assert!(session.is_none_or(|session| catalog.session(&session).entries.is_some()));
    }
    let found = (0..8).filter(|number| catalog.find_record(&things(), &record_name(*number)).is_some());
    assert_eq!(found.count(), taken.len());
    assert!(catalog.table_view(&ring()).entries.len() <= 3);
}

fn session() -> Session {
    Session { namespace: NS.to_owned(), node: NODE.to_owned(), ..Session::default() }
}

fn first_session(control: &Control) -> Option<SessionRef> {
    control.catalog().sessions_view(NS).entries.first().map(|entry| SessionRef::of(&entry.value))
}

fn claim(lock: u8, id: u8) -> ClaimRef {
    ClaimRef::new(LockRef::new(NS, format!("l{lock}")), format!("c{id}"))
}

/// Everything that can be asked, indexes left out: those of a restarted catalog are higher.
fn content(control: &Control) -> String {
    let catalog = control.catalog();
    let mut shown = format!("{:?}", catalog.nodes_view().entries);
    for number in 0..3 {
        shown += &format!("\n{:?}", catalog.node_view(&node_name(number)).entries);
        let name = format!("s{number}");
        shown += &format!("\n{:?}", catalog.service_view(NS, &name).entries);
        let endpoints = catalog.endpoints(&weir_model::ServiceRef::new(NS, &*name));
        shown += &format!("\n{:?} {:?}", endpoints.known, endpoints.endpoints);
    }
    shown += &format!("\n{:?}", catalog.services_view(NS).entries);
    for state in [None, Some(Health::Passing), Some(Health::Warning), Some(Health::Critical)] {
        shown += &format!("\n{:?}", catalog.checks_view(NS, state).entries);
    }
    shown += &format!("\n{:?}", catalog.kv_list(NS, "").entries);
    shown += &format!("\n{:?}", catalog.sessions_view(NS).entries);
    for table in [things(), ring()] {
        shown += &format!("\n{:?}", catalog.table_view(&table).entries);
    }
    let tokens =
        |lock: weir_control::lock::LockView| lock.claims.iter().map(|claim| claim.token).collect::<Vec<_>>();
    let locks = control.locks(None).into_iter().map(|lock| (lock.name.clone(), lock.count, tokens(lock)));
    shown += &format!("\n{:?}", locks.collect::<Vec<_>>());
    let resources = catalog.resources().entries;
    shown += &format!("\n{:?}", resources.iter().collect::<Vec<_>>());
    shown + &format!("\n{:?}", catalog.change_sets().entries)
}

/// No check without its instance or node, no instance without its node.
fn no_orphans(control: &Control) {
    let catalog = control.catalog();
    let attached: usize = catalog
        .nodes_view()
        .entries
        .iter()
        .filter_map(|node| catalog.node_view(&node.node.value.name).entries)
        .map(|node| node.checks().count())
        .sum();
    assert_eq!(attached, catalog.checks_view(NS, None).entries.len());
    for service in catalog.services_view(NS).entries {
        assert_eq!(catalog.service_view(NS, &service.name).entries.len(), service.instances);
        assert!(service.instances > 0);
    }
}

/// Who is found by an address is who has it.
fn found_by_address(control: &Control) {
    let catalog = control.catalog();
    for ip in ["10.0.0.1", "10.0.0.2", "127.0.0.1", "10.0.0.3"] {
        let found = catalog.at_address(ip.parse().unwrap());
        let nodes = catalog.nodes_view().entries;
        let nodes = nodes.iter().map(|node| &node.node.value).filter(|node| node.address == ip);
        assert_eq!(found.nodes, nodes.map(|node| node.name.clone()).collect::<Vec<_>>(), "{ip}");
        let has_one = |name: &&Arc<str>| {
            let members = catalog.service_view(NS, name).entries;
            members.iter().any(|member| member.instance.value().address == ip)
        };
        let services = catalog.services_view(NS).entries;
        let names = services.iter().map(|service| &service.name).filter(has_one);
        let services: Vec<ServiceRef> = names.map(|name| ServiceRef::new(NS, &**name)).collect();
        assert_eq!(found.services, services, "{ip}");
    }
}

/// The indexes of all answers, for the proof that none goes backwards.
fn indexes(control: &Control) -> Vec<Revision> {
    let catalog = control.catalog();
    let mut indexes =
        vec![catalog.nodes_view().index, catalog.services_view(NS).index, catalog.resources().index];
    for number in 0..4 {
        indexes.push(catalog.service_view(NS, &format!("s{number}")).index);
        indexes.push(catalog.kv_get(NS, &format!("k/{number}")).index);
        indexes.push(catalog.node_view(&node_name(number % 3)).index);
    }
    indexes.extend([None, Some(Health::Critical)].map(|state| catalog.checks_view(NS, state).index));
    indexes.extend([things(), ring()].map(|table| catalog.table_view(&table).index));
    indexes.extend((0..6).map(|number| catalog.record(&things().record(record_name(number))).index));
    indexes.push(catalog.kv_list(NS, "").index);
    indexes.push(catalog.sessions_view(NS).index);
    indexes.push(catalog.node_sessions_view(NS, NODE).index);
    indexes.extend([0, 1].map(|lock| control.lock(&LockRef::new(NS, format!("l{lock}"))).index));
    indexes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn followed_and_rebuilt_catalogs_are_the_same(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Arc::new(Memory::new());
            let control = start_on(store.clone()).await;
            let mut before = indexes(&control);
            let mut shown = content(&control);
            for step in steps {
                take(&control, step.clone()).await;
                let now = indexes(&control);
                prop_assert!(before.iter().zip(&now).all(|(before, now)| before <= now), "{:?}", step);
                let shows = content(&control);
                prop_assert!(shows == shown || now != before, "an answer changed without an index: {:?}", step);
                (before, shown) = (now, shows);
                no_orphans(&control);
                found_by_address(&control);
                records_hold_together(&control);
            }
            let rebuilt = start_on(store).await;
            rebuilt.catalog().visible(control.position().revision).await.unwrap();
            tokio::time::timeout(Duration::from_secs(5), control.consistent()).await.unwrap().unwrap();
            prop_assert_eq!(content(&control), content(&rebuilt));
            found_by_address(&rebuilt);
            records_hold_together(&rebuilt);
            Ok(())
        })?;
    }
}
