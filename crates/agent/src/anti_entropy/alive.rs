//! That the agent is there: said to the servers all the time, who answer whether their registry of its node has changed.

use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use tokio::time::Instant;
use weir_api::native::{AGENT_DATACENTER, AgentAlive, AgentHeard, Problem};

use super::AntiEntropy;
use super::complaint::Complaint;
use super::failed::Failed;
use crate::bounds::{ALIVE_ANSWER_MAX, ALIVE_EVERY};
use crate::status::Unwelcome;

impl AntiEntropy {
    /// Says that the agent is there, and hears whether the servers' registry has changed.
    pub(super) async fn stay_alive(&self) {
        let (mut complaint, mut hearer) = (Complaint::default(), None);
        loop {
            let asked = Instant::now();
            let alive =
                AgentAlive { id: self.id.clone(), datacenter: self.control.settings().datacenter.clone() };
            match self.asked::<AgentHeard>(Method::POST, "/alive", &alive, ALIVE_ANSWER_MAX).await {
                Ok((at, heard)) => {
                    self.servers.dns().hear(at, heard.dns.as_deref());
                    if hearer.replace(at) != Some(at) {
                        tracing::info!(server = self.servers.name(at), "this server hears the agent");
                    }
                    if complaint.is_over("the servers hear this agent again", &self.servers) {
                        self.back.notify_one();
                    }
                    self.status.heard(asked);
                    self.status.set_unwelcome(None);
                    if !heard.known || heard.revision != self.equal_at.load(Ordering::Relaxed) {
                        self.may_differ.notify_one();
                    }
                }
                Err(error) => {
                    if let Failed::Refused { status: StatusCode::CONFLICT, problems } = &error {
                        self.status.set_unwelcome(unwelcome(problems));
                    }
                    complaint.is("the servers do not hear that this agent is there", &error);
                }
            }
            // By chance, so that many agents do not speak at once for ever.
            tokio::time::sleep_until(asked + ALIVE_EVERY.mul_f64(0.9 + 0.2 * rand::random::<f64>())).await;
        }
    }
}

/// What a refusal of signs of life means.
fn unwelcome(problems: &[Problem]) -> Option<Unwelcome> {
    let problem = problems.first()?;
    let is_elsewhere = problem.path.as_deref() == Some(AGENT_DATACENTER);
    Some(Unwelcome { reason: problem.message.clone(), is_elsewhere })
}
