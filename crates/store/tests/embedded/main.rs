//! What only the embedded engine must do: keep, recover, refuse, and survive failing storage and its own death.

mod apart;
mod batches;
mod crash;
mod damage;
mod disk;
mod faults;
mod faulty;
mod golden;
mod log;
mod log_damage;
mod log_room;
mod power;
mod reopen;
mod replace;
mod support;
