//! The commands that only read: what they print, and whether it was good news.
