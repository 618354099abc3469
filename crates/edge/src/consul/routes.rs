//! The routes of what is kept as records (prepared queries, events, config entries, coordinates), and of operators'
//! questions.

use std::sync::Arc;

use http::Method;

use super::{ConsulApi, agent, chain, config, coordinate, event, force_leave, metrics, operator, query};
use crate::http::{Route, Router};

impl ConsulApi {
    pub(super) fn mount_records(self: &Arc<Self>, router: &mut Router) {
        self.mount_queries(router);
        self.mount_events(router);
        self.mount_configs(router);
        self.mount_coordinates(router);
    }

    fn mount_queries(self: &Arc<Self>, router: &mut Router) {
        let all = Route::new()
            .on(Method::GET, self.handler(query::list))
            .on(Method::POST, self.handler(query::create));
        router.add("/v1/query", all);
        let one = Route::new()
            .on(Method::GET, self.handler(query::get))
            .on(Method::PUT, self.handler(query::update))
            .on(Method::DELETE, self.handler(query::delete));
        router.add("/v1/query/", one);
    }

    fn mount_events(self: &Arc<Self>, router: &mut Router) {
        let fire = Route::new()
            .on(Method::PUT, self.handler(event::fire))
            .body_bytes_max(event::EVENT_BYTES_MAX)
            .too_large(event::too_large);
        router.add("/v1/event/fire/", fire);
        router.get("/v1/event/list", self.handler(event::list));
    }

    fn mount_configs(self: &Arc<Self>, router: &mut Router) {
        router.put("/v1/config", self.handler(config::put));
        let entries = Route::new()
            .on(Method::GET, self.handler(config::get))
            .on(Method::DELETE, self.handler(config::delete));
        router.add("/v1/config/", entries);
        let chains = Route::new()
            .on(Method::GET, self.handler(chain::shown::get))
            .on(Method::POST, self.handler(chain::shown::get));
        router.add("/v1/discovery-chain/", chains);
    }

    fn mount_coordinates(self: &Arc<Self>, router: &mut Router) {
        router.get("/v1/coordinate/datacenters", self.handler(coordinate::datacenters));
        router.get("/v1/coordinate/nodes", self.handler(coordinate::nodes));
        router.get("/v1/coordinate/node/", self.handler(coordinate::node));
        router.put("/v1/coordinate/update", self.handler(coordinate::update));
    }

    pub(super) fn mount_operator(self: &Arc<Self>, router: &mut Router) {
        router.get("/v1/operator/raft/configuration", self.handler(operator::raft));
        for path in ["/v1/operator/raft/peer", "/v1/operator/raft/transfer-leader"] {
            let route = [Method::DELETE, Method::POST, Method::PUT]
                .into_iter()
                .fold(Route::new(), |route, method| route.on(method, self.handler(operator::no_votes)));
            router.add(path, route);
        }
        let autopilot = Route::new()
            .on(Method::GET, self.handler(operator::autopilot))
            .on(Method::PUT, self.handler(operator::no_autopilot));
        router.add("/v1/operator/autopilot/configuration", autopilot);
        router.get("/v1/operator/autopilot/health", self.handler(operator::health));
        router.get("/v1/operator/autopilot/state", self.handler(operator::state));
        router.get("/v1/operator/usage", self.handler(operator::usage));
        router.get("/v1/agent/metrics", self.handler(metrics::metrics));
        router.get("/v1/agent/version", self.handler(agent::version));
        router.put("/v1/agent/force-leave/", self.handler(force_leave::force_leave));
    }
}
