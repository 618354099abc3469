//! A server that speaks Consul's API and nothing else, in memory: for trying clients and for measuring.
//!
//!     cargo run -p weir-edge --example consul_server -- 127.0.0.1:8500

use std::io::Write as _;
use std::sync::Arc;

use weir_control::{Control, Settings};
use weir_edge::consul::ConsulApi;
use weir_edge::http::{Router, Server, ServerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8500".to_owned());
    let control = Control::start(Arc::new(weir_store::Memory::new()), Settings::default()).await?;
    let mut router = Router::new();
    ConsulApi::new(Arc::clone(&control), false).mount(&mut router);
    let server = Server::bind(address.parse()?, ServerConfig::default()).await?;
    writeln!(std::io::stdout(), "listening on {}", server.address())?;
    tokio::spawn(weir_edge::prober::run(control, std::future::pending()));
    server.serve(Arc::new(router), async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
