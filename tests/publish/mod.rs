//! From a commit to what readers see, on real file systems, with repositories that the `git` program made.

mod fixture;

mod changes;
mod content;
mod damage;
mod hostile;
mod live;
mod model;
mod opening;
mod space;
mod spare;
