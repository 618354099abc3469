//! The live picture: fetches, reads keys, and draws, until it is told to end.

use std::io::Read;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use weir_api::client::ClientError;
use weir_api::report::Figures;

use super::draw::{painted, picture};
use super::keys::decode;
use super::terminal::{Terminal, wants_colours};
use super::view::View;
use super::{LOOK_MAX, Source, is_since};
use crate::cli::top::TopArgs;
use crate::exit::{Exit, Failure};

/// How often figures are fetched, and the picture is drawn at least.
const EVERY: Duration = Duration::from_secs(1);
/// How long one answer may take before it is said that there is none.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Reads of the keyboard that may wait.
const READS_MAX: usize = 16;

/// What is fetched, and whether it is of now; or why it cannot be.
type Fetched = Result<(Figures, bool), String>;

pub(super) async fn run(args: &TopArgs, source: Source) -> Result<Exit, Failure> {
    // Who cannot be reached at all, or what is not there, is better told of on the terminal as it is.
    let began = Instant::now();
    let first = source.fetch().await.map_err(|error| source.failure(&error))?;
    let cannot =
        |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot use the terminal: {error}"));
    let mut signals = Signals::new().map_err(cannot)?;
    let mut view = View::new(source.name(), args.sort);
    view.wanted.clone_from(&args.service);
    view.took(first, false);
    let terminal = Terminal::enter().map_err(cannot)?;
    let mut live =
        Live { source, view, terminal, colours: wants_colours(), began, taken: Instant::now(), fetch: None };
    // A terminal that is gone is as good as told to end.
    let _ = live.stay(&mut signals).await;
    Ok(Exit::Done)
}

/// What may come from outside.
struct Signals {
    resized: Signal,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            resized: signal(SignalKind::window_change())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the process is to end.
    async fn end(interrupt: &mut Signal, terminate: &mut Signal, hangup: &mut Signal) {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

struct Live {
    source: Source,
    view: View,
    terminal: Terminal,
    colours: bool,
    /// When the look began.
    began: Instant,
    /// When the figures of the view were got.
    taken: Instant,
    fetch: Option<JoinHandle<Fetched>>,
}

impl Live {
    async fn stay(&mut self, signals: &mut Signals) -> std::io::Result<()> {
        let mut keyboard = keyboard();
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Signals { resized, interrupt, terminate, hangup } = signals;
        loop {
            self.draw()?;
            tokio::select! {
                read = keyboard.recv() => match read {
                    Some(bytes) => {
                        if !decode(&bytes).into_iter().all(|key| self.view.press(key)) {
                            return Ok(());
                        }
                    }
                    None => return Ok(()),
                },
                () = Signals::end(interrupt, terminate, hangup) => return Ok(()),
                _ = resized.recv() => {}
                fetched = answer(&mut self.fetch) => self.take(fetched),
                _ = tick.tick() => self.ask(),
            }
        }
    }

    /// Asks for new figures, unless that is under way.
    fn ask(&mut self) {
        if self.fetch.is_none() {
            let (source, asked) = (self.source.clone(), self.began.elapsed());
            self.fetch = Some(tokio::spawn(async move { fetched(&source, asked).await }));
        }
    }

    fn take(&mut self, fetched: Fetched) {
        match fetched {
            Ok((figures, is_fresh)) => {
                self.view.took(figures, is_fresh);
                self.taken = Instant::now();
            }
            Err(problem) => self.view.problem = Some(problem),
        }
    }

    fn draw(&mut self) -> std::io::Result<()> {
        self.view.age_ms = u64::try_from(self.taken.elapsed().as_millis()).unwrap_or(u64::MAX);
        let lines = picture(&self.view, self.terminal.size());
        self.terminal.write(&painted(&lines, self.colours))
    }
}

async fn fetched(source: &Source, asked: Duration) -> Fetched {
    match tokio::time::timeout(ANSWER_MAX, source.fetch()).await {
        Ok(Ok(figures)) => {
            let is_fresh = asked >= LOOK_MAX || is_since(&figures, asked);
            Ok((figures, is_fresh))
        }
        Ok(Err(ClientError::Unreachable { reason, .. } | ClientError::Tls { reason, .. })) => {
            Err(format!("cannot reach it: {reason}"))
        }
        Ok(Err(error)) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
    }
}

/// Waits for what is being fetched; for ever when nothing is.
async fn answer(fetch: &mut Option<JoinHandle<Fetched>>) -> Fetched {
    let Some(under_way) = fetch else { return std::future::pending().await };
    let fetched = under_way.await;
    *fetch = None;
    fetched.unwrap_or_else(|error| Err(format!("cannot ask: {error}")))
}

/// What is typed, as it is read. A thread of its own reads: it may wait for ever, and must not hold up the end.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(READS_MAX);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut read = [0; 256];
        loop {
            match stdin.read(&mut read) {
                Ok(0) => break,
                Ok(length) => {
                    if sender.blocking_send(read[..length].to_vec()).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    });
    receiver
}
