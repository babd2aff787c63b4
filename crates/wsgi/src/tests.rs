//! Applications in Python, called as the server calls them.

mod answers;
mod environs;
mod headers;
mod loading;
mod support;
