//! Tests of the ONNX importer, on small models built from the decoded types.

mod build;
mod graphs;
mod hostile;
mod lowering;
mod tensors;
