//! What is used of etcd: keys and values, leases, and a watch of the keys under a prefix.

use anyhow::{Context, Result, ensure};

use super::grpc::{Call, Grpc, Message, number_in};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
/// Under which the members of the service lie that is read and watched.
pub(crate) const MEMBERS_PREFIX: &str = "registry/web/";

/// A client of etcd.
pub(crate) struct Etcd {
    pub(crate) grpc: Grpc,
    keep_alive: Option<Call>,
}

impl Etcd {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        Ok(Self { grpc: Grpc::connect(port).await?, keep_alive: None })
    }

    pub(crate) async fn put(&mut self, key: &str, value: &str) -> Result<()> {
        let put = Message::default().bytes(1, key.as_bytes()).bytes(2, value.as_bytes());
        self.grpc.call(PUT, &put).await.map(drop)
    }

    /// How many keys start with a prefix, all of which are read.
    pub(crate) async fn count(&mut self, prefix: &str) -> Result<u64> {
        Ok(self.range(prefix, Some(&end_of(prefix))).await?.1)
    }

    /// What is read of a key or of a range of them, and how many there are.
    pub(crate) async fn range(&mut self, key: &str, end: Option<&str>) -> Result<(Vec<u8>, u64)> {
        let range = Message::default().bytes(1, key.as_bytes());
        let range = match end {
            Some(end) => range.bytes(2, end.as_bytes()),
            None => range,
        };
        let answer = self.grpc.call(RANGE, &range).await?;
        let count = number_in(&answer, 4).unwrap_or_default();
        Ok((answer, count))
    }

    /// Renews a lease, over one stream for all, as etcd's clients do.
    pub(crate) async fn keep_alive(&mut self, lease: u64) -> Result<()> {
        if self.keep_alive.is_none() {
            self.keep_alive = Some(self.grpc.open("/etcdserverpb.Lease/LeaseKeepAlive").await?);
        }
        let call = self.keep_alive.as_mut().context("opened above")?;
        call.send(&Message::default().number(1, lease), false)?;
        let answer = call.next().await?;
        ensure!(number_in(&answer, 3).unwrap_or_default() > 0, "the lease is gone");
        Ok(())
    }

    /// Watches the members; the first answer says that the watch is there.
    pub(crate) async fn watch_members(&mut self) -> Result<Call> {
        let create = Message::default()
            .bytes(1, MEMBERS_PREFIX.as_bytes())
            .bytes(2, end_of(MEMBERS_PREFIX).as_bytes());
        let mut call = self.grpc.open("/etcdserverpb.Watch/Watch").await?;
        call.send(&Message::default().message(1, &create), false)?;
        let answer = call.next().await?;
        ensure!(number_in(&answer, 3) == Some(1), "the watch was not created");
        Ok(call)
    }
}

/// The first key after all that start with this text, which ends in a slash.
fn end_of(prefix: &str) -> String {
    format!("{}0", prefix.trim_end_matches('/'))
}
