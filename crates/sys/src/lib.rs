//! What the operating system offers to `unsafe` code only, behind safe interfaces: memory in huge pages and
//! writes that own their buffers until the kernel is done with them.

pub mod memory;
pub mod uring;
