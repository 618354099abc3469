//! Which limits hold for a request: from documents to chains.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use weir_model::validate::SHARED_BY_PROXY_MAX;
use weir_model::{Kind, ResourceId, ServiceRef, Spec};
use weir_policy::Nanos;
use weir_policy::limit::LimitConfig;

use super::pass::LIMITS_PER_REQUEST_MAX;
use super::reach::Reach;
use super::rule::Limit;
use crate::route::Rule;
use crate::snapshot::{Inputs, Role, label};

/// The limits that a request has to pass, in the order in which they are asked: rates first, and places last, so that nobody
/// holds one while he waits for his turn.
pub type Chain = Rc<[Arc<Limit>]>;

/// The limits of a snapshot, by what they limit.
#[derive(Debug, Default)]
pub struct LimitTable {
    by_target: HashMap<ResourceId, Vec<Part>>,
    all: Vec<Arc<Limit>>,
}

/// A limit of a target, or of a part of it.
#[derive(Debug)]
struct Part {
    section: Option<Box<str>>,
    limit: Arc<Limit>,
}

impl LimitTable {
    /// The limits of some documents, for a proxy that plays a role. None of them is in force yet.
    pub(crate) fn compile(inputs: &Inputs, role: &Role) -> Self {
        let mut table = Self::default();
        let limits = inputs.resources.iter().filter_map(|(id, resource)| match &resource.spec {
            Spec::RateLimit(spec) => Some((id, resource, spec)),
            _ => None,
        });
        let reach = LazyCell::new(|| Reach::of(inputs, role));
        for (id, resource, spec) in limits {
            for target in resource.spec.targets() {
                let Some(target_id) = target.id(&id.namespace) else { continue };
                let label = label(&target_id, target.section);
                let mut config = LimitConfig::from_spec(spec);
                if config.global.is_some() && !reach.asks(&target_id) {
                    // What it never asks it needs no share of; who limits there shares it without this proxy.
                    config.global = None;
                }
                let limit = Arc::new(Limit::new(id, label, config, (spec, resource)));
                table.all.push(limit.clone());
                let section = target.section.map(Into::into);
                table.by_target.entry(target_id).or_default().push(Part { section, limit });
            }
        }
        table
    }

    /// Puts them in force, going on from what they were before.
    pub(crate) fn take_effect(&self, before: &Self, now: Nanos) {
        let before: HashMap<(&ResourceId, &str), &Arc<Limit>> =
            before.all.iter().map(|limit| ((&limit.id, &*limit.target), limit)).collect();
        for limit in &self.all {
            let old = before.get(&(&limit.id, &*limit.target));
            limit.take_effect(old.map(|old| &***old), now);
        }
    }

    /// Whether nothing is limited.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Every limit.
    pub fn all(&self) -> &[Arc<Limit>] {
        &self.all
    }

    /// The limits that are shared with other proxies. What is beyond the bound the proxy keeps alone, as each limit says.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &Arc<Limit>> {
        self.all.iter().filter(|limit| limit.is_shared()).take(SHARED_BY_PROXY_MAX)
    }

    /// How many are to be shared and are not, being too many.
    pub(crate) fn not_shared(&self) -> usize {
        self.all.iter().filter(|limit| limit.is_shared()).skip(SHARED_BY_PROXY_MAX).count()
    }

    /// The limits of a request that came to a listener of a gateway (none inside the mesh), goes by a rule, and to a service.
    pub(crate) fn chain(
        &self,
        listener: Option<(&ResourceId, Option<&str>)>,
        rule: Option<&Rule>,
        service: &ServiceRef,
    ) -> Chain {
        let mut chain: Vec<Arc<Limit>> = Vec::new();
        if let Some((gateway, section)) = listener {
            self.add(gateway, section, &mut chain);
        }
        if let Some(rule) = rule {
            self.add(&rule.route, rule.name.as_deref(), &mut chain);
        }
        let service = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
        if rule.is_none_or(|rule| rule.route != service) {
            self.add(&service, None, &mut chain);
        }
        chain.sort_by_key(|limit| limit.is_of_places());
        // Documents are held to fewer for each target; what is beyond would not be asked.
        chain.truncate(LIMITS_PER_REQUEST_MAX);
        chain.into()
    }

    fn add(&self, target: &ResourceId, section: Option<&str>, chain: &mut Vec<Arc<Limit>>) {
        let parts = self.by_target.get(target).into_iter().flatten();
        let is_meant = |part: &&Part| part.section.is_none() || part.section.as_deref() == section;
        chain.extend(parts.filter(is_meant).map(|part| part.limit.clone()));
    }
}
