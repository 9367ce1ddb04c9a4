//! Servers as child processes on loopback, ended with the benchmark.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that is ready.
pub struct Process {
    child: Child,
    pub http: u16,
    pub grpc: u16,
}

/// How long a server may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

impl Process {
    /// Starts what `command` makes of three free ports (HTTP, gRPC, metrics) and waits until it is ready.
    pub fn start(command: impl FnOnce([u16; 3]) -> Result<Command>) -> Result<Self> {
        let ports = free_ports()?;
        let mut command = command(ports)?;
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("{command:?}"))?;
        let mut process = Process { child, http: ports[0], grpc: ports[1] };
        let begin = Instant::now();
        while !ready(ports[0]) {
            if let Some(status) = process.child.try_wait()? {
                bail!("{command:?} ended: {status}");
            }
            if begin.elapsed() > PATIENCE {
                bail!("{command:?} is not ready after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that were free a moment ago.
fn free_ports() -> Result<[u16; 3]> {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    }
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(b"GET /v2/health/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.lines().next().is_some_and(|status| status.contains(" 200 ")))
}
