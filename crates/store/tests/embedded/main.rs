//! What only the embedded engine must do: keep, recover, refuse, and survive failing storage and its own death.

mod batches;
mod crash;
mod damage;
mod faults;
mod faulty;
mod golden;
mod reopen;
mod support;
