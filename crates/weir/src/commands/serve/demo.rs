//! `weir demo`: the shop behind a gateway and sidecars, with a little traffic that is checked.

mod ports;
mod traffic;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use weir_api::client::Client;
use weir_api::native::{CheckInput, InstanceView, List, PREFIX, PositionAnswer, ProxyView, RegisterInstance};
use weir_control::resources::ChangeRequest;
use weir_model::Kind;
use weir_model::document;
use weir_model::registry::{Address, Health, Weights};
use weir_model::units::Span;

use self::ports::Kept;
use super::local::{ADMIN, LOOK_AGAIN, Local, weir_command};
use crate::cli::roles::LocalArgs;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::processes::Spawn;

/// The documents of the shop, as they lie in `examples/shop`.
const DOCUMENTS: [(&str, &str); 2] = [
    ("examples/shop/gateway.yaml", include_str!("../../../../../examples/shop/gateway.yaml")),
    ("examples/shop/catalog.yaml", include_str!("../../../../../examples/shop/catalog.yaml")),
];
/// The change that the demo proposes.
const CANARY: &str = "examples/shop/canary.yaml";
/// How long everything may take to be up; generous, for debug builds on small machines.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Time between two health checks of an application.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// One application of the shop.
struct Member {
    /// Its id in the registry, and its name for people.
    id: &'static str,
    /// Which application.
    app: &'static str,
    service: &'static str,
    version: &'static str,
}

const fn member(id: &'static str, app: &'static str, service: &'static str, version: &'static str) -> Member {
    Member { id, app, service, version }
}

/// The shop: two carts, so that one can be killed.
const SHOP: [Member; 6] = [
    member("front-1", "front", "front", "v1"),
    member("cart-1", "cart", "cart", "v1"),
    member("cart-2", "cart", "cart", "v1"),
    member("catalog-v1-1", "catalog", "catalog-v1", "v1"),
    member("catalog-v2-1", "catalog", "catalog-v2", "v2"),
    member("payments-1", "payments", "payments", "v1"),
];

/// A running member.
struct Running {
    member: &'static Member,
    app: SocketAddr,
    app_pid: u32,
    sidecar_pid: u32,
    /// Its own until the demo ends, so that no other demo's member is taken for it.
    _ports: [Kept; 3],
}

pub(super) async fn run(args: &LocalArgs) -> Result<Exit, Failure> {
    let mut local = Local::start(args).await?;
    let shop = match start_shop(&mut local).await {
        Ok(shop) => shop,
        Err(failure) => {
            local.end().await;
            return Err(failure);
        }
    };
    let report = traffic::send(local.gateway()).await;
    output::print(&text(&local, &shop, &report));
    local.run_until_stopped().await
}

async fn start_shop(local: &mut Local) -> Result<Vec<Running>, Failure> {
    let client = Client::new(
        local.http().to_string().parse().map_err(|error| Failure::new(Exit::Failed, format!("{error}")))?,
    );
    apply_documents(local).await?;
    let mut shop = Vec::new();
    for member in &SHOP {
        shop.push(start_member(local, &client, member).await?);
    }
    let began = Instant::now();
    loop {
        let waiting = not_ready(&client).await?;
        if waiting.is_empty() {
            return Ok(shop);
        }
        if began.elapsed() > START_LIMIT {
            let message =
                format!("the shop is not up after {} s: {}", START_LIMIT.as_secs(), waiting.join(", "));
            return Err(Failure::new(Exit::CannotStart, message).hint("--log-level debug shows what happens"));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The shop's routes. The gateway is declared already, where the command line wants it.
async fn apply_documents(local: &Local) -> Result<(), Failure> {
    let mut puts = Vec::new();
    for (name, text) in DOCUMENTS {
        let parsed = document::parse(name, text).map_err(|errors| {
            let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            Failure::new(Exit::Failed, text)
        })?;
        puts.extend(parsed.documents.into_iter().map(|document| document.resource));
    }
    puts.retain(|resource| resource.kind() != Kind::Gateway);
    let request = ChangeRequest { puts, author: "weir demo".to_owned(), ..ChangeRequest::default() };
    let applied = local.plane.control.apply(&request).await;
    applied
        .map(drop)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot apply the shop's documents: {error}")))
}

async fn start_member(
    local: &mut Local,
    client: &Client,
    member: &'static Member,
) -> Result<Running, Failure> {
    let kept: [Kept; 3] = ports::keep()?;
    let [app, inbound, outbound] = kept.each_ref().map(|port| port.address);
    let mut app_args: Vec<String> =
        ["shop-app", member.app, "--version", member.version, "--listen"].map(str::to_owned).into();
    app_args.extend([app.to_string(), "--outbound".to_owned(), outbound.to_string()]);
    let app_pid = local.children.spawn(Spawn { name: member.id.to_owned(), args: app_args })?;

    let mut sidecar_args: Vec<String> =
        ["proxy", "--workers", "1", "--service", member.service].map(str::to_owned).into();
    let id = format!("sidecar-{}", member.id);
    for (flag, value) in [
        ("--id", id.clone()),
        ("--app", app.to_string()),
        ("--inbound", inbound.to_string()),
        ("--outbound", outbound.to_string()),
        ("--server", local.grpc().to_string()),
    ] {
        sidecar_args.extend([flag.to_owned(), value]);
    }
    sidecar_args.extend(ADMIN.map(str::to_owned));
    sidecar_args.extend(local.log_flags());
    let sidecar_pid = local.children.spawn(Spawn { name: id, args: sidecar_args })?;

    let registration = RegisterInstance {
        service: member.service.to_owned(),
        address: app.ip().to_string(),
        port: app.port(),
        inbound: Some(Address { host: inbound.ip().to_string(), port: inbound.port() }),
        tags: vec![member.version.to_owned()],
        metadata: [("version".to_owned(), member.version.to_owned())].into(),
        weights: Weights::default(),
        checks: vec![CheckInput {
            http: Some(format!("http://{app}/healthz")),
            interval: Some(Span(CHECK_INTERVAL)),
            ..CheckInput::default()
        }],
    };
    let path = format!("{PREFIX}/instances/{}", member.id);
    let registered: Result<PositionAnswer, _> =
        client.send_json(Method::PUT, &path, "application/json", &registration).await;
    registered
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot register {}: {error}", member.id)))?;
    Ok(Running { member, app, app_pid, sidecar_pid, _ports: kept })
}

/// What is not passing or not in sync yet.
async fn not_ready(client: &Client) -> Result<Vec<String>, Failure> {
    let failed = |error| crate::server_client::failure(&error);
    let instances: List<InstanceView> = client.get(&format!("{PREFIX}/instances")).await.map_err(failed)?;
    let proxies: List<ProxyView> = client.get(&format!("{PREFIX}/proxies")).await.map_err(failed)?;
    let mut waiting: Vec<String> = instances
        .items
        .iter()
        .filter(|view| view.health != Health::Passing)
        .map(|view| format!("{} is {}", view.instance.id, view.health.as_str()))
        .collect();
    // Each member has a sidecar, and there is the gateway.
    let expected = SHOP.len() + 1;
    let ready = proxies.items.iter().filter(|proxy| proxy.in_sync).count();
    if ready < expected {
        waiting.push(format!("{ready} of {expected} proxies are in sync"));
    }
    Ok(waiting)
}

/// What the demo has to say once it is up.
fn text(local: &Local, shop: &[Running], report: &traffic::Report) -> String {
    let mut text = local.places();
    text.push_str(
        "shop            front -> cart, catalog (v1, v2), payments; each behind its own sidecar\n\n",
    );
    let mut table = output::Table::new(&["APPLICATION", "PROCESS", "SIDECAR", "LISTENS ON"]);
    for running in shop {
        let Running { member, app, app_pid, sidecar_pid, .. } = running;
        table.row([
            member.id.to_owned(),
            app_pid.to_string(),
            sidecar_pid.to_string(),
            format!("http://{app}"),
        ]);
    }
    text.push_str(&table.render());
    text.push_str(&format!("\n{}\n", report.text()));
    text.push_str(&proposals(local, shop));
    text
}

/// What to try.
fn proposals(local: &Local, shop: &[Running]) -> String {
    let (weir, server, gateway) = (weir_command(), local.server_flag(), local.gateway());
    let canary = if Path::new(CANARY).exists() {
        format!("{weir} apply -f {CANARY}{server}")
    } else {
        format!(
            "{weir} get HTTPRoute catalog -o yaml{server} > canary.yaml   # edit the weights, then: {weir} apply -f canary.yaml{server}"
        )
    };
    let of = |id: &str| shop.iter().find(|running| running.member.id == id);
    let (cart, payments) = (of("cart-1"), of("payments-1"));
    let dig = local
        .dns()
        .map_or_else(String::new, |dns| format!("  {}\n    both carts by name\n", super::dig(dns, "cart")));
    let kill = cart.map_or_else(String::new, |cart| {
        format!(
            "  kill -9 {} {}\n    one of the two carts is gone, with its sidecar; /cart goes on\n",
            cart.app_pid, cart.sidecar_pid
        )
    });
    let fault = payments.map_or_else(String::new, |payments| {
        format!(
            "  curl -X PUT http://{}/fault -d '{{\"status\": 503, \"ratio\": 0.5}}'\n    \
             payments fails every second time, as curl http://{}/pay shows; -X DELETE mends it\n",
            payments.app,
            local.gateway()
        )
    });
    format!(
        "Try, in another terminal:\n  \
         curl http://{gateway}/cart\n  \
         curl -H 'x-canary: yes' http://{gateway}/catalog\n    the canary, by header; without it the answer is from v1\n  \
         {canary}\n    half of the calls to catalog go to v2\n  \
         {weir} explain GET http://catalog/ --from front{server}\n    every rule considered, the winner, the endpoint, why\n  \
         {weir} top{server}\n    what every service does right now\n  \
         {weir} get services{server}\n  \
         {weir} get proxies{server}\n    who applied which revision\n\
         {dig}{fault}{kill}\n\
         Ctrl-C stops everything.\n"
    )
}
