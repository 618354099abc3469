//! What the control plane wants to be in force: the sum of its updates. Pure: messages in, inputs and refusals out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::mesh;
use weir_api::snapshot::{EndpointInputs, StatedProtocol};
use weir_model::resource::Protocol;
use weir_model::{Kind, Position, Resource, ResourceId, ServiceRef, validate};

use crate::snapshot::{Inputs, Registered, Rejection, Resources, Services};

/// The sum of all updates of a stream, and of the streams that it resumed.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// As of the last update. Of a resource whose new version makes no sense, the old one; where there is none, what of the
    /// new one does.
    pub(super) inputs: Inputs,
    /// Resources and endpoints that made no sense when they were sent, until they are sent again or removed.
    senseless: BTreeMap<ResourceId, Vec<Rejection>>,
    /// Resources of which only a part is in force.
    in_part: BTreeSet<ResourceId>,
}

/// What was there before the update.
#[derive(Debug, Default)]
struct Earlier {
    resources: Arc<Resources>,
    in_part: BTreeSet<ResourceId>,
}

/// An update that cannot follow on what was there before. The stream is to be begun anew, without resuming.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutOfOrder {
    #[error("update without a position")]
    NoPosition,
    #[error("the update is of epoch {0}, without a reset, and what is in force of epoch {1}")]
    Epoch(u64, u64),
    #[error("the update is at {0}, and what is in force at {1}, which is later")]
    Back(Position, Position),
}

impl Wanted {
    pub(super) fn starting_from(inputs: Inputs, in_part: BTreeSet<ResourceId>) -> Self {
        Self { inputs, in_part, ..Self::default() }
    }

    /// Of the resources in force those of which only a part is.
    pub(super) fn in_part(&self, in_force: &Inputs) -> BTreeSet<ResourceId> {
        let wanted = &self.inputs.resources;
        let is_it =
            |id: &&ResourceId| wanted.get(*id) == in_force.resources.get(*id) && wanted.contains_key(*id);
        self.in_part.iter().filter(is_it).cloned().collect()
    }

    /// Applies an update: all of it but what makes no sense by itself. Gives the services that it tells about.
    pub(super) fn apply(&mut self, update: mesh::Update) -> Result<Vec<ServiceRef>, OutOfOrder> {
        let sent = update.position.ok_or(OutOfOrder::NoPosition)?;
        let position = Position::new(sent.epoch, sent.revision);
        let before = self.inputs.position;
        // Beyond a reset lives on what is sent again and makes no sense now.
        let mut earlier = Earlier::default();
        if update.reset {
            let before = std::mem::take(self);
            earlier = Earlier { resources: before.inputs.resources, in_part: before.in_part };
        } else if position.epoch != before.epoch && before != Position::default() {
            return Err(OutOfOrder::Epoch(position.epoch, before.epoch));
        } else if position < before {
            return Err(OutOfOrder::Back(position, before));
        }
        self.inputs.position = position;
        // Only what changes is copied: unchanged parts are recognised by being shared.
        if update.reset || !update.upserts.is_empty() || !update.removals.is_empty() {
            let mut resources = Resources::clone(&self.inputs.resources);
            for removed in update.removals {
                if let Some(id) = known_id(&removed) {
                    resources.remove(&id);
                    self.senseless.remove(&id);
                    self.in_part.remove(&id);
                }
            }
            for sent in update.upserts {
                self.upsert(&mut resources, &sent, &earlier);
            }
            self.inputs.resources = Arc::new(resources);
        }
        let mut told = Vec::with_capacity(update.endpoints.len());
        if !update.endpoints.is_empty() {
            let mut services = Services::clone(&self.inputs.services);
            for sent in update.endpoints {
                told.extend(self.service(&mut services, sent));
            }
            self.inputs.services = Arc::new(services);
        }
        Ok(told)
    }

    /// What made no sense, as far as it still matters.
    pub(super) fn rejections(&self) -> impl Iterator<Item = &Rejection> {
        self.senseless.values().flatten()
    }

    /// Forgets services that are not subscribed to any more.
    pub(super) fn forget(&mut self, services: &[ServiceRef]) {
        if services.iter().any(|service| self.inputs.services.contains_key(service)) {
            let kept = Arc::make_mut(&mut self.inputs.services);
            for service in services {
                kept.remove(service);
            }
        }
    }

    fn upsert(&mut self, resources: &mut Resources, sent: &mesh::Resource, earlier: &Earlier) {
        // A kind from the future: nothing here could make use of it.
        let Some(id) = sent.r#ref.as_ref().and_then(known_id) else { return };
        self.senseless.remove(&id);
        let was_in_part = self.in_part.remove(&id) || earlier.in_part.contains(&id);
        let before = resources.get(&id).or_else(|| earlier.resources.get(&id)).cloned();
        let mut part = None;
        let refused = match serde_json::from_slice::<Resource>(&sent.json) {
            Err(error) => vec![reject(&id, "", format!("cannot be read: {error}"))],
            Ok(resource) if resource.id() != id => {
                vec![reject(&id, "metadata", format!("the document is {}, sent as {id}", resource.id()))]
            }
            Ok(resource) => {
                let faults = validate::validate(&resource);
                if faults.is_empty() {
                    resources.insert(id, Arc::new(resource));
                    return;
                }
                // An older one that is whole is better than a part of the new one; a part of an older one is not.
                if before.is_none() || was_in_part {
                    part = validate::remainder(&resource, &faults).map(|part| Arc::new(part.resource));
                }
                let instead = Instead::of(before.is_some(), part.is_some());
                faults.iter().map(|fault| reject(&id, &fault.path, instead.explained(fault))).collect()
            }
        };
        if part.is_some() || (before.is_some() && was_in_part) {
            self.in_part.insert(id.clone());
        }
        if let Some(instead) = part.or(before) {
            resources.insert(id.clone(), instead);
        }
        self.senseless.insert(id, refused);
    }

    fn service(&mut self, services: &mut Services, sent: mesh::ServiceEndpoints) -> Option<ServiceRef> {
        let service = sent.service.map(|service| ServiceRef::new(service.namespace, service.name))?;
        let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
        let mut registered = match services.get(&service) {
            _ if sent.whole => Registered::default(),
            Some(before) => Registered::clone(before),
            // A change that was on its way when the service was dropped. If it is subscribed to again since, all of it
            // follows; until then a part must not pass for the whole.
            None => return None,
        };
        registered.known = sent.known;
        // A word that is not known here is none; what documents and instances say then counts.
        registered.protocol = Protocol::of_word(&sent.protocol)
            .map(|protocol| StatedProtocol { protocol, from: "the control plane".to_owned() });
        for endpoint in &sent.removals {
            registered.endpoints.remove(endpoint);
        }
        for endpoint in sent.upserts {
            match EndpointInputs::try_from(endpoint) {
                Ok(endpoint) => drop(registered.endpoints.insert(endpoint.id.clone(), endpoint)),
                Err(error) => tracing::warn!(service = %id, %error, "leaving out an endpoint"),
            }
        }
        services.insert(service.clone(), Arc::new(registered));
        Some(service)
    }
}

fn known_id(sent: &mesh::ResourceRef) -> Option<ResourceId> {
    Some(ResourceId::new(sent.kind.parse().ok()?, &*sent.namespace, &*sent.name))
}

fn reject(id: &ResourceId, path: &str, reason: String) -> Rejection {
    Rejection { resource: id.clone(), path: path.to_owned(), reason }
}

/// What is in force of a document that breaks a rule.
#[derive(Clone, Copy)]
enum Instead {
    Older,
    Rest,
    Nothing,
}

impl Instead {
    const fn of(older: bool, rest: bool) -> Self {
        match (older, rest) {
            (_, true) => Self::Rest,
            (true, false) => Self::Older,
            (false, false) => Self::Nothing,
        }
    }

    /// What is wrong, after what that means: long reasons are cut off at their end.
    fn explained(self, fault: &validate::FieldError) -> String {
        let means = match self {
            Self::Older => "the document from before stays in force",
            Self::Rest => "left out, the rest is in force",
            Self::Nothing => "nothing of it is in force",
        };
        match &fault.expected {
            Some(expected) => format!("{means}: {}; expected {expected}", fault.message),
            None => format!("{means}: {}", fault.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_model::Spec;

    use super::super::messages::{endpoints, update, upsert};
    use super::*;
    use crate::snapshot::tests::{endpoint, gateway, resource, service};

    fn ids(wanted: &Wanted) -> Vec<String> {
        wanted.inputs.resources.keys().map(ToString::to_string).collect()
    }

    fn endpoint_ids(wanted: &Wanted, name: &str) -> Vec<String> {
        let registered = &wanted.inputs.services[&ServiceRef::new("default", name)];
        registered.endpoints.keys().cloned().collect()
    }

    #[test]
    fn updates_add_up() {
        let mut wanted = Wanted::default();
        let first = mesh::Update {
            reset: true,
            upserts: vec![upsert(&gateway("edge")), upsert(&service("cart", &[1]))],
            endpoints: vec![endpoints("cart", true, &[endpoint("a/1", 9001), endpoint("a/2", 9002)], &[])],
            ..update(1, 5)
        };
        assert_eq!(wanted.apply(first).unwrap(), [ServiceRef::new("default", "cart")]);
        assert_eq!(ids(&wanted), ["Gateway/edge", "Service/cart"]);
        let resources = Arc::clone(&wanted.inputs.resources);

        let delta = endpoints("cart", false, &[endpoint("a/3", 9003)], &["a/1"]);
        wanted.apply(mesh::Update { endpoints: vec![delta], ..update(1, 6) }).unwrap();
        assert_eq!(endpoint_ids(&wanted, "cart"), ["a/2", "a/3"]);
        assert!(Arc::ptr_eq(&resources, &wanted.inputs.resources), "unchanged resources stay shared");

        let removals = vec![mesh::ResourceRef {
            kind: "Service".into(),
            namespace: "default".into(),
            name: "cart".into(),
        }];
        let whole = endpoints("cart", true, &[endpoint("a/9", 9009)], &[]);
        wanted.apply(mesh::Update { removals, endpoints: vec![whole], ..update(1, 6) }).unwrap();
        assert_eq!(ids(&wanted), ["Gateway/edge"]);
        assert_eq!(endpoint_ids(&wanted, "cart"), ["a/9"]);
        assert_eq!(wanted.inputs.position, Position::new(1, 6));

        wanted.apply(mesh::Update { reset: true, ..update(2, 1) }).unwrap();
        assert!(wanted.inputs.resources.is_empty() && wanted.inputs.services.is_empty());
    }

    #[test]
    fn what_is_out_of_order_changes_nothing() {
        let mut wanted = Wanted::default();
        wanted.apply(mesh::Update { upserts: vec![upsert(&gateway("edge"))], ..update(2, 5) }).unwrap();
        let check = |wanted: &mut Wanted, update: mesh::Update, expected: OutOfOrder| {
            let removing = vec![upsert(&gateway("edge")).r#ref.unwrap()];
            assert_eq!(wanted.apply(mesh::Update { removals: removing, ..update }), Err(expected));
            assert_eq!(ids(wanted), ["Gateway/edge"]);
            assert_eq!(wanted.inputs.position, Position::new(2, 5));
        };
        check(&mut wanted, update(3, 9), OutOfOrder::Epoch(3, 2));
        check(&mut wanted, update(2, 4), OutOfOrder::Back(Position::new(2, 4), Position::new(2, 5)));
        check(&mut wanted, mesh::Update::default(), OutOfOrder::NoPosition);
    }

    #[test]
    fn what_makes_no_sense_is_refused_alone_and_the_old_version_stays() {
        let mut wanted = Wanted::default();
        wanted.apply(mesh::Update { upserts: vec![upsert(&service("cart", &[1]))], ..update(1, 1) }).unwrap();
        let mut broken = upsert(&service("cart", &[2]));
        broken.json = b"{".to_vec();
        let mut misnamed = upsert(&service("mail", &[2]));
        misnamed.json = upsert(&service("post", &[2])).json;
        let upserts = vec![broken, misnamed, upsert(&service("zero", &[0])), upsert(&gateway("edge"))];
        wanted.apply(mesh::Update { upserts, ..update(1, 2) }).unwrap();

        assert_eq!(ids(&wanted), ["Gateway/edge", "Service/cart", "Service/zero"]);
        let refused: Vec<_> = wanted.rejections().map(ToString::to_string).collect();
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused[0].starts_with("Service/cart: : cannot be read: "), "{refused:?}");
        assert_eq!(refused[1], "Service/mail: metadata: the document is Service/post, sent as Service/mail");
        assert!(
            refused[2].starts_with("Service/zero: spec.endpoints[0].port: left out, the rest is in force: "),
            "{refused:?}"
        );

        wanted.apply(mesh::Update { upserts: vec![upsert(&service("cart", &[3]))], ..update(1, 3) }).unwrap();
        assert_eq!(wanted.rejections().count(), 2, "a good version ends the refusal");
    }

    #[test]
    fn the_old_version_of_what_makes_no_sense_outlives_a_reset() {
        let mut wanted = Wanted::default();
        let upserts =
            vec![upsert(&gateway("edge")), upsert(&gateway("gone")), upsert(&service("cart", &[1]))];
        wanted.apply(mesh::Update { upserts, ..update(1, 1) }).unwrap();
        let mut broken = upsert(&gateway("edge"));
        broken.json = b"{".to_vec();
        let upserts = vec![broken, upsert(&service("cart", &[0]))];
        wanted.apply(mesh::Update { reset: true, upserts, ..update(2, 1) }).unwrap();
        assert_eq!(ids(&wanted), ["Gateway/edge", "Service/cart"]);
        assert_eq!(wanted.rejections().count(), 2);
    }

    #[test]
    fn a_policy_that_was_never_in_force_here_loses_only_what_breaks_a_rule() {
        let spec = json!({"targetRefs": [{"name": "cart"}], "retry": {"attempts": 3}, "breakers": [{"failureRatio": 1.5}]});
        let policy = |spec| upsert(&resource("TrafficPolicy", "cart", spec));
        let mut wanted = Wanted::default();
        wanted
            .apply(mesh::Update { reset: true, upserts: vec![policy(spec.clone())], ..update(1, 1) })
            .unwrap();
        let in_force = |wanted: &Wanted| {
            let id = ResourceId::new(Kind::TrafficPolicy, "default", "cart");
            let Spec::TrafficPolicy(spec) = &wanted.inputs.resources[&id].spec else { panic!("no policy") };
            (spec.retry.as_ref().unwrap().attempts, spec.breakers.len())
        };
        assert_eq!(in_force(&wanted), (3, 0));
        let said: Vec<_> = wanted.rejections().map(ToString::to_string).collect();
        let [said] = &said[..] else { panic!("not one: {said:?}") };
        assert!(
            said.starts_with(
                "TrafficPolicy/cart: spec.breakers[0].failureRatio: left out, the rest is in force: 1.5 "
            ),
            "{said}"
        );

        // A version that was in force whole is worth more than a part of another.
        let good = json!({"targetRefs": [{"name": "cart"}], "retry": {"attempts": 2}, "breakers": [{}]});
        wanted.apply(mesh::Update { upserts: vec![policy(good)], ..update(1, 2) }).unwrap();
        assert_eq!((in_force(&wanted), wanted.rejections().count()), ((2, 1), 0));
        wanted.apply(mesh::Update { upserts: vec![policy(spec)], ..update(1, 3) }).unwrap();
        assert_eq!(in_force(&wanted), (2, 1));
        let said: Vec<_> = wanted.rejections().map(ToString::to_string).collect();
        assert!(said[0].contains(": the document from before stays in force: 1.5 "), "{said:?}");
    }

    #[test]
    fn a_part_gives_way_to_a_part_of_the_next_version() {
        let policy = |attempts: u32, ratio: f64| {
            let spec = json!({"targetRefs": [{"name": "cart"}], "retry": {"attempts": attempts},
                              "breakers": [{"failureRatio": ratio}]});
            vec![upsert(&resource("TrafficPolicy", "cart", spec))]
        };
        let mut wanted = Wanted::default();
        let in_force = |wanted: &Wanted| {
            let id = ResourceId::new(Kind::TrafficPolicy, "default", "cart");
            let Spec::TrafficPolicy(spec) = &wanted.inputs.resources[&id].spec else { panic!("no policy") };
            (spec.retry.as_ref().unwrap().attempts, spec.breakers.len())
        };
        wanted.apply(mesh::Update { reset: true, upserts: policy(1, 1.5), ..update(1, 1) }).unwrap();
        assert_eq!(in_force(&wanted), (1, 0));
        wanted.apply(mesh::Update { upserts: policy(2, 1.5), ..update(1, 2) }).unwrap();
        assert_eq!(in_force(&wanted), (2, 0));
        // Also beyond a new beginning.
        wanted.apply(mesh::Update { reset: true, upserts: policy(3, 1.5), ..update(2, 1) }).unwrap();
        assert_eq!(in_force(&wanted), (3, 0));
        // And beyond a new process.
        let in_part = wanted.in_part(&wanted.inputs);
        let mut wanted = Wanted::starting_from(wanted.inputs.clone(), in_part);
        wanted.apply(mesh::Update { reset: true, upserts: policy(3, 1.5), ..update(2, 1) }).unwrap();
        let said: Vec<_> = wanted.rejections().map(ToString::to_string).collect();
        assert!(said[0].contains(": left out, the rest is in force: "), "{said:?}");
        // What cannot be read is worth less than a part.
        let mut broken = policy(4, 1.5);
        broken[0].json = b"{".to_vec();
        wanted.apply(mesh::Update { upserts: broken, ..update(2, 2) }).unwrap();
        assert_eq!(in_force(&wanted), (3, 0));
        wanted.apply(mesh::Update { upserts: policy(5, 1.5), ..update(2, 3) }).unwrap();
        assert_eq!(in_force(&wanted), (5, 0));
        // A whole one stays.
        wanted.apply(mesh::Update { upserts: policy(6, 0.5), ..update(2, 4) }).unwrap();
        wanted.apply(mesh::Update { upserts: policy(7, 1.5), ..update(2, 5) }).unwrap();
        assert_eq!(in_force(&wanted), (6, 1));
    }

    #[test]
    fn kinds_from_the_future_are_ignored() {
        let mut wanted = Wanted::default();
        let mut future = upsert(&gateway("edge"));
        future.r#ref.as_mut().unwrap().kind = "Teleporter".into();
        wanted.apply(mesh::Update { upserts: vec![future], ..update(1, 1) }).unwrap();
        assert!(ids(&wanted).is_empty());
        assert_eq!(wanted.rejections().count(), 0);
    }

    #[test]
    fn a_change_to_a_service_that_was_dropped_does_not_pass_for_all_of_it() {
        let mut wanted = Wanted::default();
        let cart = ServiceRef::new("default", "cart");
        let whole = || endpoints("cart", true, &[endpoint("a/1", 9001), endpoint("a/2", 9002)], &[]);
        wanted.apply(mesh::Update { endpoints: vec![whole()], ..update(1, 1) }).unwrap();
        wanted.forget(std::slice::from_ref(&cart));
        let change = endpoints("cart", false, &[endpoint("a/2", 9003)], &[]);
        assert_eq!(wanted.apply(mesh::Update { endpoints: vec![change], ..update(1, 2) }).unwrap(), []);
        assert!(!wanted.inputs.services.contains_key(&cart));
        assert_eq!(wanted.apply(mesh::Update { endpoints: vec![whole()], ..update(1, 2) }).unwrap(), [cart]);
        assert_eq!(endpoint_ids(&wanted, "cart"), ["a/1", "a/2"]);
    }

    #[test]
    fn an_impossible_endpoint_is_left_out() {
        let mut wanted = Wanted::default();
        let mut sent = endpoints("cart", true, &[endpoint("a/1", 9001), endpoint("a/2", 9002)], &[]);
        sent.upserts[0].port = 70_000;
        wanted.apply(mesh::Update { endpoints: vec![sent], ..update(1, 1) }).unwrap();
        assert_eq!(endpoint_ids(&wanted, "cart"), ["a/2"]);
    }
}
