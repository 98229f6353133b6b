//! The whole program: signed pushes in, published trees out, and everything that may go wrong in between.

mod crash;
mod decisions;
mod faults;
mod limits;
mod push;
mod readers;
mod site;
mod ssh;
