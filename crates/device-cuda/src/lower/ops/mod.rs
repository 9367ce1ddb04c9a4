//! What each operator does on the device: generated kernels, and calls into libraries.

pub mod attention;
mod attention_problem;
mod attention_weights;
pub mod conv;
mod conv_depthwise;
pub mod conv_integer;
mod conv_layout;
mod conv_problem;
pub mod ctype;
pub mod elementwise;
pub mod fused;
pub mod gather;
pub mod generate;
pub mod image;
pub mod indexed;
pub mod libraries;
pub mod lines;
pub mod map;
pub mod movement;
pub mod operands;
pub mod pool;
pub mod product;
mod product_calls;
pub mod product_einsum;
pub mod product_integer;
mod product_thin;
pub mod quantize;
pub mod reduce;
pub mod rows;
pub mod statistics;
pub mod target;
pub mod unfold;

#[cfg(test)]
mod tests;
