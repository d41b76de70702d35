mod cost;
mod random;
mod script;
mod shared_limit;
mod stories;
mod world;
