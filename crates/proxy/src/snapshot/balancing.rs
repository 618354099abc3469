//! How a service's endpoints are chosen, as its traffic policy says; and what of a request a consistent hash is taken of.

use std::sync::Arc;

use weir_model::resource::key::{KeyKind, KeyPart};
use weir_model::resource::traffic_policy::{Balance, BalancePolicy};
use weir_policy::balance::{Config, hash, select};

use crate::limit::{Asker, key};
use crate::route::RequestView;

/// How endpoints are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Balancing {
    /// The balancer, as documents name it.
    pub policy: BalancePolicy,
    /// Its numbers.
    pub config: Config,
    /// Who takes part.
    pub select: select::Settings,
    /// What a hash is taken of; nothing for balancers without one.
    pub hash: HashKey,
}

impl Default for Balancing {
    fn default() -> Self {
        Self::from(&Balance::default())
    }
}

impl From<&Balance> for Balancing {
    fn from(spec: &Balance) -> Self {
        let config = Config::from_spec(spec);
        let parts = if config.policy.is_hashing() { &spec.hash[..] } else { &[] };
        Self {
            policy: spec.policy,
            config,
            select: select::Settings::from_spec(spec),
            hash: HashKey(key::lowered(parts).into()),
        }
    }
}

/// The parts of a request that its hash may be taken of, the first that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashKey(Arc<[KeyPart]>);

impl HashKey {
    /// Whether nothing is hashed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hash of a request, and the part that it is of: the first that the request has a value for, which must not be
    /// empty. None if it has none.
    pub(crate) fn of_request(&self, request: &impl RequestView, asker: Asker<'_>) -> Option<(&KeyPart, u64)> {
        self.0.iter().find_map(|part| {
            let value = key::find(part, request, asker)?;
            (!value.is_empty()).then(|| (part, hash::bytes(&value)))
        })
    }

    /// Whether a client's address would count before the part that a hash was taken of, or that it is all there is: then
    /// nothing can be said as long as the address is not known.
    pub(crate) fn wants_address_before(&self, found: Option<&KeyPart>) -> bool {
        let before = self.0.iter().take_while(|part| !found.is_some_and(|found| std::ptr::eq(found, *part)));
        before.into_iter().any(|part| part.kind == KeyKind::SourceAddress)
    }

    /// The part that the hash of a connection is of, if it has one.
    pub(crate) fn address_part(&self) -> Option<&KeyPart> {
        self.0.iter().find(|part| part.kind == KeyKind::SourceAddress)
    }

    /// The hash of a connection, of which only the client's address is known.
    pub(crate) fn of_connection(&self, address: &[u8]) -> Option<u64> {
        self.0.iter().any(|part| part.kind == KeyKind::SourceAddress).then(|| hash::bytes(address))
    }

    /// The parts, as people know them.
    pub(crate) fn described(&self) -> String {
        self.0.iter().map(described).collect::<Vec<_>>().join(", ")
    }
}

/// A part as people know it.
pub(crate) fn described(part: &KeyPart) -> String {
    match &part.name {
        Some(name) => format!("{} {name}", part.kind.as_str()),
        None => part.kind.as_str().to_owned(),
    }
}
