//! What the commands do, one module each.

mod apply;
mod delete;
mod explain;
mod get;
mod health;
mod in_part;
mod intercept;
mod lock;
mod proxy;
pub(crate) mod serve;
mod simulate;
mod store;
mod top;

use crate::cli::Command;
use crate::exit::{Exit, Failure};
use crate::output;

/// Does what the command line says.
///
/// # Errors
/// With the exit status and what to try.
pub(crate) fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Demo(args) => serve::demo(&args),
        Command::Dev(args) => serve::dev(&args),
        Command::Server(args) => serve::server(*args),
        Command::Agent(args) => serve::agent(*args),
        Command::Consul(args) => crate::consul::run(&args.args),
        Command::Proxy(args) => proxy::run(&args),
        Command::ShopApp(args) => serve::shop_app(&args),
        Command::Apply(args) => block_on(apply::run(&args)),
        Command::Get(args) => block_on(get::run(&args)),
        Command::Health(args) => block_on(health::run(&args)),
        Command::Delete(args) => block_on(delete::run(&args)),
        Command::Explain(args) => block_on(explain::run(&args)),
        Command::Top(args) => block_on(top::run(&args)),
        Command::Lock(args) => block_on(lock::run(&args)),
        Command::Unlock(args) => block_on(lock::unlock(&args)),
        Command::Store(args) => block_on(store::run(&args)),
        Command::Simulate(args) => simulate::run(&args),
        Command::Intercept(args) => intercept::run(&args),
        Command::Version => {
            output::print(concat!("weir ", env!("CARGO_PKG_VERSION"), "\n"));
            Ok(Exit::Done)
        }
    }
}

/// Runs a short command to its end, on one thread.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    runtime.block_on(command)
}
