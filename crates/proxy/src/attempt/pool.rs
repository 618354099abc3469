//! Idle connections to one endpoint, of one worker. Last in, first out: the warmest is used again, the rest grow old and go.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use crate::http2::Channel;
use crate::observe::WorkerCounters;
use crate::runtime::{Idle, Io};

/// The pool.
pub(crate) struct Pool {
    idle: RefCell<Vec<Kept>>,
    idle_max: usize,
    /// When it was last swept.
    swept_ms: Cell<Option<u64>>,
    counters: Arc<WorkerCounters>,
    /// Those that speak HTTP/2, idle or not.
    pub(crate) http2: Channel,
}

struct Kept {
    io: Io,
    since_ms: u64,
}

impl Pool {
    pub(crate) fn new(idle_max: usize, counters: Arc<WorkerCounters>) -> Self {
        Self {
            idle: RefCell::default(),
            idle_max,
            swept_ms: Cell::new(None),
            counters,
            http2: Channel::default(),
        }
    }

    /// A connection that is, as far as can be known without asking, still open, younger than `idle_for_max` and silent.
    #[inline]
    pub(crate) fn take(&self, now_ms: u64, idle_for_max: Duration) -> Option<Io> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let Kept { mut io, since_ms } = idle.pop()?;
            self.counters.pool_idle.sub(1);
            if is_old(since_ms, now_ms, idle_for_max) {
                // What lies deeper is older still.
                self.counters.pool_idle.sub(idle.len() as u64);
                idle.clear();
                return None;
            }
            if io.look() == Idle::Quiet {
                self.counters.pool_hits.add(1);
                return Some(io);
            }
            self.counters.pool_stale.add(1);
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
        idle.push(Kept { io, since_ms: now_ms });
        self.counters.pool_idle.add(1);
    }

    /// Closes what is old, what the endpoint has closed, and what speaks without being asked.
    pub(crate) fn sweep(&self, now_ms: u64, idle_for_max: Duration) {
        self.swept_ms.set(Some(now_ms));
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|one| !is_old(one.since_ms, now_ms, idle_for_max) && one.io.look() == Idle::Quiet);
        self.counters.pool_idle.sub((before - idle.len()) as u64);
        self.http2.sweep(now_ms, idle_for_max);
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

fn is_old(since_ms: u64, now_ms: u64, idle_for_max: Duration) -> bool {
    !idle_for_max.is_zero() && u128::from(now_ms.saturating_sub(since_ms)) >= idle_for_max.as_millis()
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
        (Rc::new(Pool::new(idle_max, counters.clone())), counters)
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
        assert_eq!(pool.take(1, MINUTE).unwrap().local_addr().unwrap().port(), ports[2]);
        assert_eq!(pool.take(1, MINUTE).unwrap().local_addr().unwrap().port(), ports[1]);
        assert!(pool.take(1, MINUTE).is_none());
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
        assert!(pool.take(1, MINUTE).is_none());
        assert_eq!(counters.pool_stale.get(), 2);
    }

    #[tokio::test]
    async fn old_connections_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, counters) = pool(8);
        let (a, _far_a) = pair(&listener).await;
        let (b, _far_b) = pair(&listener).await;
        pool.put(Io::Tcp(a), 0);
        pool.put(Io::Tcp(b), 50_000);
        pool.sweep(60_000, MINUTE);
        assert_eq!(pool.len(), 1);
        assert!(pool.take(110_000, MINUTE).is_none());
        assert_eq!(counters.pool_idle.get(), 0);
    }
}
