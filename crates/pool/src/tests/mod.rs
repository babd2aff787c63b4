//! The rules of elastic pools. `scoreboard` is the notation of the tests, `world` simulates children and requests.

mod corrections;
mod prefork;
mod properties;
mod safe;
mod scoreboard;
mod threads;
mod turnover;
mod worker;
mod world;
