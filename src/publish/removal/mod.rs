//! Removes trees that are not needed any more, and measures the used space.

pub(crate) mod mark;
