//! Whether entries fit each other: a subset that is named is there, redirects and splitters lead to an end, and services that
//! lead to each other speak the same. Judged link by link, so that it costs no more than there are links.
//!
//! An entry that would not fit, or without which another would not, is not written ([`judge`]). What was kept before that,
//! or came with a restore, stays, and is said ([`faults`]).

use std::collections::{BTreeMap, BTreeSet};

use weir_control::resources::ResourceSet;
use weir_model::ServiceRef;
use weir_model::resource::Protocol;

use super::entries::{Entries, Failover, Resolver, Splitter};
use super::resolve::{Target, named};
use super::{entry_name, protocols};

/// Redirects that are followed, one after the other.
const REDIRECTS_MAX: usize = 8;

/// What is wrong between entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    /// The entry that leads where it should not.
    pub(super) entry: String,
    what: What,
    /// In the words of Consul.
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Subset,
    Redirects,
    Splitters,
    Protocols,
}

impl Fault {
    /// What comes of it where the entry is kept all the same.
    pub(super) fn comes_to(&self) -> &'static str {
        match self.what {
            What::Subset => "what it sends there finds no instance",
            What::Redirects => "redirects that do not end do not count",
            What::Splitters => "it divides a few times, and then no further",
            What::Protocols => "it counts as far as it can be carried out",
        }
    }
}

/// Redirects that lead to no end: the message.
pub(super) struct Endless(String);

/// All that does not fit.
pub(super) fn faults(entries: &Entries, documents: &ResourceSet, datacenter: &str) -> BTreeSet<Fault> {
    let mut graph = Graph { entries, documents, datacenter, told: &|_| None, faults: BTreeSet::new() };
    for service in entries.services() {
        graph.service(service);
    }
    graph.circles();
    graph.faults
}

/// What of the entries of one service does not fit, but for circles. `told` gives what the instances of a service say that
/// they speak.
pub(super) fn faults_of(
    service: &ServiceRef,
    entries: &Entries,
    documents: &ResourceSet,
    datacenter: &str,
    told: &dyn Fn(&ServiceRef) -> Option<Protocol>,
) -> BTreeSet<Fault> {
    let mut graph = Graph { entries, documents, datacenter, told, faults: BTreeSet::new() };
    graph.service(service);
    graph.faults
}

/// Says why entries must not become these: what does not fit that did before. `changed` names the entry that is written.
pub(super) fn judge(before: &BTreeSet<Fault>, after: &BTreeSet<Fault>, changed: &str) -> Result<(), String> {
    // Which way round a circle is told may change when it becomes smaller.
    let circles: BTreeSet<(&str, What)> = before.iter().map(|fault| (&*fault.entry, fault.what)).collect();
    let is_new = |fault: &&Fault| match fault.what {
        What::Redirects | What::Splitters => !circles.contains(&(&*fault.entry, fault.what)),
        What::Subset | What::Protocols => !before.contains(*fault),
    };
    let own = after.iter().filter(is_new).find(|fault| fault.entry == changed);
    match own.or_else(|| after.iter().find(is_new)) {
        None => Ok(()),
        Some(Fault { entry, message, .. }) if entry == changed => Err(message.clone()),
        Some(Fault { entry, message, .. }) => Err(format!("{message} (needed by {entry})")),
    }
}

fn target(namespace: &str, service: &str, subset: &str, of: &ServiceRef) -> Target {
    Target { service: named(namespace, service, of), subset: subset.to_owned() }
}

struct Graph<'a> {
    entries: &'a Entries,
    documents: &'a ResourceSet,
    datacenter: &'a str,
    /// What the instances of a service say that they speak.
    told: &'a dyn Fn(&ServiceRef) -> Option<Protocol>,
    faults: BTreeSet<Fault>,
}

impl Graph<'_> {
    /// Judges the entries of a service.
    fn service(&mut self, service: &ServiceRef) {
        let entries = self.entries;
        if let Some(router) = entries.routers.get(service) {
            let entry = entry_name("service-router", service);
            self.divides(&entry, service);
            for to in router.routes.iter().filter_map(|route| route.destination.as_ref()) {
                self.link(&entry, service, &target(&to.namespace, &to.service, &to.service_subset, service));
            }
        }
        if let Some(splitter) = entries.splitters.get(service) {
            let entry = entry_name("service-splitter", service);
            self.divides(&entry, service);
            for to in &splitter.splits {
                self.link(&entry, service, &target(&to.namespace, &to.service, &to.service_subset, service));
            }
        }
        if let Some(resolver) = entries.resolvers.get(service) {
            self.resolver(&entry_name("service-resolver", service), service, resolver);
        }
    }

    fn resolver(&mut self, entry: &str, service: &ServiceRef, resolver: &Resolver) {
        if resolver.redirect.is_some() {
            self.link(entry, service, &Target::all(service));
        }
        for (subset, failover) in &resolver.failover {
            let subset = if subset == "*" { "" } else { subset };
            let from = Target { service: service.clone(), subset: subset.to_owned() };
            for to in self.entries.spare(&from, failover, self.datacenter) {
                self.link(entry, service, &to);
            }
        }
    }

    fn fault(&mut self, entry: &str, what: What, message: String) {
        self.faults.insert(Fault { entry: entry.to_owned(), what, message });
    }

    /// What a service speaks: its document goes before its entry, and that before its instances and what is said of all services.
    fn stated(&self, service: &ServiceRef) -> Option<Protocol> {
        let said = protocols::stated(self.entries, self.documents, service);
        said.or_else(|| (self.told)(service)).or_else(|| self.entries.default_protocol(service))
    }

    /// Judges an entry that tells requests apart, which connections have not.
    fn divides(&mut self, entry: &str, service: &ServiceRef) {
        if self.stated(service) == Some(Protocol::Tcp) {
            let message = format!(
                "discovery chain {:?} uses a protocol \"tcp\" that does not permit advanced routing or splitting behavior",
                service.name
            );
            self.fault(entry, What::Protocols, message);
        }
    }

    /// Judges that an entry of a service leads to a target.
    fn link(&mut self, entry: &str, of: &ServiceRef, to: &Target) {
        let end = match self.entries.follow(to, self.datacenter) {
            Ok(end) => end,
            Err(Endless(message)) => return self.fault(entry, What::Redirects, message),
        };
        let Target { service, subset } = &end;
        let has = self.entries.resolvers.get(service).is_some_and(|to| to.subsets.contains_key(subset));
        if !subset.is_empty() && !has {
            let message = format!("service {:?} does not have a subset named {subset:?}", service.name);
            self.fault(entry, What::Subset, message);
        }
        if let (Some(own), Some(other)) = (self.stated(of), self.stated(service))
            && own != other
        {
            let message = format!(
                "discovery chain {:?} uses inconsistent protocols; service {:?} has {:?} which is not {:?}",
                of.name,
                service.name,
                other.as_str(),
                own.as_str()
            );
            self.fault(entry, What::Protocols, message);
        }
    }

    /// Finds the splitters that lead in a circle, or to one: those that are left when again and again those are taken out
    /// that lead to none of the others.
    fn circles(&mut self) {
        let entries = self.entries;
        let leads = |service: &ServiceRef, splitter: &Splitter| -> BTreeSet<ServiceRef> {
            let plain = splitter.splits.iter().filter(|split| split.service_subset.is_empty());
            let to = plain.map(|split| named(&split.namespace, &split.service, service));
            to.filter(|to| to != service && entries.splitters.contains_key(to)).collect()
        };
        let mut left: BTreeMap<&ServiceRef, BTreeSet<ServiceRef>> =
            entries.splitters.iter().map(|(service, of)| (service, leads(service, of))).collect();
        let mut from: BTreeMap<ServiceRef, Vec<&ServiceRef>> = BTreeMap::new();
        for (service, to) in &left {
            to.iter().for_each(|to| from.entry(to.clone()).or_default().push(service));
        }
        let mut ends: Vec<&ServiceRef> =
            left.iter().filter(|(_, to)| to.is_empty()).map(|(service, _)| *service).collect();
        while let Some(end) = ends.pop() {
            left.remove(end);
            for service in from.get(end).into_iter().flatten() {
                let Some(to) = left.get_mut(*service) else { continue };
                if to.remove(end) && to.is_empty() {
                    ends.push(*service);
                }
            }
        }
        for service in left.keys() {
            let way = way_round(service, &left);
            let message = format!("detected circular reference: [{}]", way.join(" -> "));
            self.fault(&entry_name("service-splitter", service), What::Splitters, message);
        }
    }
}

/// How many splitters of a circle are named.
const WAY_MAX: usize = 16;

/// A way from a splitter into a circle and round it, by the first that each leads to; `left` has one of each.
fn way_round(from: &ServiceRef, left: &BTreeMap<&ServiceRef, BTreeSet<ServiceRef>>) -> Vec<String> {
    let id = |service: &ServiceRef| format!("splitter:{}.{}.default", service.name, service.namespace);
    let mut way = Vec::new();
    let mut at = from;
    while !way.contains(&id(at)) && way.len() < WAY_MAX {
        way.push(id(at));
        let Some(next) = left.get(at).and_then(BTreeSet::first) else { break };
        at = next;
    }
    way.push(id(at));
    way
}

impl Entries {
    /// Where calls of a target go in the end.
    pub(super) fn follow(&self, from: &Target, datacenter: &str) -> Result<Target, Endless> {
        let mut at = from.clone();
        let mut way = vec![at.id(datacenter)];
        loop {
            let Some(next) = self.redirected(&at) else {
                if at.subset.is_empty()
                    && let Some(resolver) = self.resolvers.get(&at.service)
                {
                    at.subset.clone_from(&resolver.default_subset);
                }
                return Ok(at);
            };
            let id = next.id(datacenter);
            let (is_circle, is_long) = (way.contains(&id), way.len() > REDIRECTS_MAX);
            way.push(id);
            let way = || way.join(" -> ");
            if is_circle {
                return Err(Endless(format!("detected circular resolver redirect: [{}]", way())));
            }
            if is_long {
                let message = format!("more than {REDIRECTS_MAX} resolver redirects in a row: [{}]", way());
                return Err(Endless(message));
            }
            at = next;
        }
    }

    /// Where a resolver sends the calls of a target instead.
    fn redirected(&self, at: &Target) -> Option<Target> {
        let to = self.resolvers.get(&at.service)?.redirect.as_ref()?;
        Some(at.rewritten(&to.namespace, &to.service, &to.service_subset)).filter(|next| next != at)
    }

    /// The resolvers that have a say in where calls of a target go in the end, in the order in which they are asked.
    pub(super) fn resolvers_of(&self, from: &Target) -> Vec<String> {
        let mut names = Vec::new();
        let mut at = Some(from.clone());
        // Redirects without an end do not count, so there are no more.
        while let Some(target) = at.take().filter(|_| names.len() <= REDIRECTS_MAX) {
            let Some(resolver) = self.resolvers.get(&target.service) else { break };
            at = self.redirected(&target);
            let picks = !target.subset.is_empty() || !resolver.default_subset.is_empty();
            if at.is_some() || picks || resolver.failover_of(&target.subset).is_some() {
                names.push(entry_name("service-resolver", &target.service));
            }
        }
        names
    }

    /// What is called when a target has no instance that may be, in order, before redirects are followed.
    pub(super) fn spare(&self, of: &Target, failover: &Failover, datacenter: &str) -> Vec<Target> {
        let Failover { service, service_subset: subset, namespace, targets, .. } = failover;
        let to: Vec<Target> = if targets.is_empty() {
            let here = failover.is_here(datacenter).then(|| of.rewritten(namespace, service, subset));
            here.into_iter().collect()
        } else {
            let here = targets.iter().filter(|to| to.is_here(datacenter));
            here.map(|to| of.rewritten(&to.namespace, &to.service, &to.service_subset)).collect()
        };
        to.into_iter().filter(|to| to != of).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::document;
    use super::*;

    fn entries(of: &[(&str, &str, Value)]) -> Entries {
        let mut entries = Entries::default();
        for (kind, name, content) in of {
            entries.add(kind, ServiceRef::new("default", *name), content).unwrap();
        }
        entries
    }

    /// What a change is answered with, of entries that are kept: put, or deleted where there is no content.
    fn change(
        kept: &[(&str, &str, Value)],
        kind: &str,
        name: &str,
        content: Option<Value>,
    ) -> Result<(), String> {
        change_beside(&ResourceSet::default(), kept, kind, name, content)
    }

    /// The same, where there are documents.
    fn change_beside(
        documents: &ResourceSet,
        kept: &[(&str, &str, Value)],
        kind: &str,
        name: &str,
        content: Option<Value>,
    ) -> Result<(), String> {
        let before = entries(kept);
        let mut after = before.clone();
        let service = ServiceRef::new("default", name);
        after.remove(kind, &service);
        if let Some(content) = content {
            after.add(kind, service.clone(), &content).unwrap();
        }
        let faults = |of| super::faults(of, documents, "dc1");
        judge(&faults(&before), &faults(&after), &entry_name(kind, &service))
    }

    fn redirect(to: &str) -> Value {
        json!({"Redirect": {"Service": to}})
    }

    fn splits(to: &[(&str, &str)]) -> Value {
        let split = |(service, subset): &(&str, &str)| json!({"Weight": 100.0 / to.len() as f64, "Service": service, "ServiceSubset": subset});
        json!({"Splits": to.iter().map(split).collect::<Vec<_>>()})
    }

    fn subsets(names: &[&str]) -> Value {
        let named = names.iter().map(|name| ((*name).to_owned(), json!({"OnlyPassing": true})));
        json!({"Subsets": named.collect::<serde_json::Map<_, _>>()})
    }

    fn refused(answer: Result<(), String>, part: &str) {
        let message = answer.expect_err(part);
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn a_subset_that_is_named_must_be_there() {
        let missing = |service: &str, subset: &str| {
            format!("service {service:?} does not have a subset named {subset:?}")
        };
        let route = |service: &str, subset: &str| json!({"Routes": [{"Destination": {"Service": service, "ServiceSubset": subset}}]});
        let failover = |to: Value| json!({"Failover": {"*": to}});
        for (kind, content) in [
            ("service-splitter", splits(&[("", "v1"), ("web", "v9")])),
            ("service-router", route("web", "v9")),
            ("service-router", route("", "v9")),
        ] {
            let kept = [("service-resolver", "web", subsets(&["v1"]))];
            refused(change(&kept, kind, "web", Some(content)), &missing("web", "v9"));
        }
        let kept =
            [("service-resolver", "web", subsets(&["v1"])), ("service-resolver", "alias", redirect("web"))];
        let to = json!({"Redirect": {"Service": "web", "ServiceSubset": "v9"}});
        refused(change(&kept, "service-resolver", "api", Some(to)), &missing("web", "v9"));
        let spare = failover(json!({"Targets": [{"Service": "web", "ServiceSubset": "v9"}]}));
        refused(change(&kept, "service-resolver", "api", Some(spare)), &missing("web", "v9"));
        let spare = failover(json!({"Service": "web", "ServiceSubset": "v1"}));
        assert_eq!(change(&kept, "service-resolver", "api", Some(spare)), Ok(()));
        // A redirect to another service leaves the subset behind, as in Consul.
        assert_eq!(change(&kept, "service-splitter", "api", Some(splits(&[("alias", "v9")]))), Ok(()));
        assert_eq!(change(&[], "service-splitter", "api", Some(splits(&[("web", "")]))), Ok(()));
    }

    #[test]
    fn what_others_need_stays() {
        let kept = [
            ("service-resolver", "web", subsets(&["v1", "v2"])),
            ("service-splitter", "web", splits(&[("", "v1"), ("", "v2")])),
        ];
        let needed = "does not have a subset named \"v2\" (needed by service-splitter/web)";
        refused(change(&kept, "service-resolver", "web", Some(subsets(&["v1"]))), needed);
        refused(change(&kept, "service-resolver", "web", None), "(needed by service-splitter/web)");
        assert_eq!(change(&kept, "service-splitter", "web", None), Ok(()));
        assert_eq!(change(&kept, "service-resolver", "web", Some(subsets(&["v1", "v2", "v3"]))), Ok(()));
    }

    #[test]
    fn redirects_end() {
        let kept = [
            ("service-resolver", "a", redirect("b")),
            ("service-resolver", "b", redirect("c")),
            ("service-resolver", "d", redirect("d")),
        ];
        let round = "detected circular resolver redirect: [c.default.default.dc1 -> a.default.default.dc1 -> \
                     b.default.default.dc1 -> c.default.default.dc1]";
        refused(change(&kept, "service-resolver", "c", Some(redirect("a"))), round);
        assert_eq!(change(&kept, "service-resolver", "c", Some(redirect("d"))), Ok(()), "d leads to itself");
        let chain: Vec<(String, Value)> =
            (0..9).map(|at| (format!("s{at}"), redirect(&format!("s{}", at + 1)))).collect();
        let kept: Vec<(&str, &str, Value)> =
            chain.iter().map(|(name, to)| ("service-resolver", &**name, to.clone())).collect();
        assert_eq!(change(&kept[1..], "service-resolver", "other", Some(redirect("s2"))), Ok(()));
        refused(
            change(&kept[1..], "service-resolver", "s0", Some(redirect("s1"))),
            "more than 8 resolver redirects in a row",
        );
    }

    #[test]
    fn splitters_do_not_lead_in_a_circle() {
        let kept = [
            ("service-splitter", "a", splits(&[("b", ""), ("", "")])),
            ("service-splitter", "b", splits(&[("c", ""), ("d", "")])),
        ];
        let round = "detected circular reference: [splitter:c.default.default -> splitter:a.default.default -> \
                     splitter:b.default.default -> splitter:c.default.default]";
        refused(change(&kept, "service-splitter", "c", Some(splits(&[("a", ""), ("x", "")]))), round);
        assert_eq!(change(&kept, "service-splitter", "c", Some(splits(&[("d", ""), ("x", "")]))), Ok(()));
        // Kept from before: whatever makes the circle smaller may be done.
        let kept = [
            kept[0].clone(),
            ("service-splitter", "b", splits(&[("a", ""), ("c", "")])),
            ("service-splitter", "c", splits(&[("b", "")])),
        ];
        assert_eq!(faults(&entries(&kept), &ResourceSet::default(), "dc1").len(), 3);
        assert_eq!(change(&kept, "service-splitter", "a", None), Ok(()));
        assert_eq!(change(&kept, "service-splitter", "a", Some(splits(&[("x", "")]))), Ok(()));
    }

    #[test]
    fn what_leads_to_each_other_speaks_the_same() {
        let speaks = |service: &'static str, protocol: &str| {
            ("service-defaults", service, json!({"Protocol": protocol}))
        };
        let permitted =
            "discovery chain \"web\" uses a protocol \"tcp\" that does not permit advanced routing";
        let routes = || json!({"Routes": [{"Destination": {"Service": "api"}}]});
        refused(change(&[speaks("web", "tcp")], "service-router", "web", Some(routes())), permitted);
        refused(
            change(&[speaks("web", "tcp")], "service-splitter", "web", Some(splits(&[("", "")]))),
            permitted,
        );
        let mixed = "discovery chain \"web\" uses inconsistent protocols; service \"api\" has \"grpc\" which is not \"http\"";
        let kept = [speaks("web", "http"), speaks("api", "grpc")];
        refused(change(&kept, "service-router", "web", Some(routes())), mixed);
        refused(change(&kept, "service-resolver", "web", Some(redirect("api"))), mixed);
        let kept = [speaks("web", "http"), ("service-router", "web", routes())];
        assert_eq!(change(&kept, "service-defaults", "api", Some(json!({"Protocol": "http"}))), Ok(()));
        let answer = change(&kept, "service-defaults", "api", Some(json!({"Protocol": "grpc"})));
        refused(answer, &format!("{mixed} (needed by service-router/web)"));
        let all = json!({"Config": {"protocol": "tcp"}});
        refused(change(&kept[1..], "proxy-defaults", "global", Some(all.clone())), permitted);
        refused(change(&kept, "proxy-defaults", "global", Some(all)), "service \"api\" has \"tcp\"");
        // Of whom nothing is said may speak anything.
        assert_eq!(change(&kept, "service-defaults", "web", None), Ok(()));
        assert_eq!(change(&[], "service-router", "web", Some(routes())), Ok(()));
    }

    #[test]
    fn what_documents_say_of_a_service_goes_before() {
        let documents = |protocol: &str| {
            let spec = json!({"protocol": protocol});
            ResourceSet::new([document("Service", "web", &spec)])
        };
        let all = ("proxy-defaults", "global", json!({"Config": {"protocol": "tcp"}}));
        let own = ("service-defaults", "web", json!({"Protocol": "tcp"}));
        let routes = || Some(json!({"Routes": []}));
        let permit = "does not permit advanced routing";
        for kept in [all.clone(), own] {
            let kept = [kept];
            refused(change(&kept, "service-router", "web", routes()), permit);
            let answer = change_beside(&documents("http"), &kept, "service-router", "web", routes());
            assert_eq!(answer, Ok(()), "{kept:?}");
        }
        let http = [("service-defaults", "web", json!({"Protocol": "http"}))];
        refused(change_beside(&documents("tcp"), &http, "service-router", "web", routes()), permit);
        let lead =
            change_beside(&documents("http"), &[all], "service-resolver", "other", Some(redirect("web")));
        refused(lead, "service \"web\" has \"http\" which is not \"tcp\"");
    }

    #[test]
    fn what_did_not_fit_before_stands_in_nobodys_way() {
        let kept = [("service-splitter", "web", splits(&[("", "v8"), ("", "v9")]))];
        assert_eq!(change(&kept, "service-router", "api", Some(json!({"Routes": []}))), Ok(()));
        assert_eq!(
            change(&kept, "service-splitter", "web", Some(splits(&[("", "v9")]))),
            Ok(()),
            "it is better"
        );
        refused(
            change(&kept, "service-splitter", "web", Some(splits(&[("", "v7")]))),
            "does not have a subset named \"v7\"",
        );
    }
}
