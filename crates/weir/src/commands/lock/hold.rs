//! A claim on a lock, as the one who makes it sees it: claimed, renewed, lost, released.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use weir_api::client::{Client, ClientError, encode_segment};
use weir_api::native::{AcquireLock, ClaimAnswer, InstanceView, PREFIX, ReleaseLock, Released, RenewLock};
use weir_model::registry::Health;
use weir_model::units::Span;

use crate::cli::lock::LockArgs;
use crate::commands::get;
use crate::exit::{Exit, Failure};
use crate::{output, server_client};

/// The content type of what is sent.
pub(super) const JSON: &str = "application/json";
/// How long one call waits for the lock; well below what the client waits for an answer.
const CALL_WAIT: Duration = Duration::from_secs(20);
/// Pause before a server that could not be reached is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long the release of a lock is tried. If it fails, the lock ends with its time.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// Why a claim ends that was renewed in time.
const GIVEN_AWAY: &str = "the server gave it to others, or somebody took it away";

/// What to do where the instance that is to hold the lock is not found.
const WHERE_IT_IS: &str = "`weir get instances` shows at which node it is registered: --node NODE";

/// The path of an action on a lock.
pub(super) fn path(name: &str, namespace: &str, action: &str) -> String {
    format!("{PREFIX}/locks/{}/{action}?namespace={}", encode_segment(name), encode_segment(namespace))
}

/// One claim on a lock.
pub(super) struct Lock {
    client: Client,
    name: String,
    namespace: String,
    claim: String,
    ttl: Duration,
}

/// What is known of a lock that is held.
pub(super) struct Holding {
    /// The fencing token.
    pub(super) token: String,
    /// Before this moment the server was asked last of those times that it said yes: the lock is held for its TTL from
    /// then on.
    asked_at: Instant,
    /// The instance that the claim ends with, as `NODE/ID`.
    instance: Option<String>,
}

/// How a lock was lost.
#[derive(Debug)]
pub(super) enum Lost {
    /// It could not be renewed in time; this is why.
    NotRenewed(String),
    /// The server says that the claim is not there any more, or holds the lock anew. It ended with this instance, if with one.
    Ended(Option<String>),
}

/// Whether the lock is held.
pub(super) enum Held {
    /// It is.
    Yes(Holding),
    /// Others hold it, and there was no more time to wait.
    ByOthers,
}

impl Lock {
    /// A claim that is not made yet.
    ///
    /// # Errors
    /// When no server is named that makes sense.
    pub(super) fn new(args: &LockArgs) -> Result<Self, Failure> {
        Ok(Self {
            client: server_client::client(&args.server)?,
            name: args.name.clone(),
            namespace: args.namespace.clone(),
            claim: format!("{:032x}", rand::random::<u128>()),
            ttl: args.ttl.0,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The servers' addresses.
    pub(super) fn servers(&self) -> String {
        self.client.servers().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        action: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        self.client.send_json(Method::POST, &path(&self.name, &self.namespace, action), JSON, body).await
    }

    /// Claims the lock and waits for it as long as the arguments say.
    ///
    /// # Errors
    /// When the server refuses the claim, or cannot be reached at first; once it is known, outages are waited out.
    pub(super) async fn acquire(&self, args: &LockArgs) -> Result<Held, Failure> {
        let began = Instant::now();
        let (mut is_known, mut lost_place, mut told) = (false, false, false);
        loop {
            let left = match (args.r#try, args.wait) {
                (true, _) => Duration::ZERO,
                (false, None) => CALL_WAIT,
                (false, Some(wait)) => wait.0.saturating_sub(began.elapsed()),
            };
            let asked_at = Instant::now();
            let body = AcquireLock {
                claim: Some(self.claim.clone()),
                ttl: Some(Span(self.ttl)),
                // The first call is to say at once where it stands.
                wait: Some(Span(if is_known { left.min(CALL_WAIT) } else { Duration::ZERO })),
                keep: !left.is_zero(),
                count: Some(args.count),
                holder: args.holder.clone().unwrap_or_else(|| holder(args)),
                instance: args.instance.clone(),
                node: args.node.clone(),
                session: None,
            };
            match self.post::<ClaimAnswer>("acquire", &body).await {
                Ok(answer) if answer.held => {
                    // The answer may have been waited for: the claim was renewed while it was.
                    return Ok(Held::Yes(self.confirmed(answer, asked_at).await));
                }
                Ok(answer) if !is_known => {
                    output::remark(&format!(
                        "waiting for lock `{}`, place {}",
                        self.name, answer.claim.place
                    ));
                    is_known = true;
                }
                Ok(_) => (lost_place, told) = (false, false),
                Err(ClientError::Refused { status: StatusCode::LOCKED, .. }) => return Ok(Held::ByOthers),
                Err(error) if is_known && is_passing(&error) && !left.is_zero() => {
                    if !std::mem::replace(&mut told, true) {
                        output::remark(&format!("{error}; waiting for it to come back"));
                    }
                    sleep(RETRY_PAUSE).await;
                }
                // Its time was over while the server could not be reached: it begins anew, at the end of the line.
                // Twice in a row it is its instance that is gone.
                Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. })
                    if is_known && !lost_place =>
                {
                    lost_place = true;
                }
                Err(error) => {
                    // A claim whose answer is lost may hold the lock. What did not get to a server is no claim.
                    if is_known || error.may_be_done() {
                        self.release().await;
                    }
                    let failure = server_client::failure(&error);
                    return Err(match &args.instance {
                        Some(_) if failure.exit == Exit::NotFound => failure.hint(WHERE_IT_IS),
                        _ => failure,
                    });
                }
            }
            if left.is_zero() {
                self.release().await;
                return Ok(Held::ByOthers);
            }
        }
    }

    /// Begins the time of a lock that is held with a renewal, unless the answer came at once.
    async fn confirmed(&self, answer: ClaimAnswer, asked_at: Instant) -> Holding {
        let (token, instance) = (answer.claim.token, answer.claim.instance);
        if asked_at.elapsed() < self.ttl / 10 {
            return Holding { token, asked_at, instance };
        }
        let again = Instant::now();
        let renewed = timeout(self.ttl / 3, self.renew(&token)).await;
        // If that failed, what follows finds out whether it is lost.
        let asked_at = if matches!(renewed, Ok(Ok(true))) { again } else { asked_at };
        Holding { token, asked_at, instance }
    }

    /// Renews the claim. Whether it still holds the lock, with the same token.
    async fn renew(&self, token: &str) -> Result<bool, ClientError> {
        match self.post::<ClaimAnswer>("renew", &RenewLock { claim: self.claim.clone() }).await {
            Ok(answer) => Ok(answer.held && answer.claim.token == token),
            Err(ClientError::Refused { status: StatusCode::NOT_FOUND | StatusCode::CONFLICT, .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Renews the lock until it is lost, or will be in `before`, and returns how.
    pub(super) async fn keep(&self, mut holding: Holding, before: Duration) -> Lost {
        let mut failed = String::from("it could not be renewed in time");
        let mut pause = self.ttl / 3;
        loop {
            let give_up_at = holding.asked_at + self.ttl - before;
            let next = (Instant::now() + pause).min(give_up_at);
            tokio::time::sleep_until(next).await;
            let asked_at = Instant::now();
            if asked_at >= give_up_at {
                return Lost::NotRenewed(failed);
            }
            match tokio::time::timeout_at(give_up_at, self.renew(&holding.token)).await {
                Ok(Ok(true)) => {
                    holding.asked_at = asked_at;
                    pause = self.ttl / 3;
                }
                Ok(Ok(false)) => return Lost::Ended(holding.instance),
                Ok(Err(error)) => {
                    failed = format!("it could not be renewed: {error}");
                    pause = RETRY_PAUSE.min(self.ttl / 20);
                }
                Err(_) => return Lost::NotRenewed(failed),
            }
        }
    }

    /// Why the lock was lost, as far as a server tells within this time.
    pub(super) async fn why(&self, lost: Lost, limit: Duration) -> String {
        let instance = match lost {
            Lost::NotRenewed(why) => return why,
            Lost::Ended(None) => return GIVEN_AWAY.to_owned(),
            Lost::Ended(Some(instance)) => instance,
        };
        let (node, id) = instance.split_once('/').unwrap_or(("", &instance));
        let path = format!(
            "{PREFIX}/instances/{}?node={}&namespace={}",
            encode_segment(id),
            encode_segment(node),
            encode_segment(&self.namespace)
        );
        match timeout(limit, self.client.get::<InstanceView>(&path)).await {
            Ok(Ok(view)) if view.checks.iter().any(|check| check.health == Health::Critical) => {
                match get::why(&view) {
                    why if why.is_empty() => format!("its instance {instance} is critical"),
                    why => format!("its instance {instance} is critical: {why}"),
                }
            }
            Ok(Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. })) => {
                format!("its instance {instance} is not registered any more")
            }
            _ => format!("{GIVEN_AWAY}, or its instance {instance} was critical for a moment"),
        }
    }

    /// Releases the claim, whether it holds the lock or waits, and says so where nobody knows that it is done.
    pub(super) async fn release(&self) {
        let body = ReleaseLock { claim: Some(self.claim.clone()), ..ReleaseLock::default() };
        let mut failed = None;
        let released = timeout(RELEASE_LIMIT, async {
            loop {
                match self.post::<Released>("release", &body).await {
                    Err(error) if is_passing(&error) => failed = Some(error.to_string()),
                    done => return done,
                }
                sleep(RETRY_PAUSE).await;
            }
        });
        let why = match released.await {
            Ok(Ok(_) | Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. })) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => failed.unwrap_or_else(|| "no server answers".to_owned()),
        };
        output::remark(&format!(
            "the claim on lock `{}` may not be released: {why}; it ends by itself after {}",
            self.name,
            Span(self.ttl)
        ));
    }
}

/// Whether the same request may succeed a little later.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::NoServer { .. }
        | ClientError::Tls { .. }
        | ClientError::Lost { .. }
        | ClientError::Timeout { .. } => true,
        ClientError::Refused { status, .. } => status.is_server_error(),
        ClientError::BadAnswer { .. } | ClientError::Broken { .. } => false,
    }
}

/// Host, process and command.
fn holder(args: &LockArgs) -> String {
    let command = args.command.first().map(|command| command.to_string_lossy()).unwrap_or_default();
    let text = format!("{} pid {}: {command}", crate::host_name(), std::process::id());
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text[..text.floor_char_boundary(256)].to_owned()
}

#[cfg(test)]
mod tests;
