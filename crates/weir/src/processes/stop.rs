//! What ends a process: SIGINT, SIGTERM, or the end of standard input for the children of another one.

use std::io::Read;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::notify;

/// Why a process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// The process that started this one is gone, or has closed the pipe.
    ParentGone,
}

/// Waits for SIGINT or SIGTERM, and for the end of standard input if `with_stdin`. Handlers are in place when this returns, before
/// what it returns is waited for: who says that he serves must have them by then.
pub(crate) fn stop_signal(with_stdin: bool) -> impl Future<Output = Stop> + Send {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            // Without handlers the signals keep their default effect, which ends the process just as well.
            return std::future::pending().await;
        };
        let parent_gone = async {
            if with_stdin {
                stdin_closed().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = interrupt.recv() => Stop::Interrupt,
            _ = terminate.recv() => Stop::Terminate,
            () = parent_gone => Stop::ParentGone,
        }
    }
}

/// SIGHUPs from now on, which end the process no more. To be asked for before anything takes time.
pub(crate) fn hangups() -> Option<Signal> {
    signal(SignalKind::hangup()).ok()
}

/// Calls `reload` at each SIGHUP, for ever.
pub(crate) async fn at_hangups(hangups: Option<Signal>, reload: impl Fn() + Send) {
    let Some(mut hangup) = hangups else { return std::future::pending().await };
    while hangup.recv().await.is_some() {
        notify::reloading();
        reload();
        notify::ready();
    }
}

/// Waits for the end of standard input. A thread of its own reads: it may wait for ever, and must then not hold up
/// the end of the runtime.
async fn stdin_closed() {
    let (closed, wait) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut ignored = [0; 64];
        loop {
            match stdin.read(&mut ignored) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = closed.send(());
    });
    let _ = wait.await;
}
