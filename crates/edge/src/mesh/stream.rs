//! One proxy's stream: waits for changes, subscriptions and acknowledgements, and sends what the session says.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Status, Streaming};
use weir_api::mesh::{
    Ack, Leases, ProxyMessage, Report, ServerMessage, Subscribe, proxy_message, server_message,
};
use weir_model::{Position, ServiceRef};

use super::hub::Member;
use super::leases;
use super::moment::CatalogMoment;
use super::reports;
use super::service::too_many;
use super::session::Session;
use super::{OUTSTANDING_MAX, SUBSCRIPTIONS_MAX, Shared, convert};

pub(super) struct Stream {
    shared: Arc<Shared>,
    member: Arc<Member>,
    session: Session,
    /// What the proxy says it has, until the first update is made.
    resume: Option<Position>,
    /// The services that the hub knows to concern this stream.
    concerned: BTreeSet<ServiceRef>,
    /// Since when the oldest update waits for its acknowledgement.
    waiting_since: Instant,
    /// Whether it was said that the proxy's reports are not kept.
    not_kept: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.hub.leave(&self.member, &self.concerned);
        self.shared.reports.forget(&self.member.reported);
        self.shared.control.proxies().disconnect(&self.member.connection);
    }
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        member: Arc<Member>,
        session: Session,
        resume: Option<Position>,
    ) -> Self {
        let concerned = BTreeSet::new();
        Self { shared, member, session, resume, concerned, waiting_since: Instant::now(), not_kept: false }
    }

    /// Serves the stream and returns why it ended.
    pub(super) async fn run(
        mut self,
        mut inbound: Streaming<ProxyMessage>,
        outbound: &Sender<Result<ServerMessage, Status>>,
        mut closing: watch::Receiver<bool>,
    ) -> Status {
        let member = Arc::clone(&self.member);
        let mut greet = true;
        let mut looks = self.shared.reports.looks(std::time::Instant::now());
        let mut owes_pace = false;
        // One demand at a time is answered: who asks again before that will ask once more.
        let mut leasing: Option<Leasing> = None;
        let mut owes_leases: Option<Leases> = None;
        loop {
            let may_send = self.session.outstanding() < OUTSTANDING_MAX;
            let ack_deadline = self.waiting_since + self.shared.timeouts.ack;
            tokio::select! {
                biased;
                () = member.replaced() => {
                    return Status::aborted("a newer stream of the same proxy id has taken this one's place");
                }
                _ = closing.wait_for(|closing| *closing) => {
                    return Status::unavailable("the server is shutting down");
                }
                message = inbound.message() => match message {
                    Ok(Some(ProxyMessage { message: Some(proxy_message::Message::Demand(demand)) })) => {
                        if leasing.is_none() && owes_leases.is_none() {
                            let holder = member.proxy_id().to_owned();
                            leasing = Some(Box::pin(leases::answer(Arc::clone(&self.shared), holder, demand)));
                        }
                    }
                    Ok(Some(message)) => {
                        if let Err(status) = self.take(message) {
                            return status;
                        }
                    }
                    Ok(None) => return Status::ok("the proxy has left"),
                    Err(status) => return Status::cancelled(format!("the proxy is gone: {}", status.message())),
                },
                Ok(()) = looks.changed() => owes_pace = true,
                permit = outbound.reserve(), if owes_pace => {
                    let Ok(permit) = permit else { return Status::cancelled("the proxy is gone") };
                    let message = Some(server_message::Message::ReportPace(reports::pace()));
                    permit.send(Ok(ServerMessage { message }));
                    owes_pace = false;
                }
                leases = leased(&mut leasing) => owes_leases = Some(leases),
                permit = outbound.reserve(), if owes_leases.is_some() => {
                    let Ok(permit) = permit else { return Status::cancelled("the proxy is gone") };
                    let message = owes_leases.take().map(server_message::Message::Leases);
                    permit.send(Ok(ServerMessage { message }));
                }
                () = tokio::time::sleep_until(ack_deadline), if self.session.outstanding() > 0 => {
                    return Status::deadline_exceeded("an update was not acknowledged in time");
                }
                permit = ready(&member, outbound), if may_send => {
                    let Ok(permit) = permit else { return Status::cancelled("the proxy is gone") };
                    if let Some(message) = self.next_message(greet) {
                        permit.send(Ok(message));
                    }
                    greet = false;
                }
            }
        }
    }

    fn take(&mut self, message: ProxyMessage) -> Result<(), Status> {
        match message.message {
            Some(proxy_message::Message::Hello(_)) => Err(Status::invalid_argument("a second hello")),
            Some(proxy_message::Message::Subscribe(subscribe)) => self.subscribe(subscribe),
            Some(proxy_message::Message::Ack(ack)) => self.acknowledge(ack),
            Some(proxy_message::Message::Report(report)) => {
                self.report(&report);
                Ok(())
            }
            // Demands are answered elsewhere. Something that a newer proxy says: what is unknown is ignored.
            Some(proxy_message::Message::Demand(_)) | None => Ok(()),
        }
    }

    /// Keeps a report. One that cannot be kept is no reason to part with the proxy.
    fn report(&mut self, report: &Report) {
        let kept = self.shared.reports.keep(&self.member.reported, report, std::time::Instant::now());
        if let Err(error) = kept
            && !std::mem::replace(&mut self.not_kept, true)
        {
            tracing::warn!(proxy = self.member.proxy_id(), %error, "its report is not kept");
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), Status> {
        self.session.drop_services(subscribe.drop.into_iter().map(convert::service_from));
        let add = subscribe.add.into_iter().map(convert::service_from);
        self.session.add([], add, SUBSCRIPTIONS_MAX).map_err(|_| too_many())?;
        self.member.set_subscriptions(self.session.subscriptions());
        self.member.mark();
        Ok(())
    }

    fn acknowledge(&mut self, ack: Ack) -> Result<(), Status> {
        let position = ack.position.ok_or_else(|| Status::invalid_argument("ack.position is missing"))?;
        let position = convert::position_from(position);
        // An acknowledgement names everything that the proxy refuses then, so it takes the place of the one before.
        let rejections = ack
            .rejections
            .into_iter()
            .map(|rejection| convert::rejection_from(rejection, position))
            .collect();
        self.session.acknowledge(position);
        self.waiting_since = Instant::now();
        self.shared.control.proxies().acknowledged(&self.member.connection, position, rejections);
        self.settle();
        Ok(())
    }

    /// Nothing outstanding and nothing new: the proxy is as new as the catalog.
    fn settle(&self) {
        if self.session.outstanding() == 0 {
            self.shared.hub.settle(&self.member);
        }
    }

    /// Looks at the catalog's newest state and makes the update that brings the proxy there.
    fn next_message(&mut self, greet: bool) -> Option<ServerMessage> {
        self.member.unmark();
        let shared = Arc::clone(&self.shared);
        let idle = self.session.outstanding() == 0;
        let (session, resume) = (&mut self.session, self.resume.take());
        // Under the catalog's lock only what differs is picked out; it is put into words afterwards.
        let (delta, concerned) = shared.control.catalog().read(|moment| {
            let settings = shared.control.settings();
            let effective = &*shared.effective.at(moment, settings);
            let moment = CatalogMoment { moment, views: &shared.views, effective, settings };
            // A position says nothing of the version that made documents of entries.
            if let Some(resume) = resume
                && (effective.makes() || !session.resume(&moment, resume, shared.since))
            {
                tracing::debug!(%resume, "cannot resume: everything is sent");
            }
            let delta = session.advance(&moment, greet);
            (delta, effective.sources(session.services()))
        });
        if *concerned != self.concerned {
            shared.hub.concern(&self.member, &self.concerned, &concerned);
            self.concerned = concerned.into_owned();
            // What changed between the look and the entry in the hub marked nobody: look once more.
            self.member.mark();
        }
        let Some(delta) = delta else {
            self.settle();
            return None;
        };
        if idle {
            self.waiting_since = Instant::now();
        }
        shared.control.proxies().sent(&self.member.connection, delta.position);
        let update = convert::update(delta);
        Some(ServerMessage { message: Some(server_message::Message::Update(update)) })
    }
}

type Leasing = Pin<Box<dyn Future<Output = Leases> + Send>>;

/// Waits until a demand is answered; for ever where there is none.
async fn leased(leasing: &mut Option<Leasing>) -> Leases {
    match leasing {
        Some(answer) => {
            let leases = answer.await;
            *leasing = None;
            leases
        }
        None => pending().await,
    }
}

/// Waits until there is something to look at, and room to send it.
async fn ready<'a>(
    member: &Member,
    outbound: &'a Sender<Result<ServerMessage, Status>>,
) -> Result<
    tokio::sync::mpsc::Permit<'a, Result<ServerMessage, Status>>,
    tokio::sync::mpsc::error::SendError<()>,
> {
    member.marked().await;
    outbound.reserve().await
}
