//! The rules of elastic pools. `scoreboard` is how they are written down, `world` is where they run by themselves.

mod corrections;
mod prefork;
mod properties;
mod safe;
mod scoreboard;
mod threads;
mod turnover;
mod worker;
mod world;
