//! Requests that find no server are held for a while: a server that is restarted is missed by nobody.
//!
//! ```text
//! asked, nobody answers -> held -> one of them asks again and again -> answered: all others ask again at once
//!                                   | for too long, or too many are held
//!                                   v
//!                                 nobody answers
//! ```
//!
//! One looks for all, so that servers that come back, or are on their knees, are not rushed at by all at once. Only what no server can
//! have done is asked again: that nobody has answered says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::bounds::{HELD_MAX, LOOK_EVERY_MAX};
use crate::servers::{Answered, Ask, Servers, Unanswered};

/// Holds requests.
pub(super) struct Hold {
    servers: Arc<Servers>,
    /// For how long at most.
    limit: Duration,
    places: Semaphore,
    /// Held by the one that looks.
    looks: Mutex<()>,
    /// How often a server has answered again.
    back: watch::Sender<u64>,
}

impl Hold {
    pub(super) fn new(servers: Arc<Servers>, limit: Duration) -> Self {
        let (places, looks) = (Semaphore::new(HELD_MAX), Mutex::default());
        Self { servers, limit, places, looks, back: watch::Sender::new(0) }
    }

    /// Asks; where nobody answers, again for a while, as long as `may` allows it.
    pub(super) async fn ask(
        &self,
        ask: &Ask,
        waits: &(dyn Fn() + Sync),
        may: impl Fn() -> Result<(), Unanswered>,
    ) -> Result<Answered, Unanswered> {
        // From before it was asked: who answers meanwhile is not missed.
        let mut back = self.back.subscribe();
        let mut error = match self.servers.ask_patiently(ask, waits).await {
            Err(error @ Unanswered::Nobody(_)) => error,
            done => return done,
        };
        let Ok(_place) = self.places.try_acquire() else { return Err(error) };
        let deadline = Instant::now() + self.limit;
        loop {
            let looks = tokio::select! {
                looks = self.looks.lock() => Some(looks),
                _ = back.changed() => None,
                () = sleep_until(deadline) => return Err(error),
            };
            if looks.is_some() {
                let pause = LOOK_EVERY_MAX.mul_f64(0.5 + 0.5 * rand::random::<f64>());
                if timeout_at(deadline, sleep(pause)).await.is_err() {
                    return Err(error);
                }
            }
            may()?;
            error = match self.again(ask, waits, looks.is_some()).await {
                Err(error @ Unanswered::Nobody(_)) if Instant::now() < deadline => error,
                done => return done,
            };
        }
    }

    /// Asks again. Who looks for others tells them as soon as it is known that a server takes requests: its own answer may take
    /// its time.
    async fn again(&self, ask: &Ask, waits: &(dyn Fn() + Sync), looks: bool) -> Result<Answered, Unanswered> {
        let told = AtomicBool::new(!looks);
        let tell = || {
            if !told.swap(true, Ordering::Relaxed) {
                self.back.send_modify(|count| *count += 1);
            }
        };
        let answered = self
            .servers
            .ask_patiently(ask, &|| {
                tell();
                waits();
            })
            .await;
        if !matches!(answered, Err(Unanswered::Nobody(_))) {
            tell();
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// An address where nobody listens yet.
    async fn address() -> std::net::SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    fn hold(address: std::net::SocketAddr, limit: Duration) -> Arc<Hold> {
        let servers = Servers::new(vec![address.to_string().parse().unwrap()], 0);
        Arc::new(Hold::new(Arc::new(servers), limit))
    }

    fn ask(method: Method) -> Ask {
        let (target, patience) = ("/v1/kv/a".to_owned(), Duration::from_secs(30));
        Ask { method, target, headers: Vec::new(), body: Bytes::new(), patience }
    }

    /// Answers each request with its number, the first after the others.
    async fn serve(listener: TcpListener, answered: watch::Sender<usize>) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answered = answered.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    let mut number = 0;
                    answered.send_modify(|count| {
                        *count += 1;
                        number = *count;
                    });
                    if number == 1 {
                        // Who looks waits for long: the others are not to wait for that.
                        answered.subscribe().wait_for(|count| *count == 4).await.unwrap();
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                }
            });
        }
    }

    #[tokio::test]
    async fn a_server_that_comes_back_answers_all_that_are_held() {
        let address = address().await;
        let hold = hold(address, Duration::from_secs(60));
        let asking: Vec<_> = [Method::GET, Method::PUT, Method::GET, Method::DELETE]
            .into_iter()
            .map(|method| {
                let hold = Arc::clone(&hold);
                tokio::spawn(async move { hold.ask(&ask(method), &|| (), || Ok(())).await })
            })
            .collect();
        while hold.places.available_permits() > HELD_MAX - 4 {
            tokio::task::yield_now().await;
        }
        let listener = TcpListener::bind(address).await.unwrap();
        let serving = tokio::spawn(serve(listener, watch::Sender::new(0)));
        for asked in asking {
            assert_eq!(&*asked.await.unwrap().unwrap().body, b"ok");
        }
        assert_eq!(hold.places.available_permits(), HELD_MAX);
        serving.abort();
    }

    #[tokio::test]
    async fn nobody_is_held_for_ever() {
        let hold = hold(address().await, Duration::from_millis(300));
        let began = Instant::now();
        let error = hold.ask(&ask(Method::GET), &|| (), || Ok(())).await.unwrap_err();
        assert!(matches!(error, Unanswered::Nobody(_)), "{error}");
        assert!(began.elapsed() >= Duration::from_millis(300));
        // Where too many are held, and where the servers turn out to be another's, there is an answer at once.
        let all = hold.places.try_acquire_many(u32::try_from(HELD_MAX).unwrap()).unwrap();
        assert!(hold.ask(&ask(Method::GET), &|| (), || panic!("it is not asked again")).await.is_err());
        drop(all);
        let unwelcome = || Err(Unanswered::Unwelcome("dc2".to_owned()));
        let error = hold.ask(&ask(Method::GET), &|| (), unwelcome).await.unwrap_err();
        assert!(matches!(error, Unanswered::Unwelcome(_)), "{error}");
    }
}
