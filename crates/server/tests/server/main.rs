//! The server as its clients see it: over sockets, on the CPU device. Nothing here sleeps: tests wait for conditions.

mod admin;
mod codec;
mod connections;
mod device;
mod grpc;
mod hostile;
mod http;
mod onnx;
mod raw_client;
mod scene;
mod shared_memory;
