//! The files Arc: reading and writing inside a granted folder.
