//! The whole program: signed pushes in, published trees out, and everything that may go wrong in between.

mod access;
mod crash;
mod decisions;
mod escapes;
mod fault_limits;
mod fault_matrix;
mod fault_volume;
mod faults;
mod git_sync;
mod git_sync_loop;
mod hooks;
mod kill_points;
mod limits;
mod locks;
mod measure;
mod model;
mod partial;
mod push;
mod readers;
mod site;
mod slow_disk;
mod soak;
mod ssh;
mod startup;
mod submodules;
mod working_tree;
