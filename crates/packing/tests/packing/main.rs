//! The packer, its checker and its files, tested from outside.

mod checker;
mod common;
mod lists;
mod solver;
