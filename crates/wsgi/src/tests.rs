//! Python applications, called as the server calls them.

mod answers;
mod environs;
mod files;
mod headers;
mod loading;
mod support;
