//! The Arc that writes SEO mini-sites.
