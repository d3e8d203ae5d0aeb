//! The stdio bridge to a server on a loopback port: `mock_bridge PORT [BEARER]`.

use std::io;
use std::time::Duration;

use ephyr_mcp::bridge::{Connect, Options, run};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tokio::net::TcpStream;

struct Loopback(u16);

impl Connect for Loopback {
    type Io = TcpStream;

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.0)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments
        .next()
        .ok_or("usage: mock_bridge PORT [BEARER]")?
        .parse()?;
    let bearer = arguments.next().unwrap_or_else(|| "stdio".to_owned());
    let credential = HeaderValue::try_from(format!("Bearer {bearer}"))?;
    let options = Options {
        headers: Box::new(move |_| Ok(HeaderMap::from_iter([(AUTHORIZATION, credential.clone())]))),
        patience: Duration::from_secs(2),
        ..Options::local()
    };
    run(
        Loopback(port),
        options,
        tokio::io::stdin(),
        tokio::io::stdout(),
    )
    .await?;
    Ok(())
}
