//! The registry's commands. Each answers once the own catalog shows its result.

use std::collections::BTreeSet;

use weir_model::Revision;
use weir_model::registry::{Check, Health, Instance, Node};

use super::{Committed, KnownHealth, OnNode, Registration, decide, namesake, validate};
use crate::bounds::CHECK_OUTPUT_BYTES_MAX;
#[cfg(doc)]
use crate::bounds::CHECK_OUTPUT_INTERVAL;
use crate::catalog::{CheckEntry, CheckRef, InstanceRef, State};
use crate::{Control, Error, Heartbeat};

impl Control {
    /// Registers a node, an instance and checks together, or changes them. Registering the same again changes
    /// nothing and makes no revision.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::TooLarge`]; [`Error::NotFound`] for an unknown node of [`OnNode::Known`] or an
    /// unknown instance of a check; [`Error::Refused`] for a node whose id or name another one has that is alive.
    pub async fn register(&self, registration: &Registration) -> Result<Committed, Error> {
        let what = || match &registration.node {
            OnNode::Put(node) | OnNode::LetIn(node) => format!("node {:?}", node.name),
            OnNode::Known(name) => format!("node {name:?}"),
        };
        let ops_max = self.store().limits().txn_ops_max;
        let mut changed = false;
        loop {
            let (mut is_whole, mut replaced) = (true, BTreeSet::new());
            let done = self
                .execute(what, |state| {
                    let (plan, whole) = decide::register(state, registration, ops_max)?;
                    is_whole = whole;
                    replaced = namesake::replaced(state, registration);
                    Ok(plan)
                })
                .await?;
            self.sweep_nodes(&replaced).await?;
            changed |= done.changed;
            if is_whole || !done.changed {
                return Ok(Committed { changed, ..done });
            }
        }
    }

    /// Registers a node, or changes it. A known one keeps its maintenance.
    ///
    /// # Errors
    /// As [`Control::register`].
    pub async fn register_node(&self, node: Node) -> Result<Committed, Error> {
        self.register(&Registration {
            node: OnNode::Put(node),
            instance: None,
            checks: Vec::new(),
            known_health: KnownHealth::Keep,
            replace_checks: false,
        })
        .await
    }

    /// Registers an instance with its checks on a known node, as an agent does: checks that are there already keep
    /// what they report, the instance keeps its maintenance.
    ///
    /// # Errors
    /// As [`Control::register`].
    pub async fn register_instance(
        &self,
        instance: Instance,
        checks: Vec<Check>,
        replace_checks: bool,
    ) -> Result<Committed, Error> {
        self.register(&Registration {
            node: OnNode::Known(instance.node.clone()),
            instance: Some(instance),
            checks,
            known_health: KnownHealth::Keep,
            replace_checks,
        })
        .await
    }

    /// Registers a check of a known node, or of a known instance on it.
    ///
    /// # Errors
    /// As [`Control::register`].
    pub async fn register_check(&self, check: Check) -> Result<Committed, Error> {
        self.register(&Registration {
            node: OnNode::Known(check.node.clone()),
            instance: None,
            checks: vec![check],
            known_health: KnownHealth::Keep,
            replace_checks: false,
        })
        .await
    }

    /// Removes a node with its checks, its instances and their checks, in all namespaces.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for this server's own node; [`Error::TooLarge`] if more is on it than
    /// one transaction of the store can remove.
    pub async fn deregister_node(&self, name: &str) -> Result<Committed, Error> {
        validate::check_node_name(name)?;
        decide::check_leaves(&self.settings().node_name, name)?;
        let what = || format!("node {name:?}");
        let done = self.execute(what, |state| decide::deregister_node(state, name)).await?;
        if !done.changed {
            return Err(Error::not_found("node", name));
        }
        // What was registered while the first transaction was decided, in a namespace it did not know of.
        self.execute(what, |state| decide::deregister_node_leftovers(state, name)).await?;
        Ok(done)
    }

    /// Removes an instance with its checks.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn deregister_instance(&self, instance: &InstanceRef) -> Result<Committed, Error> {
        let what = || format!("instance {:?}", instance.id);
        let ops_max = self.store().limits().txn_ops_max;
        let done = self.execute(what, |state| decide::deregister_instance(state, instance, ops_max)).await?;
        if !done.changed {
            return Err(Error::not_found("instance", &instance.id));
        }
        self.deregister_leftovers(instance, ops_max).await?;
        Ok(done)
    }

    /// Removes checks that did not fit into the transaction that removed their instance, or were registered while it was
    /// decided.
    pub(super) async fn deregister_leftovers(
        &self,
        instance: &InstanceRef,
        ops_max: usize,
    ) -> Result<(), Error> {
        let what = || format!("instance {:?}", instance.id);
        let some = |state: &State| decide::deregister_leftovers(state, instance, ops_max);
        while self.execute(what, some).await?.changed {}
        Ok(())
    }

    /// Removes an instance because its check was critical for too long; not if it is not any more.
    pub(crate) async fn evict(&self, instance: &InstanceRef, check: &CheckRef) -> Result<Committed, Error> {
        let what = || format!("instance {:?}", instance.id);
        let mut seen = None;
        let ops_max = self.store().limits().txn_ops_max;
        let done =
            self.execute(what, |state| decide::evict(state, instance, check, &mut seen, ops_max)).await?;
        if done.changed {
            self.deregister_leftovers(instance, ops_max).await?;
        }
        Ok(done)
    }

    /// Removes a node because its agent was silent for too long, as this check says; not if it is not any more.
    pub(crate) async fn forget_node(&self, presence: &CheckRef) -> Result<Committed, Error> {
        let what = || format!("node {:?}", presence.node);
        let mut seen = None;
        let done = self.execute(what, |state| decide::forget_node(state, presence, &mut seen)).await?;
        if done.changed {
            self.execute(what, |state| decide::deregister_node_leftovers(state, &presence.node)).await?;
        }
        Ok(done)
    }

    /// Writes that a TTL check was not heard from, unless it was written, or a replica told something, after the revision
    /// `seen`, up to which all signs of life are known.
    pub(crate) async fn expire(&self, check: &CheckRef, seen: Revision) -> Result<Committed, Error> {
        let what = || format!("check {:?}", check.id);
        self.execute(what, |state| decide::expire(state, check, seen)).await
    }

    /// Removes a check.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn deregister_check(&self, check: &CheckRef) -> Result<Committed, Error> {
        let what = || format!("check {:?}", check.id);
        let done = self.execute(what, |state| decide::deregister_check(state, check)).await?;
        if done.changed { Ok(done) } else { Err(Error::not_found("check", &check.id)) }
    }

    /// Puts an instance into maintenance (with a reason, which may be empty), or ends it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn maintain_instance(
        &self,
        instance: &InstanceRef,
        reason: Option<&str>,
    ) -> Result<Committed, Error> {
        let what = || format!("instance {:?}", instance.id);
        self.execute(what, |state| decide::maintain_instance(state, instance, reason)).await
    }

    /// Puts a node into maintenance (with a reason, which may be empty), or ends it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn maintain_node(&self, name: &str, reason: Option<&str>) -> Result<Committed, Error> {
        self.execute(|| format!("node {name:?}"), |state| decide::maintain_node(state, name, reason)).await
    }

    /// Somebody reports on a check; for a TTL check this is its sign of life. Only what differs from what is known is
    /// written, so a heartbeat that changes nothing does not touch the store. Of one that changes nothing but the
    /// output, the output is written only if the last was [`CHECK_OUTPUT_INTERVAL`] ago; until then it is in
    /// [`Control::said`]. Output beyond [`CHECK_OUTPUT_BYTES_MAX`] is cut.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unavailable`] where it would be heard by nobody.
    pub async fn set_check(
        &self,
        check: &CheckRef,
        health: Health,
        output: &str,
    ) -> Result<Committed, Error> {
        let entry = self.catalog().check(check).ok_or_else(|| Error::not_found("check", &check.id))?;
        if entry.value.health == health && !self.owns(&CheckRef::of(&entry.value)) {
            return self.forward(&entry, output).await;
        }
        if entry.value.health == health {
            self.check_heard(check)?;
        }
        self.heartbeat(&entry, health, output).await
    }

    /// A sign of life of a check that this replica judges, or one that changes its health.
    pub(crate) async fn heartbeat(
        &self,
        entry: &CheckEntry,
        health: Health,
        output: &str,
    ) -> Result<Committed, Error> {
        // Named with its node in another case, it is judged under the name it was registered with all the same.
        let known = CheckRef::of(&entry.value);
        self.monitor.heard_from(&known);
        let output = &output[..output.floor_char_boundary(CHECK_OUTPUT_BYTES_MAX)];
        let other_output = (entry.value.output != output).then_some(output);
        if entry.value.health == health && !self.monitor.say(&known, other_output) {
            return Ok(Committed { position: self.position(), changed: false });
        }
        self.commit_health(&known, health, Some(output)).await
    }

    /// A sign of life for the replica that judges the check.
    async fn forward(&self, entry: &CheckEntry, output: &str) -> Result<Committed, Error> {
        let check = CheckRef::of(&entry.value);
        let output = &output[..output.floor_char_boundary(CHECK_OUTPUT_BYTES_MAX)];
        let output = (entry.value.output != output).then(|| output.to_owned());
        let heard = self.check_heard(&check);
        let heartbeat = Heartbeat { check, output };
        match self.forwarded.try_send(heartbeat) {
            // It is tried in any case: that is how it is found out that it can be told again.
            Ok(()) => heard.map(|()| Committed { position: self.position(), changed: false }),
            // Too many wait: the store tells it.
            Err(heartbeat) => {
                self.tell(&[heartbeat.into_inner().check]).await?;
                Ok(Committed { position: self.position(), changed: false })
            }
        }
    }

    /// Writes what a check reports, if it differs; the output stays if none is given.
    pub(crate) async fn commit_health(
        &self,
        check: &CheckRef,
        health: Health,
        output: Option<&str>,
    ) -> Result<Committed, Error> {
        let output = output.map(|text| &text[..text.floor_char_boundary(CHECK_OUTPUT_BYTES_MAX)]);
        let what = || format!("check {:?}", check.id);
        self.execute(what, |state| decide::set_check(state, check, health, output)).await
    }
}
