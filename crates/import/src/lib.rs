//! Model files → [`sublet_graph::Model`].
//!
//! Two formats: ONNX ([`import_onnx`]) and a Hugging Face BERT encoder ([`import_bert`]). Both work on bytes that the
//! caller has read: nothing here opens a file, and weights keep pointing into those bytes.
//!
//! Whatever is not supported is an [`ImportError`] that names the node, tensor or byte, and hostile files get one
//! too: sizes, counts and nesting are held against [`Limits`].

mod bert;
mod error;
mod limits;
mod onnx;
mod scalar;

pub use bert::import_bert;
pub use error::{ImportError, Place};
pub use limits::Limits;
pub use onnx::{ExternalData, NoExternalData, import_onnx, import_tensor};
