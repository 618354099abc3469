//! Asks a server what its proxies report, and waits until those that matter have reported anew.

use std::time::{Duration, Instant};

use http::StatusCode;
use weir_api::client::{Client, ClientError};
use weir_api::native::{List, PREFIX, ProxyView};
use weir_api::report::ProxyReport;
use weir_model::ServiceRef;
use weir_proxy::snapshot::Role;

use super::reported::{Known, Silent, is_of};
use crate::exit::Failure;
use crate::server_client;

/// How long proxies are waited for. They are told at once that somebody looks, and then report every second.
const LOOK_MAX: Duration = Duration::from_millis(2500);
/// Between two looks, each of which is at what all proxies report.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What the proxies report that play the role, or stand in front of one of the services; of the others what is there. None
/// where the server knows no reports.
pub(super) async fn known(
    client: &Client,
    role: &Role,
    called: &[ServiceRef],
) -> Result<Option<Known>, Failure> {
    let callees: Vec<Role> =
        called.iter().map(|service| Role::Sidecar { service: service.clone() }).collect();
    let began = Instant::now();
    loop {
        let looked = began.elapsed();
        let Some(reports) = reports(client).await? else { return Ok(None) };
        let proxies: List<ProxyView> =
            client.get(&format!("{PREFIX}/proxies")).await.map_err(|error| server_client::failure(&error))?;
        let matters =
            |proxy: &&ProxyView| is_of(proxy, role) || callees.iter().any(|callee| is_of(proxy, callee));
        let silent = silent(proxies.items.iter().filter(matters), &reports, looked);
        if silent.is_empty() || looked >= LOOK_MAX {
            return Ok(Some(Known { reports, proxies: proxies.items, silent }));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn reports(client: &Client) -> Result<Option<Vec<ProxyReport>>, Failure> {
    match client.get::<List<ProxyReport>>(&format!("{PREFIX}/reports")).await {
        Ok(list) => Ok(Some(list.items)),
        Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(server_client::failure(&error)),
    }
}

/// Those of which no report has come since the look began, that long ago.
fn silent<'a>(
    proxies: impl Iterator<Item = &'a ProxyView>,
    reports: &[ProxyReport],
    looked: Duration,
) -> Vec<Silent> {
    let mut silent: Vec<Silent> = proxies
        .map(|proxy| {
            let report = reports.iter().find(|report| report.proxy == proxy.id);
            Silent { proxy: proxy.id.clone(), age_ms: report.map(|report| report.age_ms) }
        })
        .filter(|one| one.age_ms.is_none_or(|age| u128::from(age) > looked.as_millis()))
        .collect();
    silent.sort_by(|a, b| a.proxy.cmp(&b.proxy));
    silent
}
