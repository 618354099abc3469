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
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) cluster: u64,
    pub(super) revision: Revision,
}

/// Finds the epoch, and begins one where there is none or where the cluster is another.
pub(super) async fn find(client: &Client, layout: &Layout) -> Result<Found, Error> {
    for _ in 0..TRIES_MAX {
        if let Some(found) = once(client, layout).await? {
            return Ok(found);
        }
    }
    Err(fault::unavailable("the epoch is written by others again and again"))
}

/// None if somebody else wrote it meanwhile.
async fn once(client: &Client, layout: &Layout) -> Result<Option<Found>, Error> {
    let read = RangeRequest { key: layout.epoch(), ..RangeRequest::default() };
    let ask = async |channel, request| KvClient::new(channel).range(request).await;
    let answer = client.call(Repeat::Free, read, ask).await?;
    let Some(header) = answer.header else { return Err(fault::nonsense("an answer without a header")) };
    let (cluster, revision) = (header.cluster_id, convert::unsigned(header.revision));
    let pair = answer.kvs.into_iter().next();
    let mod_revision = pair.as_ref().map_or(0, |pair| pair.mod_revision);
    let mark = pair.map(|pair| {
        let key = || String::from_utf8_lossy(&pair.key).into_owned();
        serde_json::from_slice::<Mark>(&pair.value)
            .map_err(|error| Error::Codec { key: key(), reason: error.to_string() })
    });
    let mark = mark.transpose()?;
    if let Some(mark) = &mark
        && mark.cluster == cluster
    {
        return Ok(Some(Found { number: mark.epoch, cluster, revision }));
    }
    let epoch = crate::epoch::next(mark.map_or(0, |mark| mark.epoch));
    let mark = serde_json::to_vec(&Mark { epoch, cluster });
    let value = mark.map_err(|error| fault::unavailable(&error.to_string()))?;
    let unchanged = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: layout.epoch(),
        target_union: Some(TargetUnion::ModRevision(mod_revision)),
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
    let revision = answer.header.map_or(revision, |header| convert::unsigned(header.revision));
    Ok(answer.succeeded.then_some(Found { number: epoch, cluster, revision }))
}
