//! `weir lock`: runs a command while it holds a lock. `weir unlock`: takes a lock away.
//!
//! ```text
//! claim, wait ──> start the command ──> renew while it runs ──> release
//!                                            └─ lost ──> end the command
//! ```

mod child;
mod hold;

use std::time::Duration;

use tokio::time::Instant;
use weir_api::native::{ReleaseLock, Released};

use crate::cli::lock::{LockArgs, UnlockArgs};
use crate::exit::{Exit, Failure};
use crate::{output, server_client};

use child::{Child, Signals};
use hold::{Held, Holding, Lock};

/// How long a server may take to say why a lock was lost.
const WHY_LIMIT: Duration = Duration::from_secs(1);

/// Runs `weir lock`.
///
/// # Errors
/// When the lock cannot be claimed, or the command cannot be started.
pub(super) async fn run(args: &LockArgs) -> Result<Exit, Failure> {
    let kill_after = args.kill_after();
    if kill_after >= args.ttl.0 / 2 {
        let message = format!(
            "--kill-after is {}: expected less than half of --ttl ({})",
            args.kill_after.unwrap_or_default(),
            args.ttl
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let mut signals = Signals::new()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot handle signals: {error}")))?;
    let lock = Lock::new(args)?;
    let held = tokio::select! {
        held = lock.acquire(args) => held?,
        signal = signals.next() => {
            lock.release().await;
            return Ok(Exit::Command(128 + signal.number()));
        }
    };
    let Held::Yes(holding) = held else {
        output::remark(&format!("lock `{}` is held by others", args.name));
        return Ok(Exit::LockHeld);
    };
    let started = Child::start(args, &lock, &holding);
    let exit = match started {
        Ok(child) => attend(child, &lock, holding, &mut signals, kill_after).await,
        Err(failure) => Err(failure),
    };
    lock.release().await;
    exit
}

/// Renews the lock and passes signals on until the command has ended.
async fn attend(
    mut child: Child,
    lock: &Lock,
    holding: Holding,
    signals: &mut Signals,
    kill_after: Duration,
) -> Result<Exit, Failure> {
    let mut lost = std::pin::pin!(lock.keep(holding, kill_after));
    let lost = loop {
        tokio::select! {
            exit = child.ended() => return exit,
            lost = lost.as_mut() => break lost,
            signal = signals.next() => child.pass_on(signal),
        }
    };
    // First: the lock may be another's by now.
    child.terminate();
    let deadline = Instant::now() + kill_after;
    let why = lock.why(lost, WHY_LIMIT.min(kill_after / 2)).await;
    output::remark(&format!("lock `{}` is lost: {why}; ending the command", lock.name()));
    loop {
        tokio::select! {
            exit = child.ended() => {
                exit?;
                break;
            }
            () = tokio::time::sleep_until(deadline) => break,
            signal = signals.next() => child.pass_on(signal),
        }
    }
    // What the command has started may still be there.
    child.kill();
    child.ended().await?;
    Ok(Exit::LockLost)
}

/// Runs `weir unlock`.
///
/// # Errors
/// When nobody holds the lock.
pub(super) async fn unlock(args: &UnlockArgs) -> Result<Exit, Failure> {
    let client = server_client::client(&args.server)?;
    let path = hold::path(&args.name, &args.namespace, "release");
    let body = ReleaseLock { claim: None, force: true, token: args.token.clone() };
    let released: Released =
        client.send_json(http::Method::POST, &path, hold::JSON, &body).await.map_err(|error| {
            let failure = server_client::failure(&error);
            if failure.exit == Exit::NotFound { failure.hint("weir get locks") } else { failure }
        })?;
    output::print(&format!("lock {} taken away from {}\n", args.name, holders(released.released)));
    Ok(Exit::Done)
}

fn holders(count: usize) -> String {
    if count == 1 { "1 holder".to_owned() } else { format!("{count} holders") }
}
