//! The gateway against scripted bytes and a log and apply that the tests play.

mod cluster;
mod egress;
mod hostile;
mod presence;
mod rig;
mod sessions;
mod sign_in;
mod stop;
