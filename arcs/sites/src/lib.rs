//! The Arc that serves the finished mini-sites.
