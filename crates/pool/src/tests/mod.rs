//! The rules of elastic pools. `scoreboard` is how they are written down.

mod corrections;
mod prefork;
mod safe;
mod scoreboard;
mod worker;
