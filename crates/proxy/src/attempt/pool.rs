//! Idle connections to one endpoint, of one worker. Last in, first out: the warmest is used again, the rest grow old and go.
//!
//! An endpoint closes idle connections when it likes, and a request that is on its way at that moment is lost. So it is
//! learnt, for all workers, for how long the endpoint keeps them (`weir_policy::idle`), and no connection is used for
//! longer. The oldest one is kept beyond that, though never used: its end tells whether the endpoint has changed.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use crate::http2::Channel;
use crate::observe::WorkerCounters;
use crate::runtime::{Idle, Io, TICK};
use crate::snapshot::{EndpointState, UpstreamTls};

/// The pool.
pub(crate) struct Pool {
    idle: RefCell<Vec<Kept>>,
    idle_max: usize,
    /// When it was last swept.
    swept_ms: Cell<Option<u64>>,
    counters: Arc<WorkerCounters>,
    /// How its connections are encrypted.
    tls: UpstreamTls,
    /// Those that speak HTTP/2, idle or not.
    pub(crate) http2: Channel,
}

struct Kept {
    io: Io,
    since_ms: u64,
    /// When it was last seen to be open.
    seen_ms: u64,
}

/// The time, as a pool needs it: of the worker, in milliseconds, and of the process, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolTime {
    pub(crate) ms: u64,
    pub(crate) shared_s: u32,
}

impl Pool {
    pub(crate) fn new(idle_max: usize, counters: Arc<WorkerCounters>, tls: UpstreamTls) -> Self {
        Self {
            idle: RefCell::default(),
            idle_max,
            swept_ms: Cell::new(None),
            counters,
            tls,
            http2: Channel::default(),
        }
    }

    /// Whether its connections are encrypted in this way. Others must not be used: a name or an authority that counts no
    /// more would go on to count for as long as they are kept warm.
    pub(crate) fn is_for(&self, tls: &UpstreamTls) -> bool {
        self.tls.is(tls)
    }

    /// A connection that is, as far as can be known without asking, still open, younger than `idle_for_max` and than the
    /// endpoint keeps them, and silent. Also gives how long it was idle, in milliseconds.
    #[inline]
    pub(crate) fn take(
        &self,
        now: PoolTime,
        idle_for_max: Duration,
        state: &EndpointState,
    ) -> Option<(Io, u64)> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let age_ms = now.ms.saturating_sub(idle.last()?.since_ms);
            if is_old(age_ms, idle_for_max) {
                // What lies deeper is older still.
                self.counters.pool_idle.sub(idle.len() as u64);
                idle.clear();
                return None;
            }
            if age_ms >= state.idle_limit_ms() {
                // Left to the next sweep.
                return None;
            }
            let mut kept = idle.pop()?;
            self.counters.pool_idle.sub(1);
            if kept.io.look() == Idle::Quiet {
                self.counters.pool_hits.add(1);
                return Some((kept.io, age_ms));
            }
            self.counters.pool_stale.add(1);
            closed(state, kept.seen_ms - kept.since_ms, now);
        }
    }

    /// Keeps a connection for later. When there are too many the oldest goes.
    #[inline]
    pub(crate) fn put(&self, io: Io, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.idle_max {
            if self.idle_max == 0 {
                return;
            }
            idle.remove(0);
            self.counters.pool_evicted.add(1);
            self.counters.pool_idle.sub(1);
        }
        idle.push(Kept { io, since_ms: now_ms, seen_ms: now_ms });
        self.counters.pool_idle.add(1);
    }

    /// Closes what is old, what the endpoint has closed or is about to close, and what speaks without being asked.
    pub(crate) fn sweep(&self, now: PoolTime, idle_for_max: Duration, state: &EndpointState) {
        self.swept_ms.set(Some(now.ms));
        self.http2.sweep(now.ms, idle_for_max);
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return;
        }
        let (before, limit_ms) = (idle.len(), state.idle_limit_ms());
        let (mut retired, mut watched) = (0, false);
        idle.retain_mut(|one| {
            let age_ms = now.ms.saturating_sub(one.since_ms);
            if is_old(age_ms, idle_for_max) {
                return false;
            }
            if one.io.look() != Idle::Quiet {
                closed(state, one.seen_ms - one.since_ms, now);
                return false;
            }
            one.seen_ms = now.ms;
            // The first is the oldest, and stays, to be watched.
            let retire = age_ms >= limit_ms && std::mem::replace(&mut watched, true);
            retired += u64::from(retire);
            !retire
        });
        self.counters.pool_retired.add(retired);
        self.counters.pool_idle.sub((before - idle.len()) as u64);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Whether it was reached by the sweep of this time.
    pub(crate) fn is_swept(&self, now_ms: u64) -> bool {
        self.swept_ms.get() == Some(now_ms)
    }

    /// Closes them all.
    pub(crate) fn clear(&self) {
        let mut idle = self.idle.borrow_mut();
        self.counters.pool_idle.sub(idle.len() as u64);
        idle.clear();
        self.http2.clear();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

fn is_old(age_ms: u64, idle_for_max: Duration) -> bool {
    !idle_for_max.is_zero() && u128::from(age_ms) >= idle_for_max.as_millis()
}

/// The endpoint has closed a connection that was idle, and last seen to be open at this age.
#[cold]
pub(super) fn closed(state: &EndpointState, age_ms: u64, now: PoolTime) {
    // It became idle up to a tick later than the clock said.
    let age = Duration::from_millis(age_ms).saturating_sub(TICK);
    state.idle_closed(age, now.shared_s);
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    fn pool(idle_max: usize) -> (Rc<Pool>, Arc<WorkerCounters>) {
        let counters = Arc::new(WorkerCounters::default());
        (Rc::new(Pool::new(idle_max, counters.clone(), UpstreamTls::Plain)), counters)
    }

    fn state() -> EndpointState {
        EndpointState::default()
    }

    fn at(ms: u64) -> PoolTime {
        PoolTime { ms, shared_s: (ms / 1000) as u32 }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_latest_comes_first_and_the_oldest_goes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, counters) = pool(2);
        let mut ports = Vec::new();
        let mut far = Vec::new();
        for _ in 0..3 {
            let (near, peer) = pair(&listener).await;
            ports.push(near.local_addr().unwrap().port());
            far.push(peer);
            pool.put(Io::Tcp(near), 0);
        }
        assert_eq!((pool.len(), counters.pool_idle.get()), (2, 2));
        assert_eq!(pool.take(at(1), MINUTE, &state()).unwrap().0.local_addr().unwrap().port(), ports[2]);
        assert_eq!(pool.take(at(1), MINUTE, &state()).unwrap().0.local_addr().unwrap().port(), ports[1]);
        assert!(pool.take(at(1), MINUTE, &state()).is_none());
        assert_eq!(counters.pool_idle.get(), 0);
    }

    #[tokio::test]
    async fn closed_and_talkative_connections_are_not_given_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, counters) = pool(8);
        let (closed, far) = pair(&listener).await;
        drop(far);
        let (talking, mut far) = pair(&listener).await;
        far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        closed.readable().await.unwrap();
        talking.readable().await.unwrap();
        pool.put(Io::Tcp(closed), 0);
        pool.put(Io::Tcp(talking), 0);
        assert!(pool.take(at(1), MINUTE, &state()).is_none());
        assert_eq!(counters.pool_stale.get(), 2);
    }

    #[tokio::test]
    async fn connections_are_retired_before_the_endpoint_closes_them() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, counters) = pool(8);
        let state = state();
        state.idle_said(5, 1);
        let mut far = Vec::new();
        for since_ms in [0, 100, 1000, 4000] {
            let (near, peer) = pair(&listener).await;
            far.push(peer);
            pool.put(Io::Tcp(near), since_ms);
        }
        // The limit is 4500 ms.
        pool.sweep(at(4600), MINUTE, &state);
        assert_eq!((pool.len(), counters.pool_retired.get()), (3, 1), "the oldest stays, to be watched");
        let (_, idle_ms) = pool.take(at(5000), MINUTE, &state).unwrap();
        assert_eq!(idle_ms, 1000);
        let (_, idle_ms) = pool.take(at(5000), MINUTE, &state).unwrap();
        assert_eq!(idle_ms, 4000);
        assert!(pool.take(at(5000), MINUTE, &state).is_none(), "but is not used");
        assert_eq!((pool.len(), counters.pool_idle.get()), (1, 1));
        // Its end is a lesson; another one, later, makes it count.
        drop(far);
        let closed = || async {
            while pool.len() > 0 {
                pool.sweep(at(6000), MINUTE, &state);
                tokio::task::yield_now().await;
            }
        };
        closed().await;
        assert_eq!(state.idle_limit_ms(), 4500);
        let (near, peer) = pair(&listener).await;
        drop(peer);
        near.readable().await.unwrap();
        pool.put(Io::Tcp(near), 2000);
        closed().await;
        assert_eq!(state.idle_limit_ms(), 4500, "the same moment");
        let (near, peer) = pair(&listener).await;
        pool.put(Io::Tcp(near), 10_000);
        pool.sweep(at(12_000), MINUTE, &state);
        drop(peer);
        while pool.len() > 0 {
            pool.sweep(at(12_000), MINUTE, &state);
            tokio::task::yield_now().await;
        }
        // Of the first moment the lowest age counts, which is that of the second lesson: never seen to be open at all.
        assert_eq!(state.idle_limit_ms(), (2000 - 50) * 9 / 10);
    }

    #[tokio::test]
    async fn old_connections_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, counters) = pool(8);
        let (a, _far_a) = pair(&listener).await;
        let (b, _far_b) = pair(&listener).await;
        pool.put(Io::Tcp(a), 0);
        pool.put(Io::Tcp(b), 50_000);
        pool.sweep(at(60_000), MINUTE, &state());
        assert_eq!(pool.len(), 1);
        assert!(pool.take(at(110_000), MINUTE, &state()).is_none());
        assert_eq!(counters.pool_idle.get(), 0);
    }
}
