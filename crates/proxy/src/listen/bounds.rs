//! What a listener accepts, and how much of it: the proxy's own settings, with what the listener's policy says instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weir_http1::Limits;

use crate::config::{EngineLimits, EngineTimeouts};
use crate::snapshot::ListenerSettings;

/// Fields that the proxies before a sidecar may add to a request, and their bytes: who the client is, how it came and
/// where to, identifiers, and what routes set.
const ADDED_FIELDS: usize = 64;
const ADDED_BYTES: usize = 8 * 1024;

/// The bounds of one listener.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// For a request's head, from its first byte to its last.
    pub(crate) head_read: Duration,
    /// Between two requests of a connection.
    pub(crate) idle: Duration,
    /// Of a body without progress.
    pub(crate) body: Duration,
    /// For what comes before the first request: a PROXY header, a TLS handshake.
    pub(crate) handshake: Duration,
    /// Syntax bounds of requests.
    pub(crate) request: Limits,
    /// Requests at once on one HTTP/2 connection.
    pub(crate) streams_max: u32,
    /// Connections at once, over all workers; no more than the workers take when absent.
    pub(crate) connections_max: Option<u32>,
}

impl Bounds {
    /// The bounds of a sidecar's listener: what a gateway has let pass, and added to, must pass there as well.
    pub(crate) fn inside(limits: &EngineLimits, timeouts: &EngineTimeouts) -> Self {
        let mut bounds = Self::new(limits, timeouts, &ListenerSettings::default());
        bounds.request.fields_max += ADDED_FIELDS;
        bounds.request.head_bytes_max += ADDED_BYTES;
        bounds
    }

    pub(crate) fn new(limits: &EngineLimits, timeouts: &EngineTimeouts, own: &ListenerSettings) -> Self {
        let mut request = limits.request.clone();
        // What is read from a socket at once has room for a head of the proxy's own bound.
        let head_room = limits.read_bytes_max.max(request.head_bytes_max);
        if let Some(bytes) = own.head_bytes_max {
            request.head_bytes_max = (bytes as usize).min(head_room);
        }
        if let Some(fields) = own.head_fields_max {
            request.fields_max = fields as usize;
        }
        Self {
            head_read: own.head_timeout.unwrap_or(timeouts.head_read),
            idle: own.idle_timeout.unwrap_or(timeouts.downstream_idle),
            body: own.body_timeout.unwrap_or(timeouts.stream_idle),
            handshake: own.handshake_timeout.unwrap_or(timeouts.handshake),
            request,
            streams_max: own.streams_max.unwrap_or(limits.streams_max),
            connections_max: own.connections_max,
        }
    }
}

/// The connections of one listener, over all workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<AtomicU32>);

/// A connection's place among them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicU32>);

impl Places {
    /// A place, unless there are as many as there may be.
    pub(crate) fn take(&self, max: Option<u32>) -> Option<Place> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        // From here on it is given back in any case.
        let place = Place(Arc::clone(&self.0));
        max.is_none_or(|max| before < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_overrides_only_what_it_says() {
        let (limits, timeouts) = (EngineLimits::default(), EngineTimeouts::default());
        let plain = Bounds::new(&limits, &timeouts, &ListenerSettings::default());
        assert_eq!((plain.head_read, plain.idle), (timeouts.head_read, timeouts.downstream_idle));
        assert_eq!((plain.request, plain.connections_max), (limits.request.clone(), None));
        let own = ListenerSettings {
            head_bytes_max: Some(1 << 20),
            head_fields_max: Some(10),
            body_timeout: Some(Duration::from_secs(5)),
            streams_max: Some(7),
            ..ListenerSettings::default()
        };
        let bounds = Bounds::new(&limits, &timeouts, &own);
        assert_eq!(bounds.request.head_bytes_max, limits.read_bytes_max, "no more than can be read");
        assert_eq!((bounds.request.fields_max, bounds.streams_max), (10, 7));
        assert_eq!((bounds.body, bounds.head_read), (Duration::from_secs(5), timeouts.head_read));
    }

    #[test]
    fn places_are_given_back() {
        let places = Places::default();
        let first = places.take(Some(1)).unwrap();
        assert!(places.take(Some(1)).is_none());
        assert!(places.take(Some(2)).is_some(), "dropped at once");
        drop(first);
        assert!(places.take(Some(1)).is_some());
        assert!(places.take(None).is_some());
        assert_eq!(places.0.load(Ordering::Relaxed), 0);
    }
}
