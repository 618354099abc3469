use std::sync::Arc;

use weir_api::mesh::{ReportPace, proxy_message, server_message};
use weir_api::report::Report;

use super::{Metrics, Server, Stream, edge, settings, start, timeout};

/// The next report, whatever else comes before.
async fn report(stream: &mut Stream) -> Report {
    loop {
        match stream.next().await {
            Some(proxy_message::Message::Report(report)) => return Report::from_json(&report.json).unwrap(),
            Some(_) => {}
            None => panic!("the stream has ended"),
        }
    }
}

#[tokio::test]
async fn a_proxy_reports_at_once_and_sooner_while_somebody_looks() {
    let mut server = Server::start().await;
    let metrics = Arc::new(Metrics::new(1));
    metrics.worker(0).route(&"cart".into(), &"HTTPRoute/shop#0".into()).forwarded(200);
    metrics.worker(0).service(&"cart".into());
    let mut settings = settings(server.addr, edge());
    settings.metrics = Some(metrics);
    let proxy = start(settings).await;
    // An hour is longer than any test waits.
    let (mut stream, _) = server.welcome_with(3_600_000).await;
    let first = report(&mut stream).await;
    assert_eq!((&*first.services[0].service, first.services[0].totals.requests()), ("cart", 1));
    let pace = ReportPace { every_ms: 2000, for_ms: 60_000 };
    stream.send(server_message::Message::ReportPace(pace)).await;
    let (second, third) = (report(&mut stream).await, report(&mut stream).await);
    assert!(
        first.at_ms < second.at_ms && second.at_ms + 1000 < third.at_ms,
        "{first:?} {second:?} {third:?}"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_server_that_asks_for_no_reports_gets_none() {
    let mut server = Server::start().await;
    let mut settings = settings(server.addr, edge());
    settings.metrics = Some(Arc::new(Metrics::new(1)));
    let proxy = start(settings).await;
    let (mut stream, _) = server.welcome().await;
    let pace = ReportPace { every_ms: 500, for_ms: 60_000 };
    stream.send(server_message::Message::ReportPace(pace)).await;
    let silence = std::time::Duration::from_millis(700);
    assert!(timeout(silence, stream.next()).await.is_err(), "nothing but what is asked for is said");
    proxy.stop().await;
}
