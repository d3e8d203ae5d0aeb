//! Clients of a world's broker.

use super::World;
use crate::error::{Error, Result};
use crate::http::Endpoint;
use crate::mcp::Mcp;

impl World {
    /// The broker's TCP listener.
    ///
    /// # Errors
    /// The broker was not started.
    pub fn tcp(&self) -> Result<Endpoint> {
        self.mcp_addr
            .map(Endpoint::Tcp)
            .ok_or_else(|| Error::new("the broker was not started"))
    }

    /// The broker's Unix socket, for connections with an agent's user id.
    ///
    /// # Errors
    /// The account does not exist.
    pub fn unix(&self, agent: &str) -> Result<Endpoint> {
        Ok(Endpoint::Unix(
            self.socket(),
            Some(self.accounts.get(agent)?.clone()),
        ))
    }

    /// An MCP client over TCP with an agent's API key.
    ///
    /// # Errors
    /// The agent has no API key, or the broker was not started.
    pub fn mcp_with_key(&self, agent: &str) -> Result<Mcp> {
        Ok(Mcp::new(self.tcp()?, Some(self.api_key(agent)?)))
    }

    /// An MCP client over TCP with a task token.
    ///
    /// # Errors
    /// The broker was not started.
    pub fn mcp_with_token(&self, token: &str) -> Result<Mcp> {
        Ok(Mcp::new(self.tcp()?, Some(token)))
    }

    /// An MCP client over the broker's Unix socket, identified by the agent's user id.
    ///
    /// # Errors
    /// The account does not exist.
    pub fn mcp_by_uid(&self, agent: &str) -> Result<Mcp> {
        Ok(Mcp::new(self.unix(agent)?, None))
    }
}
