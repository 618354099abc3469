//! The epoch of an etcd: a key beside the store's. It names the cluster as well, so that one that was restored from a backup,
//! which makes it a new cluster, gets a higher epoch: its revisions may repeat what was answered before.

use serde::{Deserialize, Serialize};

use super::client::{Client, Repeat};
use super::generated::compare::{CompareResult, CompareTarget, TargetUnion};
use super::generated::kv_client::KvClient;
use super::generated::request_op::Request;
use super::generated::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};
use super::layout::Layout;
use super::{convert, fault};
use crate::{Error, Revision};

/// How often the mark is read again because somebody else has written it meanwhile.
const TRIES_MAX: usize = 10;

/// What is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    epoch: u64,
    cluster: u64,
    /// Somebody has begun to fill the store, and is not done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    importing: bool,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) cluster: u64,
    pub(super) revision: Revision,
    pub(super) importing: bool,
}

/// Finds the epoch, and begins one where there is none or where the cluster is another.
pub(super) async fn find(client: &Client, layout: &Layout) -> Result<Found, Error> {
    again(async || {
        let (found, mark) = read(client, layout).await?;
        match mark {
            Some(mark) if mark.cluster == found.cluster => {
                Ok(Some(Found { number: mark.epoch, importing: mark.importing, ..found.header() }))
            }
            mark => {
                let (old, importing) = mark.map_or((0, false), |mark| (mark.epoch, mark.importing));
                write(client, layout, &found, crate::epoch::next(old), importing).await
            }
        }
    })
    .await
}

/// Begins an epoch above this one, and notes whether the store is being filled.
pub(super) async fn begin(
    client: &Client,
    layout: &Layout,
    above: u64,
    importing: bool,
) -> Result<Found, Error> {
    again(async || {
        let (found, mark) = read(client, layout).await?;
        let old = mark.map_or(0, |mark| mark.epoch);
        write(client, layout, &found, crate::epoch::next(old.max(above)), importing).await
    })
    .await
}

/// Tries until nobody else has written meanwhile.
async fn again(once: impl AsyncFn() -> Result<Option<Found>, Error>) -> Result<Found, Error> {
    for _ in 0..TRIES_MAX {
        if let Some(found) = once().await? {
            return Ok(found);
        }
    }
    Err(fault::unavailable("the epoch is written by others again and again"))
}

/// Where the mark was read.
struct Place {
    cluster: u64,
    revision: Revision,
    /// The revision that last wrote the mark; 0 if there is none.
    mod_revision: i64,
}

impl Place {
    fn header(&self) -> Found {
        Found { number: 0, cluster: self.cluster, revision: self.revision, importing: false }
    }
}

async fn read(client: &Client, layout: &Layout) -> Result<(Place, Option<Mark>), Error> {
    let read = RangeRequest { key: layout.epoch(), ..RangeRequest::default() };
    let ask = async |channel, request| KvClient::new(channel).range(request).await;
    let answer = client.call(Repeat::Free, read, ask).await?;
    let Some(header) = answer.header else { return Err(fault::nonsense("an answer without a header")) };
    let pair = answer.kvs.into_iter().next();
    let place = Place {
        cluster: header.cluster_id,
        revision: convert::unsigned(header.revision),
        mod_revision: pair.as_ref().map_or(0, |pair| pair.mod_revision),
    };
    let mark = pair.map(|pair| {
        let key = || String::from_utf8_lossy(&pair.key).into_owned();
        serde_json::from_slice::<Mark>(&pair.value)
            .map_err(|error| Error::Codec { key: key(), reason: error.to_string() })
    });
    Ok((place, mark.transpose()?))
}

/// Writes a mark if it is as it was read; none if somebody else has written it meanwhile.
async fn write(
    client: &Client,
    layout: &Layout,
    read: &Place,
    epoch: u64,
    importing: bool,
) -> Result<Option<Found>, Error> {
    let mark = serde_json::to_vec(&Mark { epoch, cluster: read.cluster, importing });
    let value = mark.map_err(|error| fault::unavailable(&error.to_string()))?;
    let unchanged = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: layout.epoch(),
        target_union: Some(TargetUnion::ModRevision(read.mod_revision)),
    };
    let put = PutRequest { key: layout.epoch(), value, ..PutRequest::default() };
    let txn = TxnRequest {
        compare: vec![unchanged],
        success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
        failure: Vec::new(),
    };
    // Whoever comes second finds what the first has written.
    let ask = async |channel, request| KvClient::new(channel).txn(request).await;
    let answer = client.call(Repeat::Free, txn, ask).await?;
    let revision = answer.header.map_or(read.revision, |header| convert::unsigned(header.revision));
    let found = Found { number: epoch, cluster: read.cluster, revision, importing };
    Ok(answer.succeeded.then_some(found))
}
