//! Locks: acquire, renew, release, check, look.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde::de::DeserializeOwned;
use weir_api::native::{
    AcquireLock, ClaimAnswer, ClaimView, List, LockView, Problem, ReleaseLock, Released, RenewLock,
};
use weir_control::bounds::LOCK_WAIT_MAX;
use weir_control::catalog::InstanceRef;
use weir_control::lock::{self, Acquired, ClaimRef, LockRef, NewClaim, Token};
use weir_control::{Control, Error};
use weir_model::DEFAULT_NAMESPACE;
use weir_model::document::decode_as;
use weir_model::units::Span;

use super::refusal::{Refusal, problem};
use super::{NativeApi, known_parameters, ok, text};
use crate::http::{Request, Response};

/// How long a claim lives after a renewal when it does not say.
const TTL_DEFAULT: Duration = Duration::from_secs(15);

const ROUTES: &str =
    "/weir/v1/locks/NAME, or /weir/v1/locks/NAME/ and one of acquire, renew, release (POST), check (GET)";

impl NativeApi {
    /// `GET /locks`.
    pub(super) async fn locks(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "name"])?;
        let position = self.control.position();
        let name = request.query.get_filled("name");
        let locks = self.control.locks(request.query.get_filled("namespace"));
        let locks = locks.iter().filter(|lock| name.is_none_or(|name| name == lock.name.name));
        Ok(ok(&List { position, items: locks.map(lock_view).collect::<Vec<_>>() }))
    }

    /// `GET /locks/NAME` and `GET /locks/NAME/check?token=`.
    pub(super) async fn lock(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        match split(&request)? {
            (lock, "") => {
                known_parameters(&request, &["namespace"])?;
                let view = self.control.lock(&lock).entries;
                let view = view.ok_or_else(|| nobody_holds(&lock))?;
                Ok(ok(&lock_view(&view)))
            }
            (lock, "check") => self.check(&request, &lock).await,
            (_, other) => Err(unknown(other)),
        }
    }

    /// `POST /locks/NAME/acquire`, `renew` and `release`.
    pub(super) async fn change_lock(self: Arc<Self>, mut request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace"])?;
        let (lock, action) = split(&request)?;
        match action {
            "acquire" => {
                let input: AcquireLock = body(&request)?;
                // Many may wait: what is not needed any more goes first.
                request.headers = http::HeaderMap::new();
                self.acquire(request, lock, input).await
            }
            "renew" => {
                let input: RenewLock = body(&request)?;
                let claim =
                    self.control.renew_claim(&ClaimRef::new(lock, &*input.claim)).await.map_err(lost)?;
                Ok(ok(&self.claim_answer(&claim)))
            }
            "release" => self.release(lock, body(&request)?).await,
            other => Err(unknown(other)),
        }
    }

    async fn acquire(
        &self,
        mut request: Request,
        lock: LockRef,
        input: AcquireLock,
    ) -> Result<Response, Refusal> {
        let id = input.claim.clone().unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        let name = ClaimRef::new(lock.clone(), id);
        let new = self.new_claim(name.clone(), &input)?;
        // Whoever hangs up must not be in the line any more; a claim that was there before stays.
        let is_new = self.control.claim(&name).is_err();
        let mut place = Place { control: Arc::clone(&self.control), name, withdraws: is_new && !input.keep };
        let wait = input.wait.unwrap_or_default();
        if wait.0 > LOCK_WAIT_MAX {
            let expected =
                format!("at most {}; a claim with `keep` waits on between calls", Span(LOCK_WAIT_MAX));
            return Err(Refusal::bad("wait", format!("{wait} is longer than one call waits"), expected));
        }
        request.waits();
        let closing = async { request.server_closing().await };
        let acquired = tokio::select! {
            acquired = self.control.claim_lock(new, wait.0) => acquired?,
            () = closing => {
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Problem::new("the server is shutting down")));
            }
        };
        match acquired {
            Acquired::Held(claim) => {
                place.withdraws = false;
                Ok(ok(&self.claim_answer(&claim)))
            }
            Acquired::Waiting(claim) if input.keep => Ok(ok(&self.claim_answer(&claim))),
            Acquired::Waiting(_) => {
                place.withdraw().await?;
                Err(self.held_by_others(&lock))
            }
        }
    }

    fn new_claim(&self, name: ClaimRef, input: &AcquireLock) -> Result<NewClaim, Refusal> {
        if input.node.is_some() && input.instance.is_none() {
            return Err(Refusal::bad("node", "it names the node of no instance", "`instance` beside it"));
        }
        let node = input.node.as_deref().unwrap_or(&self.control.settings().node_name);
        let instance = input.instance.as_deref();
        Ok(NewClaim {
            count: input.count.unwrap_or(1),
            ttl: input.ttl.map_or(TTL_DEFAULT, |ttl| ttl.0),
            holder: input.holder.clone(),
            instance: instance.map(|id| InstanceRef::new(&*name.lock.namespace, node, id)),
            session: input.session.clone(),
            name,
        })
    }

    fn held_by_others(&self, lock: &LockRef) -> Refusal {
        let view = self.control.lock(lock).entries;
        let who = view.iter().flat_map(|view| view.holders()).take(3).map(|claim| {
            let holder = &claim.entry.value.holder;
            if holder.is_empty() { format!("claim {}", claim.entry.value.id) } else { holder.clone() }
        });
        let who: Vec<_> = who.collect();
        let by = if who.is_empty() { String::new() } else { format!(" by {}", who.join(", ")) };
        let message = format!("lock `{}` is held{by}", lock.name);
        Refusal::new(StatusCode::LOCKED, Problem::new(message))
    }

    async fn release(&self, lock: LockRef, input: ReleaseLock) -> Result<Response, Refusal> {
        let (done, released) = match (&input.claim, input.force) {
            (Some(claim), false) if input.token.is_none() => {
                (self.control.release_claim(&ClaimRef::new(lock, &**claim)).await.map_err(lost)?, 1)
            }
            (None, true) => {
                let token = input.token.as_deref().map(parse_token).transpose()?;
                self.control.force_lock(&lock, token).await?
            }
            _ => {
                let expected = "either `claim`, or `force` and perhaps `token`";
                return Err(Refusal::bad("body", "it is not clear what to release", expected));
            }
        };
        Ok(ok(&Released { position: done.position, released }))
    }

    async fn check(&self, request: &Request, lock: &LockRef) -> Result<Response, Refusal> {
        known_parameters(request, &["namespace", "token"])?;
        let token = parse_token(request.query.get_filled("token").unwrap_or(""))?;
        match self.control.check_token(lock, token).await? {
            Some(claim) => Ok(ok(&self.claim_answer(&claim))),
            None => {
                let message = format!("nobody holds lock `{}` with this token; it is stale", lock.name);
                Err(Refusal::new(StatusCode::CONFLICT, Problem::new(message).at("token")))
            }
        }
    }

    fn claim_answer(&self, claim: &lock::ClaimView) -> ClaimAnswer {
        ClaimAnswer { position: self.control.position(), held: claim.place == 0, claim: claim_view(claim) }
    }
}

/// A place in the line.
struct Place {
    control: Arc<Control>,
    name: ClaimRef,
    /// Whether the claim goes with it.
    withdraws: bool,
}

impl Place {
    async fn withdraw(&mut self) -> Result<(), Error> {
        self.withdraws = false;
        match self.control.release_claim(&self.name).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.withdraws {
            let (control, name) = (Arc::clone(&self.control), self.name.clone());
            // If it fails, the claim ends with its time.
            tokio::spawn(async move { control.release_claim(&name).await });
        }
    }
}

/// The lock that a path names, and what is to be done with it.
fn split(request: &Request) -> Result<(LockRef, &str), Refusal> {
    let namespace = request.query.get_filled("namespace").unwrap_or(DEFAULT_NAMESPACE);
    let (name, action) = request.rest().split_once('/').unwrap_or((request.rest(), ""));
    if name.is_empty() {
        return Err(Refusal::bad("name", "the path names no lock", ROUTES));
    }
    Ok((LockRef::new(namespace, name), action))
}

fn unknown(action: &str) -> Refusal {
    let problem = Problem::new(format!("there is no `{action}` for a lock")).at("path").expected(ROUTES);
    Refusal::new(StatusCode::NOT_FOUND, problem)
}

fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    let text = text(request)?;
    let text = if text.trim().is_empty() { "{}" } else { text };
    decode_as("body", text).map_err(|errors| Refusal::documents(errors.into_iter().map(problem).collect()))
}

fn parse_token(text: &str) -> Result<Token, Refusal> {
    text.parse().map_err(|error: lock::BadToken| {
        Refusal::bad("token", error.to_string(), "12 hex digits, `-` and 16 hex digits, as `acquire` answers")
    })
}

fn nobody_holds(lock: &LockRef) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, Problem::new(format!("nobody holds lock `{}`", lock.name)))
}

/// A claim that is not there: whoever asks for it has lost the lock.
fn lost(error: Error) -> Refusal {
    match error {
        Error::NotFound { what } => {
            let why = "it was not renewed in time, released, taken away, or never made";
            Refusal::new(
                StatusCode::NOT_FOUND,
                Problem::new(format!("{what} does not exist: {why}")).at("claim"),
            )
        }
        other => other.into(),
    }
}

fn lock_view(view: &lock::LockView) -> LockView {
    LockView {
        namespace: view.name.namespace.clone(),
        name: view.name.name.clone(),
        count: view.count,
        holders: view.holders().iter().map(claim_view).collect(),
        waiters: view.waiters().iter().map(claim_view).collect(),
    }
}

fn claim_view(view: &lock::ClaimView) -> ClaimView {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let claim = &view.entry.value;
    let now = millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    ClaimView {
        claim: claim.id.clone(),
        token: view.token.to_string(),
        holder: claim.holder.clone(),
        place: view.place,
        ttl: claim.ttl,
        age_ms: now.saturating_sub(claim.time_ms),
        held_ms: view.held.map(millis),
        remaining_ms: view.remaining.map(millis),
        instance: claim.instance.as_ref().map(|instance| format!("{}/{}", instance.node, instance.id)),
        session: claim.session.clone(),
    }
}
