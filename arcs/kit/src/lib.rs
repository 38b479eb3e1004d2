//! What an Arc is written with: serving MCP, who calls, calling other tools, readiness, errors.
