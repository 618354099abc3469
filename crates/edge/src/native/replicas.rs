//! What the replicas of a control plane know of each other and tell each other.

use std::sync::Arc;

use weir_api::native::{HeardAnswer, HeartbeatInput, LeaseInput, LeasesAnswer, List, ReplicaView};
use weir_control::catalog::CheckRef;
use weir_control::{Error, Heartbeat};
use weir_model::document::decode_as;

use super::refusal::{Refusal, problem};
use super::{NativeApi, known_parameters, ok, text};
use crate::http::{Request, Response};
use crate::replicas::{ask_from, lease_answer};

impl NativeApi {
    /// `GET /replicas`: those that share this server's store; none where it is shared with nobody.
    pub(super) async fn replicas(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["id"])?;
        let id = request.query.get_filled("id");
        let own = self.control.settings().replica.as_ref().map(|own| &own.id);
        let items =
            self.control.replicas().into_iter().filter(|replica| id.is_none_or(|id| id == replica.id));
        let items = items.map(|replica| ReplicaView {
            answers: own == Some(&replica.id),
            id: replica.id,
            http: replica.http,
            grpc: replica.grpc,
            version: replica.version,
        });
        Ok(ok(&List { position: self.control.position(), items: items.collect() }))
    }

    /// `POST /heartbeats`: signs of life that came to another replica. Of checks that are unknown here they mean nothing.
    pub(super) async fn heartbeats(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &[])?;
        let inputs: Vec<HeartbeatInput> = decode_as("body", text(&request)?)
            .map_err(|errors| Refusal::documents(errors.into_iter().map(problem).collect()))?;
        let mut heard = 0;
        for HeartbeatInput { namespace, node, check, output } in inputs {
            let check = CheckRef { namespace, node, id: check };
            match self.control.hear(&Heartbeat { check, output }).await {
                Ok(()) => heard += 1,
                Err(Error::NotFound { .. }) => {}
                // It was heard; only what it says could not be written.
                Err(error) => tracing::debug!(%error, "what a heartbeat says was not written"),
            }
        }
        Ok(ok(&HeardAnswer { heard }))
    }

    /// `POST /leases`: what proxies of another replica could use of limits that this one keeps the books of.
    pub(super) async fn leases(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &[])?;
        let inputs: Vec<LeaseInput> = decode_as("body", text(&request)?)
            .map_err(|errors| Refusal::documents(errors.into_iter().map(problem).collect()))?;
        let leases = inputs.into_iter().map(|input| lease_answer(self.control.lease(&ask_from(input))));
        Ok(ok(&LeasesAnswer { leases: leases.collect() }))
    }
}
