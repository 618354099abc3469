//! Ids of nodes: one node each, whoever registers.

use std::sync::Arc;
use std::time::Duration;

use weir_control::catalog::CheckRef;
use weir_control::registry::{KnownHealth, OnNode, Registration, RegistryFault, RegistryOp, RegistryVerb};
use weir_control::txn::{Outcome, TxnFault, TxnOp, TxnResult};
use weir_control::{Control, Error};
use weir_model::registry::{Check, Health, Instance, Node, Runner};
use weir_store::{Memory, Store};

use crate::support::*;

const ID: &str = "40e4a748-2192-161a-0510-9bf59fe950b5";
const OTHER: &str = "50e4a748-2192-161a-0510-9bf59fe950b5";

fn with_id(name: &str, id: &str) -> Node {
    Node { id: id.to_owned(), ..node(name) }
}

fn registration(node: OnNode, instance: Option<Instance>, checks: Vec<Check>) -> Registration {
    Registration { node, instance, checks, known_health: KnownHealth::Overwrite, replace_checks: false }
}

/// A node with an agent and an instance.
async fn with_agent(control: &Control, name: &str, id: &str) {
    let presence = Check { runner: Runner::Presence, ..ttl("alive", None, Duration::from_secs(3600), None) };
    let on = OnNode::LetIn(with_id(name, id));
    control.register(&registration(on, None, vec![presence])).await.unwrap();
    let on = OnNode::Known(name.to_owned());
    control.register(&registration(on, Some(instance("web", "web-1")), Vec::new())).await.unwrap();
}

async fn is_gone(control: &Control, name: &str) {
    control.set_check(&CheckRef::new(NS, name, "alive"), Health::Critical, "").await.unwrap();
}

fn nodes(control: &Control, id: &str) -> Vec<String> {
    control.catalog().nodes_with_id(id).iter().map(|node| node.node.value.name.clone()).collect()
}

fn says(result: Result<weir_control::registry::Committed, Error>, expected: &str) {
    match result {
        Err(Error::Refused { reason }) => assert_eq!(reason, expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_id_of_a_node_that_is_alive_is_refused_and_that_of_another_is_a_rename() {
    let control = start().await;
    with_agent(&control, "s1", ID).await;
    let conflict = format!("Member 'n2' has conflicting node ID '{ID}' with member 's1'");
    says(control.register_node(with_id("n2", ID)).await, &conflict);
    let shouted = ID.to_ascii_uppercase();
    says(control.register_node(with_id("n2", &shouted)).await, &conflict.replace(ID, &shouted));
    assert_eq!(nodes(&control, ID), ["s1"]);
    // Its own name in another case is the same node.
    assert!(control.register_node(with_id("S1", ID)).await.is_ok());

    is_gone(&control, "s1").await;
    control.register_node(with_id("n2", ID)).await.unwrap();
    assert_eq!(nodes(&control, ID), ["n2"]);
    assert!(control.catalog().node("s1").is_none());
    assert!(control.catalog().service_view(NS, "web").entries.is_empty());
    assert!(control.catalog().checks_view(NS, None).entries.is_empty());
    // Nobody's agent is on it: it is renamed at will, also by whoever runs on it.
    control.register_node(with_id("n3", ID)).await.unwrap();
    control.register(&registration(OnNode::LetIn(with_id("n4", ID)), None, Vec::new())).await.unwrap();
    assert_eq!(nodes(&control, ID), ["n4"]);
    control.deregister_node("n4").await.unwrap();
    assert!(nodes(&control, ID).is_empty());
}

#[tokio::test]
async fn a_name_is_not_taken_from_a_node_that_is_alive() {
    let control = start().await;
    with_agent(&control, "s1", ID).await;
    let reserved = format!(
        "Error while renaming Node ID: \"{OTHER}\": Node name s1 is reserved by node {ID} with name s1 (10.0.0.1)"
    );
    says(control.register_node(with_id("s1", OTHER)).await, &reserved);
    is_gone(&control, "s1").await;
    control.register_node(with_id("s1", OTHER)).await.unwrap();
    assert_eq!((nodes(&control, OTHER), nodes(&control, ID)), (vec!["s1".to_owned()], vec![]));
    // One without an id is given one, unless that is another's already.
    control.register_node(node("plain")).await.unwrap();
    control.register_node(with_id("plain", ID)).await.unwrap();
    assert_eq!(nodes(&control, ID), ["plain"]);
}

#[tokio::test]
async fn a_servers_own_node_gives_its_id_to_nobody() {
    let control = start().await;
    let own = control.catalog().node(NODE).unwrap().node.value.id.clone();
    for on in [OnNode::Put(with_id("n2", &own)), OnNode::LetIn(with_id("n2", &own))] {
        let expected = format!("Member 'n2' has conflicting node ID '{own}' with member '{NODE}'");
        says(control.register(&registration(on, None, Vec::new())).await, &expected);
    }
    let taken = control.register_node(with_id(NODE, OTHER)).await;
    assert!(matches!(taken, Err(Error::Refused { .. })), "{taken:?}");
    assert!(control.catalog().node(NODE).unwrap().node.value.is_server);
    // Its own id in capitals is its own: it stays a server's.
    let shouted = own.to_ascii_uppercase();
    control.register_node(with_id(NODE, &shouted)).await.unwrap();
    assert!(control.catalog().node(NODE).unwrap().node.value.is_server);
    assert!(control.register_node(with_id("n2", &own)).await.is_err());
}

#[tokio::test]
async fn servers_that_start_together_share_their_nodes_id() {
    for _ in 0..20 {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let (a, b) = tokio::join!(start_on(Arc::clone(&store)), start_on(Arc::clone(&store)));
        let id = |control: &Control| control.catalog().node(NODE).unwrap().node.value.id.clone();
        let alike = async {
            while id(&a) != id(&b) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), alike).await.expect("both know the same");
    }
}

#[tokio::test]
async fn a_transaction_renames_and_refuses_alike() {
    let control = start().await;
    with_agent(&control, "s1", ID).await;
    let op = |verb, node| TxnOp::Registry(Box::new(RegistryOp::Node { verb, node }));
    let set = |name: &str| op(RegistryVerb::Set, with_id(name, ID));
    let get = || op(RegistryVerb::Get, Node { id: ID.to_owned(), ..Node::default() });
    let refused = control.txn(NS, &[set("n2")]).await.unwrap();
    let Outcome::Failed(faults) = refused else { panic!("{refused:?}") };
    let other = control.txn(NS, &[op(RegistryVerb::Set, with_id("s1", OTHER))]).await.unwrap();
    assert!(matches!(other, Outcome::Failed(_)), "its agent is there: {other:?}");
    assert!(matches!(&*faults, [(0, TxnFault::Registry(RegistryFault::Refused(Error::Refused { .. })))]));
    is_gone(&control, "s1").await;
    let done = control.txn(NS, &[get(), set("n2"), get(), set("n3"), get()]).await.unwrap();
    let Outcome::Done(results) = done else { panic!("{done:?}") };
    let names: Vec<_> = results
        .iter()
        .map(|result| match result {
            TxnResult::Registry(weir_control::registry::RegistryResult::Node(entry)) => {
                &*entry.node.value.name
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["s1", "n2", "n2", "n3", "n3"]);
    assert_eq!(nodes(&control, ID), ["n3"]);
    assert!(control.catalog().node("s1").is_none() && control.catalog().node("n2").is_none());
    assert!(control.catalog().service_view(NS, "web").entries.is_empty());
}
