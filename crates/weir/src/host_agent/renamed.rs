//! An agent that is started under another name than before: what is registered with it is this host's still, and follows.

use weir_control::bounds::REGISTRATION_CHECKS_MAX;
use weir_control::catalog::{InstanceRef, NodeEntry, NodeView};
use weir_control::registry::{KnownHealth, OnNode, Registration};
use weir_control::{Control, Error};
use weir_model::registry::{Check, Instance, Runner};

/// Moves what is on other nodes of this registry, which are this host under former names, to the own node, with the health that is
/// known, and forgets those nodes. Done again, as after a crash in between, it goes on where it was.
///
/// # Errors
/// When the store is a server's, whose nodes are not this host, and when it cannot be written.
pub(super) async fn move_here(control: &Control) -> Result<(), Error> {
    let own = control.settings().node_name.clone();
    let nodes = control.catalog().nodes_view().entries;
    if nodes.iter().any(|node| is_servers(node)) {
        let reason = "the data directory is a server's; expected one of the agent's own".to_owned();
        return Err(Error::Refused { reason });
    }
    for node in nodes {
        let former = &node.node.value.name;
        if former.eq_ignore_ascii_case(&own) {
            continue;
        }
        let Some(view) = control.catalog().node_view(former).entries else { continue };
        let (instances, checks) = (view.instances.len(), view.checks().count());
        move_all(control, &own, &view).await?;
        match control.deregister_node(former).await {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        tracing::info!(
            before = former,
            now = own,
            instances,
            checks,
            "the node has another name than before; what was registered is on it now"
        );
    }
    Ok(())
}

/// Whether only a server keeps such a node: its own, or one whose agent it hears.
fn is_servers(node: &NodeEntry) -> bool {
    node.node.value.is_server || node.checks.iter().any(|check| check.value.runner == Runner::Presence)
}

async fn move_all(control: &Control, own: &str, former: &NodeView) -> Result<(), Error> {
    for entry in &former.instances {
        let instance = entry.value();
        let mut checks = entry.checks.iter().map(|check| check.value.clone());
        let first = checks.by_ref().take(REGISTRATION_CHECKS_MAX).collect();
        put(control, own, Some(instance.clone()), first).await?;
        for check in checks {
            put(control, own, None, vec![check]).await?;
        }
        let name = InstanceRef::new(&*instance.namespace, own, &*instance.id);
        control.maintain_instance(&name, instance.maintenance.as_deref()).await?;
    }
    for check in &former.node.checks {
        put(control, own, None, vec![check.value.clone()]).await?;
    }
    control.maintain_node(own, former.node.node.value.maintenance.as_deref()).await?;
    Ok(())
}

async fn put(
    control: &Control,
    own: &str,
    instance: Option<Instance>,
    checks: Vec<Check>,
) -> Result<(), Error> {
    let node = OnNode::Known(own.to_owned());
    let known_health = KnownHealth::Overwrite;
    let registration = Registration { node, instance, checks, known_health, replace_checks: false };
    control.register(&registration).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_control::Settings;
    use weir_model::registry::{Health, Node};
    use weir_store::{Memory, Store};

    use super::*;

    fn check(id: &str, instance: Option<&str>) -> Check {
        Check {
            node: "former".to_owned(),
            id: id.to_owned(),
            name: id.to_owned(),
            instance: instance.map(str::to_owned),
            health: Health::Warning,
            output: "as it was".to_owned(),
            ..Check::default()
        }
    }

    async fn control(store: &Arc<dyn Store>, name: &str) -> Arc<Control> {
        let settings = Settings { node_name: name.to_owned(), is_server: false, ..Settings::default() };
        Control::start(Arc::clone(store), settings).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_registered_follows_the_nodes_name() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let first = control(&store, "former").await;
        let id = "40e4a748-2192-161a-0510-9bf59fe950b5";
        let node = |name: &str| Node {
            name: name.to_owned(),
            id: id.to_owned(),
            address: "10.0.0.1".to_owned(),
            ..Node::default()
        };
        first.register_node(node("former")).await.unwrap();
        let instance = |id: &str| Instance {
            node: "former".to_owned(),
            id: id.to_owned(),
            service: "web".to_owned(),
            ..Instance::default()
        };
        let many = REGISTRATION_CHECKS_MAX + 2;
        first.register_instance(instance("a"), vec![check("a0", Some("a"))], false).await.unwrap();
        for number in 1..many {
            first.register_check(check(&format!("a{number}"), Some("a"))).await.unwrap();
        }
        first.register_instance(instance("b"), Vec::new(), false).await.unwrap();
        first.register_check(check("disk", None)).await.unwrap();
        let name = InstanceRef::new("default", "former", "b");
        first.maintain_instance(&name, Some("repairs")).await.unwrap();
        first.maintain_node("former", Some("moving")).await.unwrap();
        drop(first);

        let now = control(&store, "now").await;
        for _ in 0..2 {
            move_here(&now).await.unwrap();
            now.register_node(node("now")).await.unwrap();
        }
        assert!(now.catalog().node("former").is_none());
        let view = now.catalog().node_view("now").entries.unwrap();
        assert_eq!(view.node.node.value.maintenance.as_deref(), Some("moving"));
        assert_eq!((view.instances.len(), view.node.checks.len()), (2, 1));
        let (a, b) = (&view.instances[0], &view.instances[1]);
        assert_eq!((a.checks.len(), b.value().maintenance.as_deref()), (many, Some("repairs")));
        let known = |check: &Check| (check.health, &*check.output) == (Health::Warning, "as it was");
        assert!(view.checks().all(|check| known(&check.value)));
    }

    #[tokio::test]
    async fn a_servers_store_is_left_alone() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let settings = Settings { node_name: "server".to_owned(), is_server: true, ..Settings::default() };
        let server = Control::start(Arc::clone(&store), settings).await.unwrap();
        let other = Node { name: "other".to_owned(), address: "10.0.0.2".to_owned(), ..Node::default() };
        server.register_node(other).await.unwrap();
        drop(server);
        let agent = control(&store, "agent").await;
        assert!(matches!(move_here(&agent).await, Err(Error::Refused { .. })));
        assert!(agent.catalog().node("other").is_some());
    }
}
