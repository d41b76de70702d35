mod cost;
mod delivery;
mod limits;
mod random;
mod script;
mod shared_limit;
mod stored;
mod world;
